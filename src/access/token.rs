//! Tokens: JSON Web Tokens signed with the app's secret (HS256 and nothing else).
//!
//! A user token names its user; a server token says `"server": true` (PHP says `"true"`). With `disable_auth_checks`, in
//! development, a token is read but not verified.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize};
use wire::Timestamp;

use crate::config::Secret;
use crate::error::{Error, Kind, Result};

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What a token says, as far as Millrace reads it. Times are in Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    #[serde(default, deserialize_with = "text")]
    pub user_id: Option<String>,
    /// The user in tokens of other issuers.
    #[serde(default, deserialize_with = "text")]
    pub sub: Option<String>,
    /// Of somebody whom the issuer knows by it.
    #[serde(default, deserialize_with = "text")]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    pub server: bool,
    #[serde(default, deserialize_with = "seconds")]
    pub exp: Option<i64>,
    #[serde(default, deserialize_with = "seconds")]
    pub iat: Option<i64>,
    #[serde(default, deserialize_with = "seconds")]
    pub nbf: Option<i64>,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Truth {
        Bool(bool),
        Text(String),
    }
    Ok(match Option::<Truth>::deserialize(deserializer)? {
        Some(Truth::Bool(value)) => value,
        Some(Truth::Text(text)) => text == "true",
        None => false,
    })
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<i64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|seconds| seconds as i64))
}

#[derive(Serialize, Deserialize)]
struct SessionClaims {
    /// A number of 64 bits, which JSON does not hold.
    session: String,
    session_of: String,
}

/// Signs and reads the tokens of one app.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    verified: Validation,
    /// By how much clocks may differ about the end and the beginning of a token.
    leeway_seconds: i64,
}

impl Tokens {
    pub fn new(secret: &Secret) -> Self {
        let mut verified = Validation::new(Algorithm::HS256);
        // Times are checked here, against the node's clock and with the documented codes.
        verified.validate_exp = false;
        verified.validate_nbf = false;
        verified.validate_aud = false;
        verified.required_spec_claims.clear();
        Self {
            encoding: EncodingKey::from_secret(secret.reveal().as_bytes()),
            decoding: DecodingKey::from_secret(secret.reveal().as_bytes()),
            verified,
            leeway_seconds: 0,
        }
    }

    /// The same for issuers whose clocks are not ours.
    #[must_use]
    pub fn with_leeway(self, seconds: i64) -> Self {
        Self { leeway_seconds: seconds, ..self }
    }

    /// Reads a token and checks its signature and times.
    ///
    /// # Errors
    /// With the code of what is wrong: 5, 40, 41, 42 or 43.
    pub fn read(&self, token: &str, now: Timestamp, verify: bool) -> Result<Claims> {
        let malformed = || Error::new(Kind::Authentication, "Token is malformed");
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(malformed());
        }
        if !verify {
            return unverified(token).ok_or_else(malformed);
        }
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.verified).map_err(|error| {
                match error.kind() {
                    jsonwebtoken::errors::ErrorKind::InvalidSignature => {
                        Error::new(Kind::TokenSignature, "Token signature is invalid")
                    }
                    _ => malformed(),
                }
            })?;
        let claims = claims.claims;
        if claims.exp.is_some_and(|end| end <= now.seconds() - self.leeway_seconds) {
            return Err(Error::new(Kind::TokenExpired, "Token is expired"));
        }
        if claims.nbf.is_some_and(|start| start > now.seconds() + self.leeway_seconds) {
            return Err(Error::new(Kind::TokenNotYetValid, "Token is not valid yet"));
        }
        if claims.iat.is_some_and(|issued| issued > now.seconds() + CLOCK_SKEW_SECONDS.max(self.leeway_seconds)) {
            return Err(Error::new(Kind::TokenIssuedInFuture, "Token used before issue at (iat)"));
        }
        Ok(claims)
    }

    /// A token for a user.
    ///
    /// # Errors
    /// None in practice: our own claims always serialise.
    pub fn for_user(&self, user_id: &str, issued_at: Option<i64>, expires_at: Option<i64>) -> Result<String> {
        #[derive(Serialize)]
        struct UserClaims<'a> {
            user_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            iat: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            exp: Option<i64>,
        }
        let claims = UserClaims { user_id, iat: issued_at, exp: expires_at };
        jsonwebtoken::encode(&Header::default(), &claims, &self.encoding).map_err(Error::internal)
    }

    /// What a browser keeps of its session: who it is, and by which id. It names its user in a claim that no call takes for one.
    ///
    /// # Errors
    /// None in practice: our own claims always serialise.
    pub fn for_session(&self, user_id: &str, session: u64) -> Result<String> {
        let claims = SessionClaims { session: session.to_string(), session_of: user_id.into() };
        jsonwebtoken::encode(&Header::default(), &claims, &self.encoding).map_err(Error::internal)
    }

    /// The session that [`Tokens::for_session`] wrote for this user.
    pub fn read_session(&self, token: &str, user_id: &str) -> Option<u64> {
        let claims = jsonwebtoken::decode::<SessionClaims>(token, &self.decoding, &self.verified).ok()?.claims;
        (claims.session_of == user_id).then(|| claims.session.parse().ok())?
    }

    /// A token for a server: it may do everything, for everybody.
    ///
    /// # Errors
    /// None in practice: our own claims always serialise.
    pub fn for_server(&self) -> Result<String> {
        jsonwebtoken::encode(&Header::default(), &serde_json::json!({"server": true}), &self.encoding)
            .map_err(Error::internal)
    }
}

