//! Errors as responses: status and envelope of the surface that was called.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use wire::app::ApiError;

use crate::error::{Error, Kind};

impl IntoResponse for Error {
    /// The status alone: the middleware makes the envelope, because it knows the operation and the time
    /// (middleware/observe.rs).
    fn into_response(self) -> Response {
        let mut response = status(self.kind).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// How a surface words its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// `{"code": …, "message": …, "StatusCode": …}`
    Stream,
    /// `{"detail": …}`, or `{"field": ["what is wrong with it"]}`; somebody unknown is told 403.
    Detail,
}

impl Envelope {
    /// The envelope of what is asked for, also where nothing is there.
    pub fn of(path: &str) -> Self {
        let is_below =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if ["/api", "/rooms", "/ws"].into_iter().any(is_below) { Self::Detail } else { Self::Stream }
    }
}

/// Status and body of an error in a surface's words.
pub fn worded(
    envelope: Envelope,
    error: &Error,
    method: &Method,
    operation: &str,
    duration: &str,
) -> (StatusCode, Vec<u8>) {
    let status = status(error.kind);
    let json = match envelope {
        Envelope::Stream => serde_json::to_vec(&self::envelope(error, operation, duration)),
        Envelope::Detail if !error.fields.is_empty() => {
            let fields: BTreeMap<_, _> = error.fields.iter().map(|(name, problem)| (name, [problem])).collect();
            serde_json::to_vec(&fields)
        }
        Envelope::Detail if status == StatusCode::METHOD_NOT_ALLOWED => {
            serde_json::to_vec(&json!({"detail": format!("Method \"{method}\" not allowed.")}))
        }
        Envelope::Detail => serde_json::to_vec(&json!({"detail": error.message})),
    };
    let status = match envelope {
        Envelope::Detail if status == StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN,
        _ => status,
    };
    (status, json.unwrap_or_default())
}

pub fn status(kind: Kind) -> StatusCode {
    StatusCode::from_u16(kind.entry().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The envelope that clients parse: `SendMessage failed with error: "…"`.
pub fn envelope(error: &Error, operation: &str, duration: &str) -> ApiError {
    let entry = error.kind.entry();
    ApiError {
        code: entry.code,
        message: format!("{operation} failed with error: \"{}\"", error.message),
        status_code: entry.status,
        more_info: String::new(),
        details: Vec::new(),
        exception_fields: error.fields.clone(),
        duration: duration.into(),
    }
}
