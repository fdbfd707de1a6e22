//! A client of the Stream surface for tests and benchmarks: calls and a WebSocket, JSON in and JSON out.
//!
//! It knows how the protocol travels and nothing of what it says: every key of every answer is left for the caller to look
//! at, so that a test sees what a foreign client would see.

mod socket;
mod token;

use reqwest::Method;
use serde_json::Value;

pub use reqwest::multipart;
pub use socket::{Refused, Socket};
pub use token::{server_token, sign, user_token};

/// Someone who calls: a base URL, an API key and perhaps a token. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    api_key: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// A call that got no answer.
#[derive(Debug)]
pub struct NoAnswer(pub String);

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for NoAnswer {}

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> Self {
        Self(format!("{error:?}"))
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// `Null` where the body is no JSON.
    pub body: Value,
    pub text: String,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Stream's error code; 0 if it is no error.
    pub fn code(&self) -> i64 {
        self.body["code"].as_i64().unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    /// Someone without a token. `base` is a URL without path, such as `http://127.0.0.1:8000`.
    pub fn new(base: &str, api_key: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').into(),
            api_key: api_key.into(),
            token: None,
            http: reqwest::Client::new(),
        }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The same caller at another node.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').into(), ..self.clone() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request with the credentials on it, for what [`Client::call`] does not do.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).query(&[("api_key", &self.api_key)]);
        match &self.token {
            Some(token) => request.header("authorization", token).header("stream-auth-type", "jwt"),
            None => request.header("stream-auth-type", "anonymous"),
        }
    }

    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// The connection was refused or lost.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, NoAnswer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text })
    }

    /// One call.
    ///
    /// # Errors
    /// The connection was refused or lost.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self.request(method, path).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    /// Opens a WebSocket as a user. `user` is what the client knows about it, with its `id`.
    ///
    /// # Errors
    /// The server said no, or nothing.
    pub async fn connect(&self, user: &Value) -> Result<Socket, Refused> {
        let json = serde_json::json!({"user_id": user["id"], "user_details": user}).to_string();
        let auth_type = if self.token.is_some() { "jwt" } else { "anonymous" };
        let mut query = vec![("json", json.as_str()), ("api_key", &self.api_key), ("stream-auth-type", auth_type)];
        if let Some(token) = &self.token {
            query.push(("authorization", token));
        }
        self.connect_with(&query).await
    }

    /// Opens a WebSocket with exactly this query.
    ///
    /// # Errors
    /// The server said no, or nothing.
    pub async fn connect_with(&self, query: &[(&str, &str)]) -> Result<Socket, Refused> {
        let url = self.http.get(format!("{}/connect", self.base)).query(query).build();
        let url = url.map_err(|error| Refused::Unreachable(error.to_string()))?.url().to_string();
        Socket::open(&url.replacen("http", "ws", 1)).await
    }
}
