//! A push service (RFC 8030) and browsers that have subscribed at it.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use testkit::PATIENCE;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use web_push_native::p256::SecretKey;
use web_push_native::p256::elliptic_curve::sec1::ToEncodedPoint;
use wire::push::{PushKeys, PushSubscription, RegisterSubscriptionsRequest};

/// What the service says to a push.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Status(u16),
    RetryAfter(u16, &'static str),
    /// It never answers.
    Silence,
}

#[derive(Clone)]
struct Inside {
    pushed: UnboundedSender<Pushed>,
    /// By browser; 201 when nothing is left.
    answers: Arc<Mutex<HashMap<String, VecDeque<Answer>>>>,
}

/// A push as the service got it.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The last part of the endpoint.
    pub browser: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

pub struct Service {
    pub origin: String,
    pushed: UnboundedReceiver<Pushed>,
    answers: Arc<Mutex<HashMap<String, VecDeque<Answer>>>>,
}

impl Service {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (sender, pushed) = unbounded_channel();
        let answers: Arc<Mutex<HashMap<String, VecDeque<Answer>>>> = Arc::default();
        let inside = Inside { pushed: sender, answers: answers.clone() };
        let router = Router::new().route("/push/{browser}", post(take)).with_state(inside);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { origin, pushed, answers }
    }

    /// A new browser that has subscribed here.
    pub fn browser(&self, name: &str) -> Browser {
        let key = SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap();
        Browser { endpoint: format!("{}/push/{name}", self.origin), key, auth: rand::random() }
    }

    /// What is answered to the next pushes for a browser.
    pub fn will_answer(&self, browser: &str, answers: &[Answer]) {
        self.answers.lock().unwrap().insert(browser.into(), answers.iter().copied().collect());
    }

    /// The next push.
    pub async fn next(&mut self) -> Pushed {
        tokio::time::timeout(PATIENCE, self.pushed.recv()).await.expect("a push").unwrap()
    }

    /// The next push for a browser; pushes for others that come before it are passed over.
    pub async fn next_for(&mut self, browser: &str) -> Pushed {
        let look = async {
            loop {
                let pushed = self.next().await;
                if pushed.browser == browser {
                    return pushed;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("a push for this browser")
    }

    /// What has come and was not asked for.
    pub fn rest(&mut self) -> Vec<Pushed> {
        std::iter::from_fn(|| self.pushed.try_recv().ok()).collect()
    }
}

async fn take(State(inside): State<Inside>, Path(browser): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    // RFC 8030: a push without a TTL is refused. RFC 8292: one with a wrong signature too.
    if !headers.contains_key("ttl") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let answer = inside.answers.lock().unwrap().get_mut(&browser).and_then(VecDeque::pop_front);
    inside.pushed.send(Pushed { browser, headers, body: body.to_vec() }).unwrap();
    let status = |status| StatusCode::from_u16(status).unwrap();
    match answer.unwrap_or(Answer::Status(201)) {
        Answer::Status(code) => status(code).into_response(),
        Answer::RetryAfter(code, after) => (status(code), [("retry-after", after)]).into_response(),
        Answer::Silence => std::future::pending().await,
    }
}

impl Pushed {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap()
    }

    /// The claims and the public key of the signature, which fits that key.
    pub fn signed(&self, audience: &str) -> (Value, String) {
        let (token, key) = self.header("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let point = URL_SAFE_NO_PAD.decode(key).unwrap();
        let part = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        let decoding = DecodingKey::from_ec_components(&part(1..33), &part(33..65)).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        let claims = jsonwebtoken::decode::<Value>(token, &decoding, &validation).expect("a good signature").claims;
        (claims, key.into())
    }
}

/// A browser: what it tells a server, and what it needs to read a push.
pub struct Browser {
    pub endpoint: String,
    key: SecretKey,
    auth: [u8; 16],
}

impl Browser {
    pub fn subscription(&self) -> PushSubscription {
        let public = self.key.public_key().to_encoded_point(false);
        PushSubscription {
            endpoint: self.endpoint.clone(),
            expiration_time: None,
            keys: PushKeys { p256dh: URL_SAFE_NO_PAD.encode(public), auth: URL_SAFE_NO_PAD.encode(self.auth) },
        }
    }

    pub fn registration(&self) -> RegisterSubscriptionsRequest {
        RegisterSubscriptionsRequest {
            subscriptions: vec![self.subscription()],
            client_id: Some("client".into()),
            platform: Some("test".into()),
        }
    }

    /// What a push says.
    pub fn read(&self, pushed: &Pushed) -> Value {
        let plaintext = web_push_native::decrypt(pushed.body.clone(), &self.key, &self.auth.into());
        serde_json::from_slice(&plaintext.expect("it is for this browser")).unwrap()
    }

    pub fn cannot_read(&self, body: Vec<u8>) -> bool {
        web_push_native::decrypt(body, &self.key, &self.auth.into()).is_err()
    }
}
