//! Answers: JSON objects, to which the middleware adds how long they took.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::Error;

/// An answer of the Stream surface.
pub struct Reply<T>(pub T);

/// The JSON of an answer, on its way to the middleware that completes it (middleware/observe.rs).
#[derive(Clone)]
pub struct JsonBody(pub Vec<u8>);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let mut response = StatusCode::OK.into_response();
                response.extensions_mut().insert(JsonBody(json));
                response
            }
            Err(error) => Error::from(error).into_response(),
        }
    }
}
