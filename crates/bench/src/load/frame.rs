//! Frames as servers send them: never masked, here never in fragments (RFC 6455).

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// What answers a ping without payload: masked, with a mask of zeros.
pub const PONG: &[u8] = &[0x8A, 0x80, 0, 0, 0, 0];

/// Bytes before the payload of a frame of 126 to 65,535 bytes.
pub const FRAME_HEADER_BYTES: usize = 4;

pub struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
}

/// The first frame and what follows it, if the frame is all there.
pub fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match head[1] & 0x7F {
        126 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length) as usize, rest))?,
        short => (usize::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((Frame { opcode: head[0] & 0x0F, payload }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_come_out_as_they_went_in() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = "x".repeat(length);
            let mut bytes = millrace::realtime::frame::text(payload.as_bytes()).to_vec();
            assert!(split(&bytes[..bytes.len() - 1]).is_none());
            bytes.push(b'!');
            let (frame, rest) = split(&bytes).expect("it is all there");
            assert_eq!((frame.opcode, frame.payload, rest), (TEXT, payload.as_bytes(), &b"!"[..]));
        }
    }
}
