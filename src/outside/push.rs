//! Push services: how a message reaches a browser that is not here (RFC 8030).
//!
//! The body is encrypted for the browser (RFC 8291), so that the service between cannot read it, and the request is signed with
//! the app's key (RFC 8292), so that nobody else can push to the subscription. The private key never leaves this file. An
//! endpoint is a secret too: whoever knows it may push. Neither is ever logged.
//!
//! One call is one attempt; jobs/push.rs decides what follows from its outcome.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use web_push_native::p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use web_push_native::p256::{PublicKey, SecretKey, elliptic_curve::sec1::ToEncodedPoint};
use web_push_native::{Auth, encrypt};
use wire::Timestamp;

use super::guard::Guard;
use crate::clock::Clock;
use crate::config::PushSettings;
use crate::limits;

/// A browser's public key, uncompressed: 65 bytes.
const P256DH_BYTES: usize = 65;
/// The secret that a browser shares with whoever pushes.
const AUTH_BYTES: usize = 16;

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The push service has it.
    Sent,
    /// The subscription has ended.
    Gone,
    /// Nothing to try again: this push will never be taken.
    Refused(Option<u16>),
    /// The service is busy, broken or out of reach. `after`: not before this time, if it says so.
    Later { status: Option<u16>, after: Option<Timestamp> },
}

/// Whom a push is for.
#[derive(Clone, Copy)]
pub struct Receiver<'a> {
    pub endpoint: &'a str,
    pub p256dh: &'a [u8],
    pub auth: &'a [u8],
}

/// Sends pushes, signed with the app's key.
pub struct Pusher {
    /// Nothing where the system has no certificates to trust: then no push can be sent, and everything else works.
    http: Option<Client>,
    guard: Guard,
    clock: Clock,
    contact: Option<String>,
    signing_key: EncodingKey,
    public_key: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
}

impl Pusher {
    /// A new private key, as it is stored (PKCS #8).
    pub fn new_key() -> Vec<u8> {
        // 32 random bytes are no key only if they are 0 or beyond the curve's order: once in 2^32 times.
        let key = std::iter::repeat_with(|| SecretKey::from_slice(&rand::random::<[u8; 32]>())).find_map(Result::ok);
        let der = key.and_then(|key| key.to_pkcs8_der().ok()).expect("a key can be written down");
        der.as_bytes().to_vec()
    }

    /// # Errors
    /// A key that is none; in words for whoever runs the node.
    pub fn new(settings: &PushSettings, private_key: &[u8], clock: Clock) -> Result<Self, String> {
        let key =
            SecretKey::from_pkcs8_der(private_key).map_err(|_| "the stored VAPID key cannot be read".to_owned())?;
        let guard = Guard { allow_loopback: settings.allow_loopback };
        let http = client(guard)
            .inspect_err(|error| tracing::warn!(?error, "pushes cannot be sent: is ca-certificates installed?"))
            .ok();
        Ok(Self {
            http,
            guard,
            clock,
            contact: settings.contact.clone(),
            signing_key: EncodingKey::from_ec_der(private_key),
            public_key: URL_SAFE_NO_PAD.encode(key.public_key().to_encoded_point(false)),
        })
    }

    /// The public key with which browsers subscribe: base64url without padding.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Where pushes may be sent.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Tries to send one push. The plaintext must leave room for the encryption (`limits::PUSH_OVERHEAD_BYTES`).
    pub async fn send(&self, receiver: Receiver<'_>, topic: &str, plaintext: Vec<u8>) -> Outcome {
        let Some(http) = &self.http else {
            return Outcome::Later { status: None, after: None };
        };
        // Checked when it was registered, but the settings may have changed since.
        let Ok(url) = self.guard.check(receiver.endpoint) else {
            return Outcome::Refused(None);
        };
        let (Some((key, auth)), Some(authorization)) =
            (read_keys(receiver.p256dh, receiver.auth), self.authorization(&url))
        else {
            return Outcome::Refused(None);
        };
        let Ok(body) = encrypt(plaintext, &key, &auth) else {
            return Outcome::Refused(None);
        };
        let request = http
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header("ttl", limits::PUSH_TTL_SECONDS)
            // What RFC 8030 (section 5.3) has in mind for chat messages: not while the battery is low.
            .header("urgency", "normal")
            .header("topic", topic)
            .body(body);
        match request.send().await {
            Ok(answer) => outcome(answer.status(), answer.headers(), self.clock.now()),
            Err(_) => Outcome::Later { status: None, after: None },
        }
    }

