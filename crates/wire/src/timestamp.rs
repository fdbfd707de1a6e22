//! Points in time: microseconds since the Unix epoch, on the wire an RFC 3339 string such as
//! `2026-11-20T10:00:00.123456Z` (always 27 characters, always UTC).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa::ToSchema;

/// A point in time with microsecond precision.
///
/// Reading accepts any RFC 3339 string (fractions beyond microseconds are cut off). Writing gives 27 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Timestamp(i64);

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The number that stands in JSON for [`Timestamp::AT_COMMIT`]. Random in each process, so that nothing a user writes
/// can be mistaken for it; always 19 digits and a sign.
static COMMIT_TOKEN: LazyLock<i64> = LazyLock::new(|| {
    let random = RandomState::new().hash_one("commit token");
    let lowest: i64 = 1_000_000_000_000_000_000;
    -(lowest + (random % 8_000_000_000_000_000_000) as i64)
});

impl Timestamp {
    /// Not yet known: the time at which a row will be written, decided by Postgres under the channel's lock.
    ///
    /// In JSON it is a number that cannot be guessed ([`Timestamp::commit_token`]); whoever learns the real time puts it
    /// in with [`Timestamp::settle`]. So a message is rendered once, before it has a time.
    pub const AT_COMMIT: Self = Self(i64::MIN);

    /// The smallest time that Postgres and RFC 3339 both hold: 0001-01-01.
    pub const MIN: Self = Self(-62_135_596_800 * MICROS_PER_SECOND);
    /// The largest time that RFC 3339 holds: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799 * MICROS_PER_SECOND + 999_999);

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * MICROS_PER_SECOND)
    }

    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    pub const fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_micros(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// Gives back `None` for anything that is not an RFC 3339 time of the years 1 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(Self::from)
    }

    /// The text that stands for [`Timestamp::AT_COMMIT`] in JSON.
    pub fn commit_token() -> String {
        COMMIT_TOKEN.to_string()
    }

    /// Puts this time wherever `json` says [`Timestamp::AT_COMMIT`].
    pub fn settle(self, json: &str) -> String {
        json.replace(&Self::commit_token(), &format!("\"{self}\""))
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(time: OffsetDateTime) -> Self {
        Self((time.unix_timestamp_nanos() / 1_000) as i64).clamp(Self::MIN, Self::MAX)
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(time: Timestamp) -> Self {
        let clamped = time.clamp(Timestamp::MIN, Timestamp::MAX);
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(clamped.0) * 1_000)
            .expect("a clamped timestamp is inside the calendar")
            .to_offset(UtcOffset::UTC)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from(*self);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, width: usize, mut value: u32| {
            for index in (at..at + width).rev() {
                text[index] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(0, 4, time.year() as u32);
        put(5, 2, u32::from(u8::from(time.month())));
        put(8, 2, u32::from(time.day()));
        put(11, 2, u32::from(time.hour()));
        put(14, 2, u32::from(time.minute()));
        put(17, 2, u32::from(time.second()));
        put(20, 6, time.microsecond());
        out.write_str(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::AT_COMMIT {
            return serializer.serialize_i64(*COMMIT_TOKEN);
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an RFC 3339 time such as 2026-11-20T10:00:00Z")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// `timestamptz`, read and written as such.
#[cfg(feature = "postgres")]
mod postgres {
    use sqlx::encode::IsNull;
    use sqlx::error::BoxDynError;
    use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef, Postgres};
    use sqlx::{Decode, Encode, Type};
    use time::OffsetDateTime;

    use super::Timestamp;

    impl Type<Postgres> for Timestamp {
        fn type_info() -> PgTypeInfo {
            <OffsetDateTime as Type<Postgres>>::type_info()
        }
    }

    impl PgHasArrayType for Timestamp {
        fn array_type_info() -> PgTypeInfo {
            <OffsetDateTime as PgHasArrayType>::array_type_info()
        }
    }

    impl Encode<'_, Postgres> for Timestamp {
        fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            OffsetDateTime::from(*self).encode_by_ref(buffer)
        }
    }

    impl Decode<'_, Postgres> for Timestamp {
        fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
            OffsetDateTime::decode(value).map(Self::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_twenty_seven_characters_and_reads_them_back() {
        for micros in [0, 1, -1, 1_763_632_800_123_456, Timestamp::MIN.0, Timestamp::MAX.0] {
            let time = Timestamp::from_micros(micros);
            let text = time.to_string();
            assert_eq!(text.len(), 27, "{text}");
            assert_eq!(Timestamp::parse(&text), Some(time));
        }
        assert_eq!(Timestamp::from_micros(1_763_632_800_123_456).to_string(), "2025-11-20T10:00:00.123456Z");
    }

    #[test]
    fn reads_what_clients_send() {
        for (text, micros) in [
            ("2026-11-20T10:00:00Z", 1_795_168_800_000_000),
            ("2026-11-20T12:00:00+02:00", 1_795_168_800_000_000),
            ("2026-11-20T10:00:00.123456789Z", 1_795_168_800_123_456),
            ("0001-01-01T00:00:00Z", Timestamp::MIN.0),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(micros)), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-20"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pending_time_is_settled_everywhere() {
        let json = serde_json::to_string(&[Timestamp::AT_COMMIT, Timestamp::AT_COMMIT]).unwrap();
        assert_eq!(
            Timestamp::from_micros(0).settle(&json),
            r#"["1970-01-01T00:00:00.000000Z","1970-01-01T00:00:00.000000Z"]"#
        );
    }
}
