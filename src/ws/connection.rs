//! The life of a socket: one task that reads, writes what had to wait, and says goodbye.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::Interest;

use super::bucket::Bucket;
use super::close;
use super::frame::{Decoder, Incoming};
use super::queue::SocketQueue;
use crate::asker;
use crate::chat::users::connect::disconnected;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::lanes::{Lane, Place};
use crate::limits;
use crate::realtime::frame::{self, Opcode};
use crate::realtime::{CloseReason, Connection, Socket};

/// What a kind of socket does with what its clients say.
pub trait Listener: Send {
    /// A text or binary message. What it gives back closes the socket.
    fn hear(&mut self, message: Incoming) -> impl Future<Output = Option<CloseReason>> + Send;

    /// What the peer is told before the close frame, where that does not say enough.
    fn farewell(&self, _: CloseReason) -> Option<Bytes> {
        None
    }
}

/// Bytes read at once. On the stack: an idle socket holds no buffer.
const READ_BYTES: usize = 4 * 1024;

/// A connection that was taken in, or is about to be. With the end of this value it is let go, whatever ended it.
pub struct Attendance {
    pub ctx: Arc<Ctx>,
    pub connection: Arc<Connection>,
    /// Among the sockets of whoever is behind it.
    pub place: Option<Place>,
}

/// A place among the sockets of whoever asks for one more.
///
/// # Errors
/// There are too many (9).
pub fn place_for_socket(ctx: &Ctx) -> Result<Option<Place>> {
    let Some(asker) = asker::current() else { return Ok(None) };
    let crowded = |_| Error::new(Kind::RateLimited, "too many of your sockets are open: close some of them");
    ctx.lanes.join(Lane::Sockets(asker)).map(Some).map_err(crowded)
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let (ctx, connection) = (self.ctx.clone(), self.connection.clone());
        self.ctx.tasks.see_through(async move { disconnected(&ctx, &connection).await });
    }
}

/// Shares a queue with the workers that write into it.
pub struct SharedSocket(pub Arc<SocketQueue>);

impl Socket for SharedSocket {
    fn send(&self, frames: &[Bytes]) {
        self.0.send(frames);
    }

    fn close(&self, reason: CloseReason) {
        self.0.close(reason);
    }

    fn silent_for(&self) -> Duration {
        self.0.silent_for()
    }
}

/// Runs a socket until it is closed by either side, and says by whom.
pub async fn run(queue: &SocketQueue, mut decoder: Decoder, mut listener: impl Listener) -> CloseReason {
    let mut bucket = Bucket::new(limits::SOCKET_BYTES_BURST, limits::SOCKET_BYTES_PER_SECOND, Instant::now());
    let reason = loop {
        if let Some(reason) = queue.closing() {
            break reason;
        }
        let interest = if queue.is_waiting() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = tokio::select! {
            ready = queue.stream.ready(interest) => ready,
            () = queue.changed.notified() => continue,
        };
        let Ok(ready) = ready else { break CloseReason::Lost };
        if ready.is_writable() {
            queue.flush();
        }
        if ready.is_readable() {
            match read(queue, &mut decoder, &mut bucket) {
                Ok(Some(messages)) => {
                    queue.hear();
                    // Nothing here waits while there is more to read: others have their turn in between.
                    tokio::task::yield_now().await;
                    if let Some(reason) = listen(queue, messages, &mut listener).await {
                        break reason;
                    }
                }
                Ok(None) => {}
                Err(reason) => break reason,
            }
        }
    };
    queue.close(reason);
    if let Some(frame) = listener.farewell(reason) {
        queue.say(&frame);
    }
    Box::pin(say_goodbye(queue, reason)).await;
    metrics::counter!("millrace_connections_closed_total", "reason" => close::label_of(reason)).increment(1);
    reason
}

/// Reads once. Nothing: there was nothing after all.
fn read(
    queue: &SocketQueue,
    decoder: &mut Decoder,
    bucket: &mut Bucket,
) -> std::result::Result<Option<Vec<Incoming>>, CloseReason> {
    let mut bytes = [0; READ_BYTES];
    match queue.stream.try_read(&mut bytes) {
        Ok(0) => Err(CloseReason::Lost),
        Ok(count) if !bucket.takes(count as f64, Instant::now()) => Err(CloseReason::RateLimited),
        Ok(count) => decoder.feed(&bytes[..count]).map(Some).map_err(|_| CloseReason::Protocol),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(CloseReason::Lost),
    }
}

/// Of the pings that came together the last one is answered (RFC 6455, section 5.5.3): an answer costs more than a ping.
async fn listen(queue: &SocketQueue, messages: Vec<Incoming>, listener: &mut impl Listener) -> Option<CloseReason> {
    if let Some(Incoming::Ping(payload)) = messages.iter().rfind(|message| matches!(message, Incoming::Ping(_))) {
        queue.send(&[frame::encode(Opcode::Pong, payload)]);
    }
    for message in messages {
        match message {
            Incoming::Ping(_) | Incoming::Pong => {}
            Incoming::Close => return Some(CloseReason::Goodbye),
            message => {
                if let Some(reason) = listener.hear(message).await {
                    return Some(reason);
                }
            }
        }
    }
    None
}

/// How long a closed socket waits for the peer to close too. Dropping it with unread bytes would reset the connection, and
/// the peer might never read why.
const LINGER: Duration = Duration::from_millis(500);

/// A close frame if the peer is to read one, then the end of the stream.
pub async fn say_goodbye(queue: &SocketQueue, reason: CloseReason) {
    queue.close(reason);
    let Some((code, text)) = close::frame_of(reason) else { return };
    queue.say(&frame::close(code, text));
    let _ = socket2::SockRef::from(&queue.stream).shutdown(std::net::Shutdown::Write);
    let until_closed = async {
        while queue.stream.readable().await.is_ok() && is_open(queue) {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(LINGER, until_closed).await;
}

/// Reads what nobody wants to hear any more. No: the peer has closed too.
fn is_open(queue: &SocketQueue) -> bool {
    let mut ignored = [0; READ_BYTES];
    match queue.stream.try_read(&mut ignored) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
