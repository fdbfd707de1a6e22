//! The writing half of a socket: straight into TCP while the reader keeps up, a bounded queue when it does not.
//!
//! A fan-out worker calls [`SocketQueue::send`] and goes on. If nothing waits, the frames go out at once with one vectored
//! system call; what TCP does not take waits here, and the connection's task writes it in runs when it can. A queue that is
//! full closes the socket: a client that misses an event would never know, one that is closed comes back and catches up.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::limits;
use crate::realtime::CloseReason;

pub struct SocketQueue {
    pub stream: TcpStream,
    state: Mutex<State>,
    /// Something changed for the connection's task: frames wait, or the socket is to be closed.
    pub changed: Notify,
    started: Instant,
    /// Seconds after `started` at which the peer was last heard.
    heard: AtomicU64,
}

struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing is written before the first frame is known.
    held: bool,
    /// The first of `frames` has gone out in part.
    mid_frame: bool,
    closing: Option<CloseReason>,
}

impl SocketQueue {
    pub fn new(stream: TcpStream) -> Self {
        let state = State { frames: VecDeque::new(), bytes: 0, held: true, mid_frame: false, closing: None };
        Self {
            stream,
            state: Mutex::new(state),
            changed: Notify::new(),
            started: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the peer is there.
    pub fn hear(&self) {
        self.heard.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    pub fn silent_for(&self) -> Duration {
        let heard = Duration::from_secs(self.heard.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(heard)
    }

    /// Writes the first frame, then what has come since, and from now on everything at once.
    pub fn open(&self, first: Bytes) {
        let mut state = self.state();
        if state.closing.is_some() {
            return;
        }
        state.bytes += first.len();
        state.frames.push_front(first);
        state.held = false;
        self.write_some(&mut state);
    }

    pub fn send(&self, frames: &[Bytes]) {
        let mut state = self.state();
        if state.closing.is_some() {
            return;
        }
        let idle = state.frames.is_empty();
        for frame in frames {
            state.bytes += frame.len();
            state.frames.push_back(frame.clone());
        }
        if idle && !state.held {
            self.write_some(&mut state);
        } else {
            metrics::counter!("millrace_fanout_queued_total").increment(frames.len() as u64);
        }
        if state.bytes > limits::SOCKET_QUEUE_BYTES_MAX || state.frames.len() > limits::SOCKET_QUEUE_FRAMES_MAX {
            close(&mut state, CloseReason::TooSlow);
            self.changed.notify_one();
        }
    }

    pub fn close(&self, reason: CloseReason) {
        close(&mut self.state(), reason);
        self.changed.notify_one();
    }

    /// Why the socket is to be closed, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        self.state().closing
    }

    /// Writes a last frame if there is room for it and it would not land in the middle of another.
    pub fn say(&self, last: &[u8]) {
        if !self.state().mid_frame {
            let _ = self.stream.try_write(last);
        }
    }

    /// Does anything wait for the socket to take more?
    pub fn is_waiting(&self) -> bool {
        let state = self.state();
        !state.held && !state.frames.is_empty()
    }

    /// Writes what waits, as far as the socket takes it.
    pub fn flush(&self) {
        let mut state = self.state();
        if !state.held {
            self.write_some(&mut state);
        }
    }

    fn write_some(&self, state: &mut State) {
        while !state.frames.is_empty() {
            match self.write_run(state) {
                Ok(written) => {
                    let mut written = written;
                    state.bytes -= written;
                    state.mid_frame = false;
                    while let Some(first) = state.frames.front_mut() {
                        if first.len() > written {
                            first.advance(written);
                            state.mid_frame |= written > 0;
                            break;
                        }
                        written -= first.len();
                        state.frames.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.changed.notify_one();
                    return;
                }
                Err(_) => {
                    close(state, CloseReason::Lost);
                    self.changed.notify_one();
                    return;
                }
            }
        }
        // A burst does not hold memory for ever.
        if state.frames.capacity() > limits::FRAMES_PER_WRITE_MAX {
            state.frames = VecDeque::new();
        }
    }

    fn write_run(&self, state: &State) -> io::Result<usize> {
        if let [only] = state.frames.as_slices().0
            && state.frames.len() == 1
        {
            return self.stream.try_write(only);
        }
        let mut slices = [IoSlice::new(&[]); limits::FRAMES_PER_WRITE_MAX];
        let (mut count, mut bytes) = (0, 0);
        for frame in state.frames.iter().take(limits::FRAMES_PER_WRITE_MAX) {
            if bytes > limits::BYTES_PER_WRITE_MAX {
                break;
            }
            slices[count] = IoSlice::new(frame);
            count += 1;
            bytes += frame.len();
        }
        self.stream.try_write_vectored(&slices[..count])
    }
}

fn close(state: &mut State, reason: CloseReason) {
    if state.closing.is_none() {
        state.closing = Some(reason);
    }
    state.frames = VecDeque::new();
    state.bytes = 0;
}
