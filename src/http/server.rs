//! Accepting connections, and letting them go when the node drains.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Door;
use super::middleware::slash::TrailingSlash;
use super::patience::Patient;
use super::peer::Peer;
use crate::limits;

/// What is beneath a request.
pub type Socket = Patient<TcpStream>;

/// Answers requests until the node drains, then finishes those that are being answered.
pub async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    service: TrailingSlash<Router>,
    draining: CancellationToken,
) {
    let connections = TaskTracker::new();
    let builder = builder();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = door.enter(peer.ip()) else { continue };
                let peer = Peer { address: peer.ip(), place: Arc::new(place) };
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                let stream: Socket = Patient::new(stream, limits::WRITE_PATIENCE);
                let service = FromPeer { service: service.clone(), peer };
                connections.spawn(connection(builder.clone(), stream, service, draining.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: let some go first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits::DRAIN_REQUESTS, connections.wait()).await.is_err() {
        tracing::warn!("requests were cut off: they took longer than the node could wait");
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // From when the connection waits for a request: an idle one has no more time than a slow one.
        .header_read_timeout(limits::HEADER_READ_TIMEOUT)
        // Also what waits to be written. Never with `pipeline_flush`, which waits for no reader.
        .max_buf_size(limits::HEADER_BUFFER_BYTES_MAX);
    builder
}

async fn connection<S>(builder: http1::Builder, stream: S, service: FromPeer, draining: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Hands hyper's requests to axum: with a body of axum's, and with the address of the other end.
#[derive(Clone)]
struct FromPeer {
    service: TrailingSlash<Router>,
    peer: Peer,
}

impl tower::Service<hyper::Request<hyper::body::Incoming>> for FromPeer {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <Router as tower::Service<axum::extract::Request>>::Future;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.service.call(request.map(axum::body::Body::new))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::http::StatusCode;
    use axum::routing::get;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const REQUESTS: usize = 20_000;

    /// How many of many requests are answered for a client that sends them at once and reads nothing.
    async fn answered(request: &str, answer: (StatusCode, Vec<u8>)) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let handler = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(answer.clone())
        };
        let router = Router::new().route("/x/", get(handler.clone()).options(handler));
        let address = [127, 0, 0, 1].into();
        let place = Door::with_places(1, 1, &[]).enter(address).unwrap();
        let peer = Peer { address, place: Arc::new(place) };
        let service = FromPeer { service: TrailingSlash(router), peer };
        let (mut client, stream) = tokio::io::duplex(64 * 1024);
        let stream = Patient::new(stream, Duration::from_millis(50));
        let server = tokio::spawn(connection(builder(), stream, service, CancellationToken::new()));
        let requests = request.repeat(REQUESTS);
        assert!(client.write_all(requests.as_bytes()).await.is_err(), "the connection was ended");
        server.await.unwrap();
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_do_not_pile_up() {
        let get = "GET /x HTTP/1.1\r\nhost: x\r\n\r\n";
        let large = answered(get, (StatusCode::OK, vec![b'x'; 100_000])).await;
        assert!(large < 20, "{large} large ones");
        let options = "OPTIONS /x HTTP/1.1\r\nhost: x\r\n\r\n";
        let empty = answered(options, (StatusCode::NO_CONTENT, Vec::new())).await;
        assert!(empty < REQUESTS / 2, "{empty} empty ones");
    }
}
