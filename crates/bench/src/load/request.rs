//! Requests as bytes, with a place for a number.

use anyhow::{Context, Result};
use memchr::memmem;

/// Stands in a text where the number of the request goes, and comes back in what is delivered: this, then the number.
pub const NUMBER_PLACE: &str = "~number:0000000000000000";
const MARK: &str = "~number:";
const DIGITS: usize = NUMBER_PLACE.len() - MARK.len();

/// A request of HTTP/1.1 that keeps its connection.
pub fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let credentials =
        token.map(|token| format!("authorization: {token}\r\nstream-auth-type: jwt\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\n{credentials}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request that is sent many times, each time with another number.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    place: usize,
}

impl Template {
    pub fn new(request: Vec<u8>) -> Result<Self> {
        let place = memmem::find(&request, NUMBER_PLACE.as_bytes()).context("the request has no place for a number")?;
        Ok(Self { bytes: request, place: place + MARK.len() })
    }

    /// Puts the request with this number into a buffer.
    pub fn write(&self, number: u64, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.bytes);
        for (index, digit) in into[self.place..self.place + DIGITS].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * index)) as usize & 15];
        }
    }
}

/// Finds the number in what is delivered.
pub struct NumberFinder(memmem::Finder<'static>);

impl NumberFinder {
    pub fn new() -> Self {
        Self(memmem::Finder::new(MARK))
    }

    pub fn find(&self, text: &[u8]) -> Option<u64> {
        let digits = text.get(self.0.find(text)? + MARK.len()..)?.get(..DIGITS)?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_where_it_was_put() {
        let template = Template::new(request("POST", "/", Some("token"), NUMBER_PLACE)).expect("it has a place");
        let mut bytes = Vec::new();
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            template.write(number, &mut bytes);
            assert_eq!(NumberFinder::new().find(&bytes), Some(number));
        }
        assert!(bytes.starts_with(b"POST / HTTP/1.1\r\n") && bytes.ends_with(b"\r\n\r\n~number:ffffffffffffffff"));
    }
}
