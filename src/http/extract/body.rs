//! JSON bodies. Nothing and `null` mean an empty object, as clients of every age send them.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::proof::Proof;
use crate::ctx::Ctx;
use crate::error::{Error, Kind};
use crate::lanes::Lane;
use crate::{asker, limits};

/// A JSON body of the Stream surface.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Ctx>> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, ctx: &Arc<Ctx>) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let bytes = read(ctx, &parts.headers, body, limits::JSON_BODY_BYTES_MAX).await?;
        Proof::check_again(ctx, &parts).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads a body that is not larger than it may be; one that says so beforehand is refused before it is read.
async fn read(ctx: &Ctx, headers: &HeaderMap, body: axum::body::Body, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let bytes_max = if asker::is_known() { bytes_max } else { bytes_max.min(limits::SMALL_BODY_BYTES_MAX) };
    let too_large = || Error::new(Kind::PayloadTooLarge, format!("a body may have {bytes_max} bytes"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut chunks = pin!(chunks(body));
    let mut body = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        let (before, after) = (body.len(), body.len() + chunk.len());
        if after > bytes_max {
            return Err(too_large());
        }
        if before <= limits::SMALL_BODY_BYTES_MAX && after > limits::SMALL_BODY_BYTES_MAX {
            take_turn(ctx).await?;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A body in chunks, for as long as it goes on: one that falls silent has an error in place of its end.
pub fn chunks(body: axum::body::Body) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    stream::unfold(body.into_data_stream(), async |mut body| {
        let chunk = match timeout(limits::BODY_SILENCE, body.next()).await {
            Ok(chunk) => chunk?.map_err(|_| Error::input("the body could not be read")),
            Err(_) => Err(Error::new(Kind::Timeout, "the body fell silent")),
        };
        Some((chunk, body))
    })
}

/// Waits for the turn of a body that is not small. It lasts until the request is done: what the body is read into is larger still.
async fn take_turn(ctx: &Ctx) -> Result<(), Error> {
    let crowded = |_| Error::new(Kind::RateLimited, "too many of your large bodies at once: wait for their answers");
    if let Some(asker) = asker::current() {
        asker::keep(ctx.lanes.enter(Lane::Bodies(asker)).await.map_err(crowded)?);
    }
    asker::keep(ctx.lanes.enter(Lane::AllBodies).await.map_err(Error::unavailable)?);
    Ok(())
}

/// # Errors
/// Something that is no JSON, too deep, with a NUL in a text, or not of the expected form.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let trimmed = bytes.trim_ascii();
    let json = if trimmed.is_empty() || trimmed == b"null" || trimmed == b"[]" { b"{}" } else { trimmed };
    let shape = Shape::of(json);
    if shape.depth > limits::JSON_DEPTH_MAX {
        return Err(Error::input(format!("the body is nested more than {} levels deep", limits::JSON_DEPTH_MAX)));
    }
    if shape.marks > limits::JSON_MARKS_MAX {
        return Err(Error::input("the body has too many values"));
    }
    if shape.has_nul {
        return Err(Error::input("a text contains a NUL (\\u0000)"));
    }
    if shape.is_reserved {
        return Err(Error::input(format!("nothing may be named {RESERVED}")));
    }
    serde_json::from_slice(json).map_err(|error| Error::input(format!("the body cannot be read: {error}")))
}

/// What our JSON library calls its own. An object whose first key begins so it reads in another way: as text that is JSON again, of
/// which nobody has measured anything.
const RESERVED: &str = "$serde_json::private::";

/// What decides whether JSON is read at all. What is not JSON is looked at too; the parser says so later.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// How deep objects and lists are nested.
    depth: usize,
    /// Objects, lists, and commas between what is in them: values take far more memory than the text that they are read from.
    marks: usize,
    /// Postgres has no place for a NUL in a text.
    has_nul: bool,
    /// Something in it has a name, or could become one, that is [`RESERVED`].
    is_reserved: bool,
}

impl Shape {
    fn of(json: &[u8]) -> Self {
        let mut shape = Self::default();
        let (mut depth, mut in_text, mut escaped, mut start) = (0_usize, false, false, 0);
        for (index, byte) in json.iter().enumerate() {
            match byte {
                _ if escaped => {
                    escaped = false;
                    shape.has_nul |= json[index..].starts_with(b"u0000");
                }
                b'\\' if in_text => escaped = true,
                b'"' => {
                    if in_text {
                        shape.is_reserved |= is_reserved(&json[start..=index], &json[index + 1..]);
                    }
                    (in_text, start) = (!in_text, index);
                }
                b',' if !in_text => shape.marks += 1,
                b'{' | b'[' if !in_text => {
                    shape.marks += 1;
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        shape
    }
}

/// Is this text, with its quotes, a key (or a path of keys) with a reserved name in it, or a value that is such a name: that may
/// become a key, as the type of a reaction does?
fn is_reserved(text: &[u8], rest: &[u8]) -> bool {
    if text.len() < RESERVED.len() {
        return false;
    }
    let is_key = rest.trim_ascii_start().starts_with(b":");
    let inner = std::str::from_utf8(&text[1..text.len() - 1]).ok();
    let read = match inner {
        Some(inner) if !inner.contains('\\') => Some(Cow::Borrowed(inner)),
        // The parser says what is wrong with it.
        _ => serde_json::from_slice::<String>(text).ok().map(Cow::Owned),
    };
    let is_a_name = |text: &str| text.starts_with(RESERVED) && !text.contains(char::is_whitespace);
    read.is_some_and(|text| if is_key { text.contains(RESERVED) } else { is_a_name(&text) })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn nothing_is_an_empty_object() {
        for body in ["", "  ", "null", "[]", "{}"] {
            assert_eq!(parse::<Value>(body.as_bytes()).unwrap(), serde_json::json!({}), "{body:?}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        assert_eq!(Shape::of(br#"{"a":[{"b":"[[[\"]]]{"}]}"#).depth, 3);
        assert_eq!(Shape::of(b"]]][").depth, 1);
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(parse::<Value>(deep.as_bytes()).unwrap_err().message.contains("nested"));
    }

    #[test]
    fn a_nul_is_refused_and_what_looks_like_one_is_not() {
        assert!(parse::<Value>(br#"{"a":"x\u0000"}"#).unwrap_err().message.contains("NUL"));
        assert_eq!(parse::<Value>(br#"{"a":"x\\u0000"}"#).unwrap()["a"], "x\\u0000");
    }

    #[test]
    fn reserved_names_are_refused_however_they_are_written() {
        for body in [
            r#"{"a":[{"$serde_json::private::RawValue":"[[["}]}"#,
            r#"{"\u0024serde_json\u003a:private::RawValue" : "1"}"#,
            r#"{"set":{"a.$serde_json::private::RawValue":1}}"#,
            r#"{"reaction":{"type":"$serde_json::private::Number"}}"#,
        ] {
            assert!(parse::<Value>(body.as_bytes()).unwrap_err().message.contains("named"), "{body}");
        }
        assert!(parse::<Value>(br#"{"text":"$serde_json::private::RawValue is odd"}"#).is_ok());
        let said = r#"{"text":"a key \"$serde_json::private::RawValue\": is reserved"}"#;
        assert!(parse::<Value>(said.as_bytes()).is_ok());
    }

    #[test]
    fn bad_json_is_input() {
        for body in ["{", "x", "{\"a\":}", "\u{0}", "{\"a\":1}}"] {
            assert_eq!(parse::<Value>(body.as_bytes()).unwrap_err().kind, Kind::Input, "{body:?}");
        }
    }
}
