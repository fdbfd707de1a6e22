//! Paths and queries.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use wire::Cid;

use super::{body, query_param};
use crate::ctx::Ctx;
use crate::error::Error;

/// `/channels/{type}/{id}/…` as a cid.
pub struct CidPath(pub Cid);

impl FromRequestParts<Arc<Ctx>> for CidPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Ctx>) -> Result<Self, Error> {
        let Path(path): Path<HashMap<String, String>> =
            Path::from_request_parts(parts, ctx).await.map_err(|_| Error::input("the path cannot be read"))?;
        let part = |name: &str| path.get(name).map(String::as_str).unwrap_or_default();
        Ok(Self(Cid::new(part("type"), part("id"))?))
    }
}

/// The named parts of the path, in their order.
pub struct Segments<const N: usize>(pub [String; N]);

impl<const N: usize> FromRequestParts<Arc<Ctx>> for Segments<N> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Ctx>) -> Result<Self, Error> {
        let unreadable = || Error::input("the path cannot be read");
        let Path(path): Path<Vec<(String, String)>> =
            Path::from_request_parts(parts, ctx).await.map_err(|_| unreadable())?;
        let values: Vec<String> = path.into_iter().map(|(_, value)| value).collect();
        values.try_into().map(Self).map_err(|_| unreadable())
    }
}

/// The query as a type; unknown parameters are passed over.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Ctx>> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Ctx>) -> Result<Self, Error> {
        // Empty values mean nothing: clients send `hard=&limit=`.
        let pairs: Vec<(String, String)> =
            super::form_pairs(parts.uri.query().unwrap_or_default()).filter(|(_, value)| !value.is_empty()).collect();
        let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
        serde_urlencoded::from_str(&query)
            .map(Self)
            .map_err(|error| Error::input(format!("the query cannot be read: {error}")))
    }
}

/// The query parameter `payload`: JSON in a URL.
pub struct Payload<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Ctx>> for Payload<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Ctx>) -> Result<Self, Error> {
        let payload = query_param(&parts.uri, "payload").unwrap_or_default();
        body::parse(payload.as_bytes()).map(Self)
    }
}
