//! Bare sockets: the upgrade by hand, one frame that all share, and a publisher that writes what waits straight into every
//! socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::memmem;
use millrace::realtime::frame;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Frames that one write takes.
const RUN_FRAMES: usize = 64;

enum Order {
    Join(Arc<TcpStream>),
    Publish(Bytes),
}

pub async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let (orders, inbox) = mpsc::channel(1_024);
    tokio::spawn(deliver(inbox));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(attend(stream, orders.clone()));
    }
}

/// The publisher: the only one who writes.
async fn deliver(mut inbox: mpsc::Receiver<Order>) {
    let mut sockets: Vec<Arc<TcpStream>> = Vec::new();
    let mut orders = Vec::new();
    while inbox.recv_many(&mut orders, RUN_FRAMES).await > 0 {
        let mut frames = Vec::new();
        for order in orders.drain(..) {
            match order {
                Order::Join(socket) => sockets.push(socket),
                Order::Publish(frame) => frames.push(frame),
            }
        }
        if frames.is_empty() {
            continue;
        }
        for socket in &sockets {
            let _ = write_all(socket, &frames).await;
        }
        tokio::task::yield_now().await;
    }
}

async fn write_all(socket: &TcpStream, frames: &[Bytes]) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); RUN_FRAMES];
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(frame);
    }
    let mut rest = &mut slices[..frames.len()];
    while !rest.is_empty() {
        match socket.try_write_vectored(rest) {
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Answers requests until one of them asks for an upgrade, then only notices the end.
async fn attend(mut stream: TcpStream, orders: mpsc::Sender<Order>) -> Result<()> {
    loop {
        let Some(request) = Request::read(&mut stream).await? else {
            return Ok(());
        };
        let answer = if let Some(key) = request.header("sec-websocket-key") {
            let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
            let accept = STANDARD.encode(digest);
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
            )
        } else if request.body.is_empty() {
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()
        } else {
            orders.send(Order::Publish(frame::text(&request.body))).await?;
            "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n".into()
        };
        stream.write_all(answer.as_bytes()).await?;
        if answer.starts_with("HTTP/1.1 101") {
            break;
        }
    }
    let stream = Arc::new(stream);
    orders.send(Order::Join(stream.clone())).await?;
    drop(orders);
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0; 512]) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
    }
}

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    /// Nothing if the peer has left.
    async fn read(stream: &mut TcpStream) -> Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(1_024);
        let end = loop {
            if let Some(end) = memmem::find(&bytes, b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let body = bytes.split_off(end + 4);
        let mut request = Self { head: String::from_utf8(bytes)?, body };
        let length = request.header("content-length").map_or(Ok(0), str::parse).context("content-length")?;
        while request.body.len() < length {
            if stream.read_buf(&mut request.body).await? == 0 {
                bail!("the request ends too early");
            }
        }
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
