//! Accepting connections, and letting them go when the node drains.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::middleware::slash::TrailingSlash;
use super::peer::Peer;
use crate::limits;

/// Answers requests until the node drains, then finishes those that are being answered.
pub async fn serve(listener: TcpListener, service: TrailingSlash<Router>, draining: CancellationToken) {
    let connections = TaskTracker::new();
    let builder = builder();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let service = FromPeer { service: service.clone(), peer: Peer(peer.ip()) };
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
        .header_read_timeout(limits::HEADER_READ_TIMEOUT)
        .max_buf_size(limits::HEADER_BUFFER_BYTES_MAX)
        .pipeline_flush(true);
    builder
}

async fn connection(builder: http1::Builder, stream: TcpStream, service: FromPeer, draining: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
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
        request.extensions_mut().insert(self.peer);
        self.service.call(request.map(axum::body::Body::new))
    }
}
