//! A connection of HTTP/1.1 with one request at a time, which reads of an answer what it must.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Status and body of an answer.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4 * 1024) })
    }

    /// Sends a request that creates something.
    ///
    /// # Errors
    /// The answer is anything else than 201.
    pub async fn create(&mut self, request: &[u8]) -> Result<()> {
        let answer = self.send(request).await?;
        ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
        Ok(())
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut head = None;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if head.is_none() {
                head = Head::parse(&self.buffer)?;
            }
            if let Some(Head { status, body, end }) = head
                && self.buffer.len() >= end
            {
                return Ok(Answer { status, body: &self.buffer[body..end] });
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    /// Where the body begins, and where it ends.
    body: usize,
    end: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(blank) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..blank])?;
        let status = head.get(9..12).context("no status")?.parse()?;
        // All servers here write the names of headers in small letters.
        let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.context("no content-length")?.parse()?;
        Ok(Some(Self { status, body: blank + 4, end: blank + 4 + length }))
    }
}