    /// The header that proves who pushes, for one push service.
    fn authorization(&self, endpoint: &Url) -> Option<String> {
        let claims = Claims {
            aud: &endpoint.origin().ascii_serialization(),
            exp: self.clock.now().seconds() + limits::VAPID_LIFE_SECONDS,
            sub: self.contact.as_deref(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.signing_key).ok()?;
        Some(format!("vapid t={token}, k={}", self.public_key))
    }
}

fn client(guard: Guard) -> reqwest::Result<Client> {
    Client::builder()
        .timeout(limits::PUSH_TIMEOUT)
        .redirect(redirect::Policy::none())
        // A proxy would look names up by itself, out of the guard's sight.
        .no_proxy()
        .dns_resolver(guard.resolver())
        .build()
}

/// Are these the keys of a browser?
pub fn are_keys(p256dh: &[u8], auth: &[u8]) -> bool {
    read_keys(p256dh, auth).is_some()
}

fn read_keys(p256dh: &[u8], auth: &[u8]) -> Option<(PublicKey, Auth)> {
    if p256dh.len() != P256DH_BYTES {
        return None;
    }
    let auth: [u8; AUTH_BYTES] = auth.try_into().ok()?;
    Some((PublicKey::from_sec1_bytes(p256dh).ok()?, auth.into()))
}

fn outcome(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    match status {
        _ if status.is_success() => Outcome::Sent,
        StatusCode::NOT_FOUND | StatusCode::GONE => Outcome::Gone,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => later(status, headers, now),
        _ if status.is_server_error() => later(status, headers, now),
        _ => Outcome::Refused(Some(status.as_u16())),
    }
}

fn later(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Outcome::Later { status: Some(status.as_u16()), after: text.and_then(|text| retry_after(text, now)) }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Timestamp> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Some(now.plus_seconds(i64::from(seconds))),
        Err(_) => OffsetDateTime::parse(text.trim(), &Rfc2822).ok().map(Timestamp::from),
    }
}

#[cfg(test)]
mod tests {
    use web_push_native::decrypt;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// The example of RFC 8291, section 5.
    const PLAINTEXT: &str = "When I grow up, I want to be a watermelon";
    const RECEIVER_PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const RECEIVER_PUBLIC: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const MESSAGE: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

    #[test]
    fn the_example_of_rfc_8291_is_read() {
        let key = SecretKey::from_slice(&bytes(RECEIVER_PRIVATE)).unwrap();
        assert_eq!(key.public_key().to_encoded_point(false).as_bytes(), bytes(RECEIVER_PUBLIC));
        let (_, auth) = read_keys(&bytes(RECEIVER_PUBLIC), &bytes(AUTH)).unwrap();
        assert_eq!(decrypt(bytes(MESSAGE), &key, &auth).unwrap(), PLAINTEXT.as_bytes());
        let mut flipped = bytes(MESSAGE);
        *flipped.last_mut().unwrap() ^= 1;
        assert!(decrypt(flipped, &key, &auth).is_err());
    }

    #[test]
    fn what_is_written_is_as_long_as_the_limits_say_and_can_be_read() {
        let key = SecretKey::from_slice(&bytes(RECEIVER_PRIVATE)).unwrap();
        let (public, auth) = read_keys(&bytes(RECEIVER_PUBLIC), &bytes(AUTH)).unwrap();
        for length in [0, 1, limits::PUSH_BYTES_MAX - limits::PUSH_OVERHEAD_BYTES] {
            let body = encrypt(vec![b'x'; length], &public, &auth).unwrap();
            assert_eq!(body.len(), length + limits::PUSH_OVERHEAD_BYTES);
            assert_eq!(decrypt(body, &key, &auth).unwrap().len(), length);
        }
    }

    #[test]
    fn keys_are_keys() {
        assert!(are_keys(&bytes(RECEIVER_PUBLIC), &bytes(AUTH)));
        let mut off_the_curve = bytes(RECEIVER_PUBLIC);
        *off_the_curve.last_mut().unwrap() ^= 1;
        assert!(!are_keys(&off_the_curve, &bytes(AUTH)));
        assert!(!are_keys(&bytes(RECEIVER_PUBLIC)[..64], &bytes(AUTH)) && !are_keys(&bytes(RECEIVER_PUBLIC), b"short"));
    }

    #[test]
    fn answers_mean_what_the_rfc_says() {
        let now = Timestamp::parse("2026-11-20T10:00:00Z").unwrap();
        let of = |status: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            outcome(StatusCode::from_u16(status).unwrap(), &headers, now)
        };
        assert_eq!((of(201, None), of(202, None)), (Outcome::Sent, Outcome::Sent));
        assert_eq!((of(404, None), of(410, None)), (Outcome::Gone, Outcome::Gone));
        for status in [302, 400, 403, 413] {
            assert_eq!(of(status, None), Outcome::Refused(Some(status)));
        }
        let in_a_minute = Some(now.plus_seconds(60));
        for after in ["60", " 60 ", "Fri, 20 Nov 2026 10:01:00 GMT"] {
            assert_eq!(of(429, Some(after)), Outcome::Later { status: Some(429), after: in_a_minute }, "{after}");
        }
        assert_eq!(of(503, Some("soon")), Outcome::Later { status: Some(503), after: None });
    }

    #[test]
    fn a_new_key_can_be_used() {
        let pusher = Pusher::new(&PushSettings::default(), &Pusher::new_key(), Clock::default()).unwrap();
        assert_eq!(bytes(pusher.public_key()).len(), P256DH_BYTES);
        let url = "https://push.example.org:8443/abc".parse().unwrap();
        assert!(pusher.authorization(&url).unwrap().starts_with("vapid t=ey"));
    }
}
