//! What handlers take out of a request. Everything that can be wrong with it is answered with its documented code.

pub mod body;
pub mod caller;
pub mod params;
pub mod proof;

pub use body::Body;
pub use caller::Auth;
pub use params::{CidPath, Params, Payload, Segments};

use axum::http::Uri;

/// A parameter of the query, decoded; the first of that name.
pub fn query_param(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query()?;
    form_pairs(query).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// All parameters of a query, decoded.
pub fn form_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    serde_urlencoded::from_str::<Vec<(String, String)>>(query).unwrap_or_default().into_iter()
}
