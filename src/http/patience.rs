//! A connection whose other end may be slow, and may not stand still.
//!
//! While it takes nothing of what is written, nothing more is read from it either: answers to requests that it has sent ahead
//! do not pile up. If it goes on taking nothing, the connection ends.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that bears so much of standing still. It comes off when the connection is upgraded.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs from a write that found no room to the next one that does.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Somebody asked to read meanwhile.
    held_read: bool,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stalled: None, held_read: false }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            if std::mem::take(&mut self.held_read) {
                context.waker().wake_by_ref();
            }
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the other end takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.stalled.is_some() {
            self.held_read = true;
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_write_that_stands_still_fails() {
        let (_reader, writer) = duplex(10);
        let mut writer = Patient::new(writer, Duration::from_millis(10));
        assert_eq!(writer.write_all(&[0; 11]).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for() {
        let (mut reader, writer) = duplex(10);
        let mut writer = Patient::new(writer, Duration::from_mins(1));
        let read = async {
            let mut all = Vec::new();
            while all.len() < 1_000 {
                all.push(reader.read_u8().await.unwrap());
                tokio::task::yield_now().await;
            }
            // What was not read while the writer waited is read now.
            reader.write_all(b"done").await.unwrap();
        };
        let write = async {
            writer.write_all(&[0; 1_000]).await.unwrap();
            writer.read_exact(&mut [0; 4]).await.unwrap();
        };
        tokio::join!(read, write);
        assert!(writer.stalled.is_none());
    }
}
