//! Frames as clients send them: masked, perhaps in fragments, with control frames in between (RFC 6455).
//!
//! A connection that says nothing costs nothing here: the decoder holds bytes only while a frame is incomplete.

use crate::limits;
use crate::realtime::frame::Opcode;

/// A message or control frame, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// The peer broke the protocol, or its message is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError;

#[derive(Default)]
pub struct Decoder {
    /// Bytes that are not a whole frame yet.
    rest: Vec<u8>,
    /// The fragments so far of a message, and what it is.
    message: Option<(Opcode, Vec<u8>)>,
}

impl Decoder {
    /// Takes what was read and gives back what is complete.
    ///
    /// # Errors
    /// The peer is to be disconnected.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Incoming>, ProtocolError> {
        self.rest.extend_from_slice(bytes);
        let mut complete = Vec::new();
        let mut taken = 0;
        while let Some((frame, length)) = Frame::parse(&self.rest[taken..])? {
            taken += length;
            complete.extend(self.take(frame)?);
        }
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(complete)
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Incoming>, ProtocolError> {
        if frame.opcode.is_control() {
            return Ok(Some(match frame.opcode {
                Opcode::Ping => Incoming::Ping(frame.payload),
                Opcode::Pong => Incoming::Pong,
                _ => Incoming::Close,
            }));
        }
        let (opcode, payload) = match (frame.opcode, self.message.take()) {
            (Opcode::Continuation, Some((opcode, mut payload))) => {
                payload.extend_from_slice(&frame.payload);
                (opcode, payload)
            }
            (Opcode::Continuation, None) | (_, Some(_)) => return Err(ProtocolError),
            (opcode, None) => (opcode, frame.payload),
        };
        if payload.len() > limits::CLIENT_FRAME_BYTES_MAX {
            return Err(ProtocolError);
        }
        if !frame.is_final {
            self.message = Some((opcode, payload));
            return Ok(None);
        }
        Ok(Some(match opcode {
            Opcode::Text => Incoming::Text(String::from_utf8(payload).map_err(|_| ProtocolError)?),
            _ => Incoming::Binary(payload),
        }))
    }
}

struct Frame {
    is_final: bool,
    opcode: Opcode,
    payload: Vec<u8>,
}

impl Frame {
    /// A frame at the beginning of the bytes and its length, if it is all there.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let is_final = first & 0x80 != 0;
        let reserved = first & 0x70 != 0;
        let opcode = Opcode::parse(first & 0x0F).ok_or(ProtocolError)?;
        let masked = second & 0x80 != 0;
        let short = usize::from(second & 0x7F);
        if reserved || !masked || (opcode.is_control() && (!is_final || short > 125)) {
            return Err(ProtocolError);
        }
        let (length, length_bytes) = match (short, rest) {
            (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 2),
            (127, rest) if rest.len() >= 8 => {
                let length = u64::from_be_bytes(rest[..8].try_into().map_err(|_| ProtocolError)?);
                (usize::try_from(length).map_err(|_| ProtocolError)?, 8)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (short, 0),
        };
        // Refused before it is read.
        if length > limits::CLIENT_FRAME_BYTES_MAX {
            return Err(ProtocolError);
        }
        let header = 2 + length_bytes + 4;
        let Some(payload) = bytes.get(header..header + length) else {
            return Ok(None);
        };
        let mask = &bytes[header - 4..header];
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        Ok(Some((Self { is_final, opcode, payload }, header + length)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 0x7e);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn messages_arrive_whole_however_they_are_cut() {
        let mut bytes = masked(0x81, b"hello");
        bytes.extend(masked(0x82, &[7; 300]));
        bytes.extend(masked(0x89, b"p"));
        let expected =
            vec![Incoming::Text("hello".into()), Incoming::Binary(vec![7; 300]), Incoming::Ping(b"p".to_vec())];
        assert_eq!(Decoder::default().feed(&bytes), Ok(expected.clone()));
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for byte in &bytes {
            got.extend(decoder.feed(std::slice::from_ref(byte)).unwrap());
        }
        assert_eq!(got, expected);
        assert_eq!(decoder.rest.capacity(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn fragments_are_joined_and_control_frames_pass_between_them() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&masked(0x01, b"he")), Ok(vec![]));
        assert_eq!(decoder.feed(&masked(0x8A, b"")), Ok(vec![Incoming::Pong]));
        assert_eq!(decoder.feed(&masked(0x80, b"llo")), Ok(vec![Incoming::Text("hello".into())]));
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let large = vec![b'x'; limits::CLIENT_FRAME_BYTES_MAX + 1];
        for bytes in [
            vec![0x81, 0x05, b'h'],                      // not masked
            masked(0xC1, b"x"),                          // reserved bit: compression was not agreed on
            masked(0x83, b"x"),                          // unknown opcode
            masked(0x09, b"x"),                          // a ping in fragments
            masked(0x80, b"x"),                          // a continuation of nothing
            masked(0x81, &[0xFF, 0xFE]),                 // text that is not UTF-8
            masked(0x82, &large),                        // too large
            vec![0x82, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0], // far too large, refused by its header
        ] {
            assert_eq!(Decoder::default().feed(&bytes), Err(ProtocolError), "{:?}", &bytes[..2]);
        }
        let mut decoder = Decoder::default();
        decoder.feed(&masked(0x01, b"a")).unwrap();
        assert_eq!(decoder.feed(&masked(0x81, b"b")), Err(ProtocolError), "a message inside a message");
    }

    proptest! {
        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            frames in prop::collection::vec((prop::sample::select(vec![0x81_u8, 0x82, 0x89, 0x01, 0x80, 0x88, 0xC1]), prop::collection::vec(any::<u8>(), 0..200)), 0..5),
            noise in prop::collection::vec(any::<u8>(), 0..8),
            cuts in prop::collection::vec(1_usize..50, 1..30),
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
            bytes.extend(noise);
            let whole = Decoder::default().feed(&bytes);
            let mut decoder = Decoder::default();
            let mut pieces = Ok(Vec::new());
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || pieces.is_err() {
                    break;
                }
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                pieces = pieces.and_then(|mut got: Vec<Incoming>| Ok({ got.extend(decoder.feed(piece)?); got }));
                prop_assert!(decoder.rest.len() <= limits::CLIENT_FRAME_BYTES_MAX + 14);
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
