//! Rate limits: requests per minute, by operation and platform for the app, and by operation for each user.
//!
//! The numbers are the documented ones of the hosted service times `[rate_limits] factor`. They are counted over all nodes
//! (engine). Besides the minute there is the documented limit per second, a thirtieth of it, kept by each node.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use wire::app::{LimitInfo, RateLimitsResponse};

use super::middleware::observe::Facts;
use super::platform::Platform;
use super::router;
use crate::access::Caller;
use crate::access::caller::ANONYMOUS_ROLE;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};

/// Requests per minute of one user to one operation.
const PER_USER: u64 = 60;

/// Requests per minute of the app to an operation on one platform (documented defaults; 300 where none is documented).
fn per_app(operation: &str) -> u64 {
    match operation {
        "Connect"
        | "GetOrCreateChannel"
        | "GetOrCreateDistinctChannel"
        | "GetApp"
        | "MarkChannelsRead"
        | "MarkRead"
        | "QueryChannels"
        | "SendEvent" => 10_000,
        "CreateGuest"
        | "DeleteMessage"
        | "DeleteReaction"
        | "GetMessage"
        | "GetManyMessages"
        | "GetReactions"
        | "GetReplies"
        | "QueryUsers"
        | "SendMessage"
        | "SendReaction"
        | "StopWatchingChannel"
        | "UpdateMessage"
        | "UpdateMessagePartial"
        | "UploadChannelFile"
        | "UploadChannelImage" => 1_000,
        "CreateChannelType" | "DeleteChannel" | "DeleteChannelType" | "DeleteChannelFile" | "DeleteChannelImage"
        | "DeleteDevice" | "GetChannelType" | "ListChannelTypes" | "ListDevices" | "TruncateChannel" | "UpdateApp"
        | "UpdateChannelType" => 60,
        _ => 300,
    }
}

/// Counts a request, notes for its answer what is left, and refuses it if that is nothing.
///
/// # Errors
/// Code 9.
pub fn check(ctx: &Ctx, facts: &Arc<Facts>, caller: &Caller, headers: &HeaderMap) -> Result<()> {
    let settings = ctx.config.rate_limits;
    let factor = u64::from(settings.factor);
    let now = ctx.clock.now().seconds();
    let platform = Platform::of(caller.is_server(), headers);
    let operation = facts.operation;
    let app_limit = per_app(operation) * factor;
    let usage = ctx.engine.limits.hit(&format!("{}:{operation}", platform.as_str()), now);
    let mut info = LimitInfo { limit: app_limit, remaining: app_limit.saturating_sub(usage.used), reset: usage.reset };
    let mut over = usage.used > app_limit;
    if let (Some(user), false) = (caller.user(), caller.is_server()) {
        let limit = PER_USER * factor;
        // Whoever has no name that is its own is counted with all others who have none.
        let name = if user.role == ANONYMOUS_ROLE { "!anon" } else { user.id.as_str() };
        let usage = ctx.engine.limits.hit(&format!("u:{name}:{operation}"), now);
        let remaining = limit.saturating_sub(usage.used);
        if remaining < info.remaining {
            info = LimitInfo { limit, remaining, reset: usage.reset };
        }
        over |= usage.used > limit;
    }
    let _ = facts.limit.set(info);
    if over && settings.enforce {
        return Err(Error::new(
            Kind::RateLimited,
            format!("Too many requests for this endpoint, try again after {} seconds", (info.reset - now).max(1)),
        ));
    }
    Ok(())
}

/// What is left of the limits, for the platforms and operations that were asked for; of all when none was named.
pub fn remaining(ctx: &Ctx, platforms: &[Platform], operations: &[String]) -> RateLimitsResponse {
    let now = ctx.clock.now().seconds();
    let factor = u64::from(ctx.config.rate_limits.factor);
    let all = router::operations();
    let names: Vec<&str> =
        all.into_iter().filter(|name| operations.is_empty() || operations.iter().any(|asked| asked == name)).collect();
    let of = |platform: Platform| -> Option<BTreeMap<String, LimitInfo>> {
        if !platforms.is_empty() && !platforms.contains(&platform) {
            return None;
        }
        let entry = |name: &&str| {
            let limit = per_app(name) * factor;
            let usage = ctx.engine.limits.peek(&format!("{}:{name}", platform.as_str()), now);
            ((*name).to_owned(), LimitInfo { limit, remaining: limit.saturating_sub(usage.used), reset: usage.reset })
        };
        Some(names.iter().map(entry).collect())
    };
    RateLimitsResponse {
        server_side: of(Platform::ServerSide),
        android: of(Platform::Android),
        ios: of(Platform::Ios),
        web: of(Platform::Web),
    }
}
