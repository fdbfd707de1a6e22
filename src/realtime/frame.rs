//! WebSocket frames as a server sends them: not masked, so one frame serves every receiver.
//!
//! Read next: ws/frame.rs, for what clients send.

use bytes::{BufMut, Bytes, BytesMut};

/// What a frame is, as its first four bits after the flags say (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    pub fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

const FINAL: u8 = 0x80;

/// One whole frame.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    encode_parts(opcode, &[payload])
}

/// One whole frame, of a payload in parts.
pub fn encode_parts(opcode: Opcode, payload: &[&[u8]]) -> Bytes {
    let length = payload.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(10 + length);
    frame.put_u8(FINAL | opcode as u8);
    match length {
        length @ 0..=125 => frame.put_u8(length as u8),
        length @ 126..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    for part in payload {
        frame.put_slice(part);
    }
    frame.freeze()
}

/// A text frame.
pub fn text(payload: &[u8]) -> Bytes {
    encode(Opcode::Text, payload)
}

/// A close frame with a code and a reason of at most 123 bytes.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(123)]);
    encode(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_one_three_or_nine_bytes() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (0xFFFF, 4), (0x1_0000, 10)] {
            let frame = text(&vec![b'x'; length]);
            assert_eq!((frame[0], frame.len()), (0x81, header + length));
        }
        assert_eq!(text(&[0; 300])[1..4], [126, 1, 44]);
    }

    #[test]
    fn a_close_frame_is_a_control_frame() {
        let frame = close(1000, &"ä".repeat(200));
        assert!(frame.len() <= 2 + 125);
        assert_eq!(frame[2..4], [0x03, 0xE8]);
    }
}
