//! Serving uploads. Read chat/uploads.rs for what is shown and what is only offered for download.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::chat::uploads;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::extract::Segments;

/// Not even a viewer inside the browser may run anything.
const POLICY: &str = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox";

/// What is escaped in the file name of a header (RFC 8187, `attr-char`).
const NAME: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// An upload, or a part of it.
pub async fn download(
    State(ctx): State<Arc<Ctx>>,
    Segments([key, name]): Segments<2>,
    headers: HeaderMap,
) -> Result<Response> {
    let served = uploads::find(&ctx, format!("{key}/{name}")).await?;
    let size = served.size;
    let asked =
        headers.get(RANGE).and_then(|range| range.to_str().ok()).map_or(Asked::Whole, |range| parse(range, size));
    let part = match asked {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
        Asked::Outside => return Ok(outside(size)),
    };
    let body = Body::from_stream(served.open(&ctx, part.clone()).await?);
    let length = part.as_ref().map_or(size, |part| part.end - part.start);
    let disposition = format!(
        "{}; filename*=UTF-8''{}",
        if served.inline { "inline" } else { "attachment" },
        percent_encoding::utf8_percent_encode(&served.name, NAME)
    );
    let own: [(HeaderName, String); 8] = [
        (CONTENT_TYPE, served.mime_type.into()),
        (CONTENT_LENGTH, length.to_string()),
        (CONTENT_DISPOSITION, disposition),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (CONTENT_SECURITY_POLICY, POLICY.into()),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin".into()),
        (ACCEPT_RANGES, "bytes".into()),
        // The name is random and its content never changes.
        (CACHE_CONTROL, "private, max-age=31536000, immutable".into()),
    ];
    Ok(if let Some(Range { start, end }) = part {
        let content_range = format!("bytes {start}-{}/{size}", end - 1);
        (StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, content_range)], own, body).into_response()
    } else {
        (own, body).into_response()
    })
}

/// Nothing of what is asked for is there (RFC 9110, section 15.5.17).
fn outside(size: u64) -> Response {
    let error = Error::new(Kind::RangeNotSatisfiable, format!("the upload has {size} bytes"));
    let mut response = error.into_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// Of at least one byte, within the upload.
    Part(Range<u64>),
    Outside,
}

/// One range, as players ask for it. Several, and what is no range, mean the whole.
fn parse(range: &str, size: u64) -> Asked {
    let Some((start, end)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let part = match (number(start), number(end)) {
        (Some(start), Some(end)) if start <= end => start..end.saturating_add(1).min(size),
        (Some(start), None) if end.is_empty() => start..size,
        (None, Some(last)) if start.is_empty() => size.saturating_sub(last)..size,
        _ => return Asked::Whole,
    };
    if part.is_empty() { Asked::Outside } else { Asked::Part(part) }
}

/// A position; one that no number can hold is behind every end.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges() {
        let huge = "9".repeat(30);
        for (range, asked) in [
            ("bytes=0-4", Asked::Part(0..5)),
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-", Asked::Part(2..5)),
            ("bytes=-2", Asked::Part(3..5)),
            ("bytes=-99", Asked::Part(0..5)),
            ("bytes=0-99", Asked::Part(0..5)),
            (&format!("bytes=1-{huge}"), Asked::Part(1..5)),
            ("bytes=5-", Asked::Outside),
            ("bytes=7-9", Asked::Outside),
            ("bytes=-0", Asked::Outside),
            (&format!("bytes={huge}-"), Asked::Outside),
            ("bytes=4-2", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("items=0-1", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
        ] {
            assert_eq!(parse(range, 5), asked, "{range}");
        }
        for range in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(parse(range, 0), Asked::Outside, "{range} of nothing");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within(range in "bytes=[0-9]{0,22}-[0-9]{0,22}", size in any::<u64>()) {
            if let Asked::Part(part) = parse(&range, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
