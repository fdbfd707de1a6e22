//! Calls in which the UI kit asks the server about its own composer. There is nothing to know here: what is sent comes back, so
//! that the kit finds the key it looks for and logs no error.

use axum::Json;
use axum::http::Uri;
use serde_json::{Map, Value};

use super::auth::RoomAuth;
use crate::http::extract::{Body, form_pairs};

/// Their paths, each for `GET` and `POST`.
pub const PATHS: &[&str] = &[
    "/api/text-composer/",
    "/api/compose/",
    "/api/has-sendable-data/",
    "/api/composition-is-empty/",
    "/api/init-state/",
    "/api/state/",
    "/api/quoted-message/",
    "/api/dispatch-event/",
    "/api/context-type/",
    "/api/get-client/",
    "/api/intro/",
    "/api/subarray/",
    "/api/listeners/",
    "/api/on/",
    "/api/off/",
    "/api/tag/",
    "/api/test/",
];

pub async fn get(_: RoomAuth, uri: Uri) -> Json<Map<String, Value>> {
    Json(form_pairs(uri.query().unwrap_or_default()).map(|(key, value)| (key, value.into())).collect())
}

pub async fn post(_: RoomAuth, Body(body): Body<Map<String, Value>>) -> Json<Map<String, Value>> {
    Json(body)
}
