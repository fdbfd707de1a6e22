//! What a client is told when its socket closes. 1000 means: do not come back like this; every other code means: try again.

use crate::realtime::CloseReason;

/// Code and text of the close frame; nothing where the peer would not read one.
pub fn frame_of(reason: CloseReason) -> Option<(u16, &'static str)> {
    match reason {
        CloseReason::Revoked => Some((1000, "the session has ended")),
        CloseReason::Goodbye => Some((1000, "")),
        CloseReason::Draining => Some((1012, "the node is restarting")),
        CloseReason::Protocol => Some((1002, "protocol error")),
        CloseReason::TooSlow => Some((1013, "too slow: connect again and catch up")),
        CloseReason::RateLimited => Some((4408, "too many messages")),
        CloseReason::Unauthenticated => Some((4401, "the token is not good")),
        CloseReason::Expired => Some((4401, "the token has expired: come back with another")),
        CloseReason::Silent | CloseReason::Lost => None,
    }
}

/// Label for metrics.
pub fn label_of(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::TooSlow => "too_slow",
        CloseReason::Silent => "silent",
        CloseReason::Revoked => "revoked",
        CloseReason::Draining => "draining",
        CloseReason::Protocol => "protocol",
        CloseReason::Goodbye => "goodbye",
        CloseReason::Lost => "lost",
        CloseReason::RateLimited => "rate_limited",
        CloseReason::Unauthenticated => "unauthenticated",
        CloseReason::Expired => "expired",
    }
}
