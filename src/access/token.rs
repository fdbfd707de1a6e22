//! Tokens: JSON Web Tokens signed with the app's secret (HS256 and nothing else).
//!
//! Each kind says what it is for by the claim that names its user, and no reader takes one claim for another: `user_id` (or
//! `sub`, on the rooms surface) calls and connects as that user, `"server": true` (PHP says `"true"`) does everything,
//! `socket_of` opens a socket of the rooms surface and nothing else, `session_of` is a browser's cookie and no credential at
//! all. With `disable_auth_checks`, in development, a token is read but not verified.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::IgnoredAny;
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
    /// The user of a ticket for a socket of the rooms surface.
    #[serde(default, deserialize_with = "text")]
    pub socket_of: Option<String>,
    /// When the socket that a ticket opens is to be closed: the end of what bought the ticket.
    #[serde(default, deserialize_with = "seconds")]
    pub until: Option<i64>,
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
    exp: i64,
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
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || asks_for_more(token) {
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

    /// A ticket for a socket of the rooms surface. It travels in a URL, where others may see it, and is good for nothing else.
    ///
    /// # Errors
    /// None in practice: our own claims always serialise.
    pub fn for_socket(
        &self,
        user_id: &str,
        issued_at: Option<i64>,
        expires_at: i64,
        until: Option<i64>,
    ) -> Result<String> {
        #[derive(Serialize)]
        struct TicketClaims<'a> {
            socket_of: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            iat: Option<i64>,
            exp: i64,
            #[serde(skip_serializing_if = "Option::is_none")]
            until: Option<i64>,
        }
        let claims = TicketClaims { socket_of: user_id, iat: issued_at, exp: expires_at, until };
        jsonwebtoken::encode(&Header::default(), &claims, &self.encoding).map_err(Error::internal)
    }

    /// What a browser keeps of its session: who it is, and by which id.
    ///
    /// # Errors
    /// None in practice: our own claims always serialise.
    pub fn for_session(&self, user_id: &str, session: u64, expires_at: i64) -> Result<String> {
        let claims = SessionClaims { session: session.to_string(), session_of: user_id.into(), exp: expires_at };
        jsonwebtoken::encode(&Header::default(), &claims, &self.encoding).map_err(Error::internal)
    }

    /// The session that [`Tokens::for_session`] wrote for this user.
    pub fn read_session(&self, token: &str, user_id: &str, now: Timestamp) -> Option<u64> {
        let claims = jsonwebtoken::decode::<SessionClaims>(token, &self.decoding, &self.verified).ok()?.claims;
        (claims.session_of == user_id && claims.exp > now.seconds()).then(|| claims.session.parse().ok())?
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

/// Does the issuer ask that something be understood that is not (RFC 7515, 4.1.11)? Nothing of that kind is.
fn asks_for_more(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        #[serde(default, deserialize_with = "present")]
        crit: bool,
    }
    part::<Header>(token, 0).is_some_and(|header| header.crit)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn unverified(token: &str) -> Option<Claims> {
    // Its times are not checked, so it does not end either.
    part(token, 1).map(|claims| Claims { exp: None, ..claims })
}

/// The header (0) or the claims (1) of a token, whoever signed it.
fn part<T: serde::de::DeserializeOwned>(token: &str, index: usize) -> Option<T> {
    let part = token.split('.').nth(index)?;
    let bytes =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
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

    /// A token with exactly this header and these claims, rightly signed.
    fn written(header: &str, claims: &str) -> String {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(header), encode(claims));
        let key = EncodingKey::from_secret(b"secret");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let read = |header: &str, claims: &str| tokens().read(&written(header, claims), NOW, true);
        let ada = r#"{"user_id":"ada"}"#;
        assert_eq!(read(r#"{"alg":"HS256"}"#, ada).unwrap().user_id.as_deref(), Some("ada"));
        // A media type and the name of a key ask for nothing: there is one key, and it is tried.
        assert!(read(r#"{"alg":"HS256","typ":"at+jwt","kid":"../../key"}"#, ada).is_ok());
        for (header, claims) in [
            (r#"{"alg":"HS256","crit":["exp"]}"#, ada),
            (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, ada),
            (r#"{"alg":"HS256","crit":null}"#, ada),
            (r#"{"alg":"HS256","alg":"HS256"}"#, ada),
            (r#"{"alg":"HS256"}"#, r#"{"user_id":"ada","user_id":"grace"}"#),
            (r#"{"alg":"HS256"}"#, r#"{"user_id":"ada","exp":1,"exp":9999999999}"#),
        ] {
            assert_eq!(read(header, claims).unwrap_err().kind, Kind::Authentication, "{header} {claims}");
        }
    }

    #[test]
    fn each_kind_of_token_is_for_one_thing() {
        let now = NOW.seconds();
        let ticket = tokens().read(&tokens().for_socket("ada", None, now + 60, None).unwrap(), NOW, true).unwrap();
        assert_eq!((ticket.socket_of.as_deref(), &ticket.user_id, &ticket.sub), (Some("ada"), &None, &None));
        let cookie = tokens().for_session("ada", 7, now + 60).unwrap();
        assert_eq!(tokens().read_session(&cookie, "ada", NOW), Some(7));
        assert_eq!(tokens().read_session(&cookie, "grace", NOW), None);
        assert_eq!(tokens().read_session(&cookie, "ada", NOW.plus_seconds(60)), None);
        let cookie = tokens().read(&cookie, NOW, true).unwrap();
        assert_eq!((cookie.user_id, cookie.sub, cookie.socket_of, cookie.server), (None, None, None, false));
        let user = tokens().for_user("ada", None, None).unwrap();
        assert_eq!(tokens().read_session(&user, "ada", NOW), None);
        assert_eq!(tokens().read(&user, NOW, true).unwrap().socket_of, None);
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
