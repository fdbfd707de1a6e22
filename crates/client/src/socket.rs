//! The WebSocket: events as they come.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Why there is no socket.
#[derive(Debug)]
pub enum Refused {
    /// The server sent this error as its one frame, and then closed with this code.
    Error { error: Value, close_code: Option<u16> },
    /// There was no answer, or none that makes sense.
    Unreachable(String),
}

/// An open WebSocket, greeted.
#[derive(Debug)]
pub struct Socket {
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The first frame: `health.check` with `connection_id` and `me`.
    pub greeting: Value,
    closed: Option<u16>,
}

impl Socket {
    pub(crate) async fn open(url: &str) -> Result<Self, Refused> {
        let (inner, _) =
            tokio_tungstenite::connect_async(url).await.map_err(|error| Refused::Unreachable(error.to_string()))?;
        let mut socket = Self { inner, greeting: Value::Null, closed: None };
        let first = socket.next().await.ok_or_else(|| Refused::Unreachable("closed without a word".into()))?;
        if let Some(error) = first.get("error") {
            // The close frame follows.
            let rest = socket.next().await;
            let close_code = if rest.is_none() { socket.closed } else { None };
            return Err(Refused::Error { error: error.clone(), close_code });
        }
        socket.greeting = first;
        Ok(socket)
    }

    /// Opens a WebSocket of another surface, which does not greet.
    ///
    /// # Errors
    /// The server said no, or nothing.
    pub async fn dial(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, Refused> {
        let unreachable = |error: &dyn std::fmt::Display| Refused::Unreachable(error.to_string());
        let mut request = url.into_client_request().map_err(|error| unreachable(&error))?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().map_err(|error| unreachable(&error))?);
        }
        let (inner, _) = tokio_tungstenite::connect_async(request).await.map_err(|error| unreachable(&error))?;
        Ok(Self { inner, greeting: Value::Null, closed: None })
    }

    /// Name of this connection, for calls that watch.
    pub fn connection_id(&self) -> &str {
        self.greeting["connection_id"].as_str().unwrap_or_default()
    }

    /// The next event; nothing when the socket is closed. Pings are answered by themselves.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match self.inner.next().await?.ok()? {
                Message::Text(text) => {
                    return Some(serde_json::from_str(&text).unwrap_or(Value::String(text.to_string())));
                }
                Message::Close(frame) => self.closed = frame.map(|CloseFrame { code, .. }| code.into()),
                _ => {}
            }
        }
    }

    /// Code of the close frame that came, if one did.
    pub fn close_code(&self) -> Option<u16> {
        self.closed
    }

    /// Says something. Clients of this protocol have nothing to say but that they are there.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn say(&mut self, text: &str) -> Result<(), String> {
        self.inner.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// The same in binary.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn say_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inner.send(Message::binary(bytes.to_vec())).await.map_err(|error| error.to_string())
    }

    /// Leaves properly.
    pub async fn close(mut self) {
        let _ = self.inner.close(None).await;
        while self.next().await.is_some() {}
    }
}
