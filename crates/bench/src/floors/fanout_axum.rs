//! axum's WebSocket, tuned: reader and writer task per socket with a bounded queue between the publisher and the writer,
//! which feeds all that waits and flushes once; small buffers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const READ_BUFFER_BYTES: usize = 2 * 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
const QUEUE_FRAMES: usize = 64;

#[derive(Clone, Default)]
struct Sockets(Arc<Mutex<Vec<mpsc::Sender<Message>>>>);

pub async fn serve(listen: SocketAddr) -> Result<()> {
    let router = Router::new()
        .route("/connect", get(connect))
        .route(super::PUBLISH_PATH, post(publish))
        .route("/readyz", get(async || "ready\n"))
        .with_state(Sockets::default());
    let listener = TcpListener::bind(listen).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn connect(State(sockets): State<Sockets>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .on_upgrade(async move |socket| attend(sockets, socket).await)
}

async fn attend(sockets: Sockets, socket: WebSocket) {
    let (sender, mut queue) = mpsc::channel(QUEUE_FRAMES);
    sockets.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    let (mut writer, mut reader) = socket.split();
    tokio::spawn(async move { while let Some(Ok(_)) = reader.next().await {} });
    let mut run = Vec::new();
    while queue.recv_many(&mut run, QUEUE_FRAMES).await > 0 {
        for message in run.drain(..) {
            if writer.feed(message).await.is_err() {
                return;
            }
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
}

async fn publish(State(sockets): State<Sockets>, body: String) -> StatusCode {
    let message = Message::text(body);
    for socket in &*sockets.0.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = socket.try_send(message.clone());
    }
    StatusCode::CREATED
}
