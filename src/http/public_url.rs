//! The address under which clients know this server.

use axum::http::HeaderMap;
use axum::http::header::HOST;

use crate::ctx::Ctx;

/// Base of URLs that are given out, without a slash at its end: the configured one, else what the request came to.
pub fn base(ctx: &Ctx, headers: &HeaderMap) -> String {
    if let Some(url) = &ctx.config.public_url {
        return url.clone();
    }
    let scheme = if is_https(ctx, headers) { "https" } else { "http" };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    format!("{scheme}://{}", host.map_or_else(|| ctx.config.listen.to_string(), ToOwned::to_owned))
}

/// Do clients come over TLS? A proxy that ends it says so.
pub fn is_https(ctx: &Ctx, headers: &HeaderMap) -> bool {
    match &ctx.config.public_url {
        Some(url) => url.starts_with("https://"),
        None => headers.get("x-forwarded-proto").is_some_and(|protocol| protocol.as_bytes() == b"https"),
    }
}
