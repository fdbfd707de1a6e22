//! Serving uploads. Read chat/uploads.rs for what is shown and what is only offered for download.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use object_store::{GetOptions, GetRange};

use crate::chat::uploads;
use crate::ctx::Ctx;
use crate::error::Result;

/// Not even a viewer inside the browser may run anything.
const POLICY: &str = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox";

/// What is escaped in the file name of a header (RFC 8187, `attr-char`).
const NAME: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// An upload, or a part of it.
pub async fn download(
    State(ctx): State<Arc<Ctx>>,
    Path(path): Path<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response> {
    let part = |name: &str| path.get(name).map(String::as_str).unwrap_or_default();
    let key = format!("{}/{}", part("key"), part("name"));
    let range = headers.get(RANGE).and_then(|range| parse_range(range.to_str().ok()?));
    let served = uploads::read(&ctx, &key, GetOptions { range: range.clone(), ..GetOptions::default() }).await?;
    let (size, sent) = (served.content.meta.size, served.content.range.clone());
    let disposition = format!(
        "{}; filename*=UTF-8''{}",
        if served.inline { "inline" } else { "attachment" },
        percent_encoding::utf8_percent_encode(&served.name, NAME)
    );
    let own: [(HeaderName, String); 8] = [
        (CONTENT_TYPE, served.mime_type.into()),
        (CONTENT_LENGTH, (sent.end - sent.start).to_string()),
        (CONTENT_DISPOSITION, disposition),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (CONTENT_SECURITY_POLICY, POLICY.into()),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin".into()),
        (ACCEPT_RANGES, "bytes".into()),
        // The name is random and its content never changes.
        (CACHE_CONTROL, "private, max-age=31536000, immutable".into()),
    ];
    let body = Body::from_stream(served.content.into_stream());
    Ok(if range.is_some() {
        let content_range = format!("bytes {}-{}/{size}", sent.start, sent.end.saturating_sub(1));
        (StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, content_range)], own, body).into_response()
    } else {
        (own, body).into_response()
    })
}

/// One range, as players ask for it. Anything else means the whole.
fn parse_range(range: &str) -> Option<GetRange> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (start.parse::<u64>(), end.parse::<u64>()) {
        (Ok(start), Ok(end)) if start <= end => Some(GetRange::Bounded(start..end.saturating_add(1))),
        (Ok(start), Err(_)) if end.is_empty() => Some(GetRange::Offset(start)),
        (Err(_), Ok(last)) if start.is_empty() && last > 0 => Some(GetRange::Suffix(last)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-99"), Some(GetRange::Bounded(0..100)));
        assert_eq!(parse_range("bytes=5-"), Some(GetRange::Offset(5)));
        assert_eq!(parse_range("bytes=-5"), Some(GetRange::Suffix(5)));
        for odd in ["bytes=9-5", "bytes=a-b", "items=0-1", "bytes=", "bytes=0-1,3-4", "bytes=-0"] {
            assert_eq!(parse_range(odd), None, "{odd}");
        }
    }
}
