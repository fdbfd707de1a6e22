//! The address under which clients know this server.

use axum::http::HeaderMap;

use super::host;
use crate::ctx::Ctx;

/// Base of URLs that are given out, without a slash at its end: the configured one; else what the request came to, if that is an
/// address or this machine; else where the node listens. Empty, so that URLs are relative, if nobody knows. A name in `Host`
/// is never believed: it is the sender's word, and what is given out here may hold a token.
pub fn base(ctx: &Ctx, headers: &HeaderMap) -> String {
    if let Some(url) = &ctx.config.public_url {
        return url.clone();
    }
    let scheme = if is_https(ctx, headers) { "https" } else { "http" };
    let listen = ctx.config.listen;
    match host::of(headers).filter(|host| host::is_fixed(host)) {
        Some(host) => format!("{scheme}://{host}"),
        None if listen.ip().is_unspecified() => String::new(),
        None => format!("{scheme}://{listen}"),
    }
}

/// Do clients come over TLS? A proxy that ends it says so.
pub fn is_https(ctx: &Ctx, headers: &HeaderMap) -> bool {
    match &ctx.config.public_url {
        Some(url) => url.starts_with("https://"),
        None => headers.get("x-forwarded-proto").is_some_and(|protocol| protocol.as_bytes() == b"https"),
    }
}