/// A token from the future is refused, but not for the few seconds by which clocks differ.
const CLOCK_SKEW_SECONDS: i64 = 5;

fn unverified(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let bytes =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload.trim_end_matches('='))
            .ok()?;
    let claims: Claims = serde_json::from_slice(&bytes).ok()?;
    // Its times are not checked, so it does not end either.
    Some(Claims { exp: None, ..claims })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new("secret"))
    }

    fn signed(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(b"secret")).unwrap()
    }

    #[test]
    fn reads_what_clients_and_servers_sign() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidG9tbWFzbyJ9.v-x-jt3ZnBXXbQ0GoWloIZtVnat2IE74U1a4Yuxd63M";
        assert_eq!(tokens().read(token, NOW, true).unwrap().user_id.as_deref(), Some("tommaso"));
        let own = tokens().for_user("ada", Some(NOW.seconds()), None).unwrap();
        let read = tokens().read(&own, NOW, true).unwrap();
        assert_eq!((read.user_id.as_deref(), read.iat), (Some("ada"), Some(NOW.seconds())));
        for server in [json!(true), json!("true")] {
            assert!(tokens().read(&signed(&json!({"server": server})), NOW, true).unwrap().server);
        }
        for server in [json!(false), json!("yes"), json!(null)] {
            assert!(!tokens().read(&signed(&json!({"server": server})), NOW, true).unwrap().server);
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_token() {
        let now = NOW.seconds();
        let user = |more: Value| {
            let mut claims = json!({"user_id": "ada"});
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            signed(&claims)
        };
        let (mine, theirs) = (user(json!({})), user(json!({"user_id": "grace"})));
        let tampered = format!("{}.{}", theirs.rsplit_once('.').unwrap().0, mine.rsplit_once('.').unwrap().1);
        let none = "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoiYWRhIn0.";
        let other_key =
            jsonwebtoken::encode(&Header::default(), &json!({"user_id": "ada"}), &EncodingKey::from_secret(b"other"));
        let other_algorithm = jsonwebtoken::encode(
            &Header::new(Algorithm::HS512),
            &json!({"user_id": "ada"}),
            &EncodingKey::from_secret(b"secret"),
        );
        for (token, kind) in [
            (user(json!({"exp": now - 60})), Kind::TokenExpired),
            (user(json!({"exp": now})), Kind::TokenExpired),
            (user(json!({"nbf": now + 60})), Kind::TokenNotYetValid),
            (user(json!({"iat": now + 60})), Kind::TokenIssuedInFuture),
            (tampered, Kind::TokenSignature),
            (other_key.unwrap(), Kind::TokenSignature),
            (other_algorithm.unwrap(), Kind::Authentication),
            (none.to_owned(), Kind::Authentication),
            (String::new(), Kind::Authentication),
            ("a.b.c".to_owned(), Kind::Authentication),
            ("x".repeat(9_000), Kind::Authentication),
            (signed(&json!({"user_id": 5})), Kind::Authentication),
        ] {
            assert_eq!(tokens().read(&token, NOW, true).unwrap_err().kind, kind, "{token}");
        }
        assert!(tokens().read(&user(json!({"exp": now + 60, "nbf": now - 60, "iat": now - 60})), NOW, true).is_ok());
    }

    #[test]
    fn development_tokens_are_only_read() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoiYWRhIn0.devtoken";
        assert_eq!(tokens().read(token, NOW, false).unwrap().user_id.as_deref(), Some("ada"));
        assert_eq!(tokens().read(token, NOW, true).unwrap_err().kind, Kind::TokenSignature);
        assert_eq!(tokens().read("nonsense", NOW, false).unwrap_err().kind, Kind::Authentication);
    }

    proptest! {
        #[test]
        fn only_what_was_signed_is_believed(at in any::<prop::sample::Index>(), bit in 0..8_u8, noise in "\\PC{0,60}") {
            let now = Timestamp::from_micros(1_700_000_000_000_000);
            prop_assert!(tokens().read(&noise, now, true).is_err());
            let _ = tokens().read(&noise, now, false);
            let token = tokens().for_user("ada", None, None).unwrap();
            let mut bytes = token.clone().into_bytes();
            bytes[at.index(token.len())] ^= 1 << bit;
            // The last character of base64 has bits that mean nothing: what they are decides nothing either.
            if let Some(claims) = String::from_utf8(bytes).ok().and_then(|changed| tokens().read(&changed, now, true).ok()) {
                prop_assert_eq!(claims.user_id.as_deref(), Some("ada"));
            }
        }
    }
}
