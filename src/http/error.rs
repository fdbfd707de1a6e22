//! Errors as responses: status and envelope of the Stream surface.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
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
