//! Tokens as the makers of apps sign them: in their own servers, with the secret.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// Any claims, signed.
///
/// # Panics
/// The claims are no object.
pub fn sign(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("a JSON object can be signed")
}

/// A token for a user, without an end.
pub fn user_token(secret: &str, user_id: &str) -> String {
    sign(secret, &json!({"user_id": user_id}))
}

/// A token for a server.
pub fn server_token(secret: &str) -> String {
    sign(secret, &json!({"server": true}))
}
