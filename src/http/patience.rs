//! A connection whose other end may be slow, and may not stand still.
//!
//! While it takes nothing of what is written, nothing more is read from it either: answers to requests that it has sent ahead
//! do not pile up. If it goes on taking nothing, or next to nothing, the connection ends.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits;

/// A stream that bears so much of standing still. It comes off when the connection is upgraded.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// What is left of it: standing still takes it, and what is taken gives it back, as far as it was there.
    left: Duration,
    /// Since a write found no room, and until what is left is over; up to the next one that does.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Somebody asked to read meanwhile.
    held_read: bool,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, left: patience, stalled: None, held_read: false }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(taken) = &written {
            if let Some((since, _)) = self.stalled.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            let seconds = *taken.as_ref().unwrap_or(&0) as f64 / f64::from(limits::WRITE_BYTES_PER_SECOND_MIN);
            self.left = (self.left + Duration::from_secs_f64(seconds)).min(self.patience);
            if std::mem::take(&mut self.held_read) {
                context.waker().wake_by_ref();
            }
            return written;
        }
        let (_, over) = self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(self.left))));
        ready!(over.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the other end takes nothing, or too little")))
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
    async fn a_reader_who_drips_is_not_waited_for() {
        let (mut reader, writer) = duplex(10);
        let mut writer = Patient::new(writer, Duration::from_millis(50));
        let drips = async {
            let mut every = tokio::time::interval(Duration::from_millis(5));
            while reader.read_u8().await.is_ok() {
                every.tick().await;
            }
        };
        let written = async {
            let written = writer.write_all(&[0; 10_000]).await;
            drop(writer);
            written
        };
        let ((), written) = tokio::join!(drips, written);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
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
