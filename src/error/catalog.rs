//! Every kind of error with its Stream code and HTTP status, in one table.
//!
//! Codes and statuses are the documented ones (wire-protocol facts, section 3). Kinds that Stream does not document share
//! the code of their nearest relative.

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Input,
    DuplicateUsername,
    MessageTooLong,
    EventNotSupported,
    FeatureOff,
    NestedReply,
    Authentication,
    TokenExpired,
    TokenNotYetValid,
    TokenIssuedInFuture,
    TokenSignature,
    ApiKey,
    NotAllowed,
    Cooldown,
    NotFound,
    MethodNotAllowed,
    Timeout,
    PayloadTooLarge,
    RangeNotSatisfiable,
    RateLimited,
    HeadersTooLarge,
    Internal,
    Unavailable,
}

/// How a kind of error looks from outside.
pub struct Entry {
    pub kind: Kind,
    /// The code in Stream's envelope.
    pub code: i32,
    pub status: u16,
    /// Stable name for logs and metrics.
    pub name: &'static str,
}

const fn entry(kind: Kind, code: i32, status: u16, name: &'static str) -> Entry {
    Entry { kind, code, status, name }
}

/// In the order of [`Kind`].
pub const CATALOG: &[Entry] = &[
    entry(Kind::Input, 4, 400, "input"),
    entry(Kind::DuplicateUsername, 6, 400, "duplicate_username"),
    entry(Kind::MessageTooLong, 20, 400, "message_too_long"),
    entry(Kind::EventNotSupported, 18, 400, "event_not_supported"),
    entry(Kind::FeatureOff, 19, 400, "feature_off"),
    entry(Kind::NestedReply, 21, 400, "nested_reply"),
    entry(Kind::Authentication, 5, 401, "authentication"),
    entry(Kind::TokenExpired, 40, 401, "token_expired"),
    entry(Kind::TokenNotYetValid, 41, 401, "token_not_yet_valid"),
    entry(Kind::TokenIssuedInFuture, 42, 401, "token_issued_in_future"),
    entry(Kind::TokenSignature, 43, 401, "token_signature"),
    entry(Kind::ApiKey, 2, 401, "api_key"),
    entry(Kind::NotAllowed, 17, 403, "not_allowed"),
    entry(Kind::Cooldown, 60, 403, "cooldown"),
    entry(Kind::NotFound, 16, 404, "not_found"),
    entry(Kind::MethodNotAllowed, 4, 405, "method_not_allowed"),
    entry(Kind::Timeout, 23, 408, "timeout"),
    entry(Kind::PayloadTooLarge, 22, 413, "payload_too_large"),
    entry(Kind::RangeNotSatisfiable, 4, 416, "range_not_satisfiable"),
    entry(Kind::RateLimited, 9, 429, "rate_limited"),
    entry(Kind::HeadersTooLarge, 24, 431, "headers_too_large"),
    entry(Kind::Internal, -1, 500, "internal"),
    entry(Kind::Unavailable, -1, 503, "unavailable"),
];

impl Kind {
    pub fn entry(self) -> &'static Entry {
        &CATALOG[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (index, entry) in CATALOG.iter().enumerate() {
            assert_eq!(entry.kind as usize, index, "{}", entry.name);
        }
        assert_eq!(CATALOG.len(), Kind::Unavailable as usize + 1);
    }
}
