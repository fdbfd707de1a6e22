//! Thousands of WebSockets in a few threads: one buffer per thread, one read per wake-up, headers and numbers only.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::board::{Board, WINDOW};
use super::frame::{self, FRAME_HEADER_BYTES};
use super::request::NumberFinder;
use crate::cores;

const READ_BYTES: usize = 256 * 1024;
/// Sockets of rooms hear a message twice, the second time in the words of early clients. That one begins like this.
const SAID_AGAIN: &[u8] = b"{\"data\":";
const STOP: Token = Token(usize::MAX);
/// Local addresses that sockets are spread over, so that ports do not get scarce: 127.0.0.1 and so on.
const SOURCES: usize = 8;

/// A WebSocket that was just opened.
pub struct Socket {
    stream: TcpStream,
    /// What came after the answer to the handshake.
    bytes: Vec<u8>,
}

impl Socket {
    /// Opens one. `index` tells it from its siblings.
    pub async fn open(address: SocketAddr, path: &str, index: usize) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        let source = Ipv4Addr::new(127, 0, 0, 1 + (index % SOURCES) as u8);
        socket.bind((source, 0).into())?;
        let mut stream = socket.connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::with_capacity(2 * 1024);
        loop {
            if let Some(end) = memmem::find(&bytes, b"\r\n\r\n") {
                if !bytes.starts_with(b"HTTP/1.1 101") {
                    bail!("no upgrade: {}", String::from_utf8_lossy(&bytes));
                }
                bytes.drain(..end + 4);
                return Ok(Self { stream, bytes });
            }
            read_more(&mut stream, &mut bytes).await?;
        }
    }

    /// The first frame as text.
    pub async fn greeting(&mut self) -> Result<String> {
        loop {
            if let Some((frame, rest)) = frame::split(&self.bytes) {
                let text = String::from_utf8(frame.payload.to_vec())?;
                self.bytes = rest.to_vec();
                return Ok(text);
            }
            read_more(&mut self.stream, &mut self.bytes).await?;
        }
    }
}

async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    match stream.read_buf(bytes).await? {
        0 => bail!("the server closed the socket: {}", String::from_utf8_lossy(bytes)),
        _ => Ok(()),
    }
}

/// Sockets that are being read. Dropping this closes them.
pub struct Watchers {
    pub count: usize,
    pub board: Arc<Board>,
    threads: Vec<(Arc<Waker>, JoinHandle<usize>)>,
}

impl Watchers {
    pub fn start(mut sockets: Vec<Socket>) -> Result<Self> {
        let count = sockets.len();
        let part = count.div_ceil(cores::threads_of_load()).max(1);
        let board = Arc::new(Board::new(count.div_ceil(part)));
        let mut threads = Vec::new();
        while !sockets.is_empty() {
            let own = sockets.split_off(sockets.len().saturating_sub(part));
            let reader = Reader::new(own, board.clone())?;
            threads.push((reader.waker.clone(), std::thread::spawn(|| reader.run())));
        }
        Ok(Self { count, board, threads })
    }

    /// Size of the last message's frame.
    pub fn frame_bytes(&self) -> usize {
        self.board.payload_bytes.load(Ordering::Relaxed) + FRAME_HEADER_BYTES
    }

    /// Closes the sockets.
    ///
    /// # Errors
    /// One of them did not get every message, or one twice, or did not last until now.
    pub fn finish(mut self) -> Result<()> {
        let incomplete = self.stop();
        let lost = self.board.lost.load(Ordering::Relaxed);
        ensure!(incomplete == 0, "{incomplete} of {} sockets have not got what was published", self.count);
        ensure!(lost == 0, "{lost} of {} sockets were closed by the server", self.count);
        Ok(())
    }

    /// Ends the threads and says how many sockets have not got what was published. A thread that fell over counts as one.
    fn stop(&mut self) -> usize {
        for (waker, _) in &self.threads {
            let _ = waker.wake();
        }
        self.threads.drain(..).map(|(_, thread)| thread.join().unwrap_or(1)).sum()
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Reader {
    poll: Poll,
    waker: Arc<Waker>,
    sockets: Vec<Watched>,
    tally: Tally,
}

struct Watched {
    stream: mio::net::TcpStream,
    /// Sum of the numbers of its messages.
    heard: u64,
    /// The beginning of a frame whose end is still to come.
    rest: Vec<u8>,
}

/// How many of a reader's sockets have which message.
struct Tally {
    board: Arc<Board>,
    finder: NumberFinder,
    sockets: usize,
    have: [usize; WINDOW],
}

impl Reader {
    fn new(sockets: Vec<Socket>, board: Arc<Board>) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP)?);
        let tally = Tally { board, finder: NumberFinder::new(), sockets: sockets.len(), have: [0; WINDOW] };
        let mut watched = Vec::with_capacity(sockets.len());
        for (index, socket) in sockets.into_iter().enumerate() {
            let mut stream = mio::net::TcpStream::from_std(socket.stream.into_std()?);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            watched.push(Watched { stream, heard: 0, rest: socket.bytes });
        }
        Ok(Self { poll, waker, sockets: watched, tally })
    }

    /// Reads until it is told to stop, and says how many sockets have not got what was published.
    fn run(mut self) -> usize {
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Events::with_capacity(1_024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return self.incomplete(),
                _ => {}
            }
            for event in &events {
                if event.token() == STOP {
                    return self.incomplete();
                }
                let socket = &mut self.sockets[event.token().0];
                if socket.read(&mut buffer, &mut self.tally).is_err() {
                    self.tally.board.lost.fetch_add(1, Ordering::Relaxed);
                    let _ = self.poll.registry().deregister(&mut socket.stream);
                }
            }
        }
    }

    fn incomplete(&self) -> usize {
        let published = self.tally.board.sum_of_numbers();
        self.sockets.iter().filter(|socket| socket.heard != published).count()
    }
}

impl Watched {
    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the end"),
                Ok(count) => {
                    self.take(&buffer[..count], tally)?;
                    // Less than there is room for: that was all.
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("reading"),
            }
        }
    }

    fn take(&mut self, new: &[u8], tally: &mut Tally) -> Result<()> {
        let mut joined = std::mem::take(&mut self.rest);
        let mut bytes = if joined.is_empty() {
            new
        } else {
            joined.extend_from_slice(new);
            &joined
        };
        while let Some((frame, rest)) = frame::split(bytes) {
            match frame.opcode {
                frame::TEXT => self.heard += tally.note(frame.payload),
                frame::PING => drop(self.stream.write(frame::PONG)?),
                frame::CLOSE => bail!("goodbye"),
                _ => {}
            }
            bytes = rest;
        }
        self.rest = bytes.to_vec();
        Ok(())
    }
}

impl Tally {
    /// Gives back the number of the message, or 0 if it has none.
    fn note(&mut self, payload: &[u8]) -> u64 {
        if payload.starts_with(SAID_AGAIN) {
            return 0;
        }
        let Some(number) = self.finder.find(payload) else { return 0 };
        self.board.deliver(number);
        let have = &mut self.have[number as usize % WINDOW];
        *have += 1;
        if *have == self.sockets {
            *have = 0;
            self.board.payload_bytes.store(payload.len(), Ordering::Relaxed);
            self.board.finish(number);
        }
        number
    }
}
