//! Channel ids: `type:id`, called cid on the wire.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest channel type and longest channel id, in characters (wire-protocol limits: id 64; distinct ids are 53).
pub const CHANNEL_ID_CHARS_MAX: usize = 64;

/// A full channel id, `messaging:general`: a type (`[A-Za-z0-9_-]`) and an id (`[A-Za-z0-9_!-]`), each of 1 to 64 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid {
    full: Box<str>,
    colon: u8,
}

/// Why a text is not a [`Cid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidError {
    NoColon,
    Type,
    Id,
}

impl fmt::Display for CidError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoColon => "a cid has the form type:id",
            Self::Type => "a channel type has 1 to 64 of the characters a-z A-Z 0-9 _ -",
            Self::Id => "a channel id has 1 to 64 of the characters a-z A-Z 0-9 _ - !",
        })
    }
}

impl std::error::Error for CidError {}

impl Cid {
    /// Joins a type and an id.
    ///
    /// # Errors
    /// A part that is empty, too long or has a character that is not allowed.
    pub fn new(channel_type: &str, id: &str) -> Result<Self, CidError> {
        let word = |text: &str, more: &[u8]| {
            (1..=CHANNEL_ID_CHARS_MAX).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || more.contains(&byte))
        };
        if !word(channel_type, b"") {
            return Err(CidError::Type);
        }
        if !word(id, b"!") {
            return Err(CidError::Id);
        }
        Ok(Self { full: format!("{channel_type}:{id}").into(), colon: channel_type.len() as u8 })
    }

    pub fn as_str(&self) -> &str {
        &self.full
    }

    pub fn channel_type(&self) -> &str {
        &self.full[..usize::from(self.colon)]
    }

    pub fn id(&self) -> &str {
        &self.full[usize::from(self.colon) + 1..]
    }

    /// Is this a channel that is named by its members (`!members-…`)?
    pub fn is_distinct(&self) -> bool {
        self.id().starts_with("!members-")
    }
}

impl FromStr for Cid {
    type Err = CidError;
    fn from_str(text: &str) -> Result<Self, CidError> {
        let (channel_type, id) = text.split_once(':').ok_or(CidError::NoColon)?;
        Self::new(channel_type, id)
    }
}

impl TryFrom<String> for Cid {
    type Error = CidError;
    fn try_from(text: String) -> Result<Self, CidError> {
        text.parse()
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.full)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.full)
    }
}

impl Serialize for Cid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.full)
    }
}

impl<'de> Deserialize<'de> for Cid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_into_type_and_id() {
        let cid: Cid = "messaging:!members-abc_DEF-1".parse().unwrap();
        assert_eq!((cid.channel_type(), cid.id(), cid.is_distinct()), ("messaging", "!members-abc_DEF-1", true));
        assert_eq!(cid.to_string(), "messaging:!members-abc_DEF-1");
    }

    #[test]
    fn refuses_what_is_not_a_cid() {
        let long = "x".repeat(65);
        for (text, error) in [
            ("general", CidError::NoColon),
            (":general", CidError::Type),
            ("a b:general", CidError::Type),
            ("messaging:", CidError::Id),
            ("messaging:a:b", CidError::Id),
            ("messaging:ä", CidError::Id),
            (&format!("messaging:{long}"), CidError::Id),
            (&format!("{long}:x"), CidError::Type),
        ] {
            assert_eq!(text.parse::<Cid>(), Err(error), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_taken_for_a_cid_is_written_as_it_was_read(text in "\\PC{0,40}|[a-z!_-]{1,12}:[A-Za-z0-9!_-]{1,70}") {
            if let Ok(cid) = text.parse::<Cid>() {
                proptest::prop_assert_eq!(cid.to_string(), text);
                proptest::prop_assert!(!cid.id().is_empty() && cid.id().len() <= 64 + 9, "{cid}");
                proptest::prop_assert_eq!(Cid::new(cid.channel_type(), cid.id()).unwrap(), cid);
            }
        }
    }
}
