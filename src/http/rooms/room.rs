//! The room in a path: `messaging:general`, or `general` for short.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use wire::Cid;

use crate::chat::rooms::enter::ROOM_TYPE;
use crate::ctx::Ctx;
use crate::error::{Error, Result};

/// `/rooms/{room}/…`
pub struct Room {
    pub cid: Cid,
    /// The path said only the id. Older adapters do, and expect older forms of answers.
    pub bare: bool,
}

impl Room {
    /// # Errors
    /// A text that can be neither a cid nor an id.
    pub fn parse(text: &str) -> Result<Self> {
        let bare = !text.contains(':');
        let cid = if bare { Cid::new(ROOM_TYPE, text) } else { text.parse() };
        Ok(Self { cid: cid.map_err(|_| invalid_cid())?, bare })
    }
}

pub fn invalid_cid() -> Error {
    Error::input("Invalid cid")
}

impl FromRequestParts<Arc<Ctx>> for Room {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Ctx>) -> Result<Self> {
        let Path(path): Path<HashMap<String, String>> =
            Path::from_request_parts(parts, ctx).await.map_err(|_| invalid_cid())?;
        Self::parse(path.get("room").map(String::as_str).unwrap_or_default())
    }
}
