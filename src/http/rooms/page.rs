//! The page of the rooms surface: a client as its UI adapter would be, for looking and for the browser test. Served where the
//! demo is.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::ctx::Ctx;
use crate::error::{Error, Result};

const PAGE: &str = include_str!("../../../web/rooms/index.html");
const SCRIPT: &str = include_str!("../../../web/rooms/app.js");
const STYLE: &str = include_str!("../../../web/rooms/style.css");

pub async fn page(State(ctx): State<Arc<Ctx>>) -> Result<Response> {
    served(&ctx, "text/html; charset=utf-8", PAGE)
}

/// What the page loads.
pub async fn file(State(ctx): State<Arc<Ctx>>, Path(file): Path<String>) -> Result<Response> {
    match file.as_str() {
        "app.js" => served(&ctx, "text/javascript; charset=utf-8", SCRIPT),
        "style.css" => served(&ctx, "text/css; charset=utf-8", STYLE),
        _ => Err(missing()),
    }
}

fn served(ctx: &Ctx, mime_type: &'static str, body: &'static str) -> Result<Response> {
    if !ctx.config.demo || !ctx.config.rooms.enabled {
        return Err(missing());
    }
    Ok(([(CONTENT_TYPE, mime_type), (CACHE_CONTROL, "no-store")], body).into_response())
}

fn missing() -> Error {
    Error::not_found("there is no such file")
}
