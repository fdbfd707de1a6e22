//! Clients that send messages, each the next one when the last is acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::board::new_histogram;
use super::http::Connection;
use super::request::Template;

/// What was acknowledged, with 201.
pub struct Sent {
    /// All messages.
    pub acknowledged: u64,
    /// Of those in the measured time: microseconds from request to answer.
    pub times: Histogram<u64>,
}

/// Numbers of messages, over all trials: no id comes twice. Neighbours lie far apart, as the random ids of clients do.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Steps from channel to channel, with no factor in common with any number of channels here.
const STRIDE: usize = 37;

/// Lets clients send for a while; measures what is sent after `from` and answered before `until`. `requests` are those of
/// the members, channel by channel.
///
/// # Errors
/// An answer is anything else than 201.
pub async fn senders(
    address: SocketAddr,
    requests: &Arc<[Vec<Template>]>,
    clients: usize,
    channels: usize,
    (from, until): (Instant, Instant),
) -> Result<Sent> {
    let times = Arc::new(Mutex::new(new_histogram()));
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (requests, times) = (requests.clone(), times.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut request = Vec::new();
            let mut acknowledged = 0;
            while Instant::now() < until {
                let members = &requests[(client + acknowledged * STRIDE) % channels];
                members[(client + acknowledged / channels) % members.len()].write(next_number(), &mut request);
                let asked = Instant::now();
                connection.create(&request).await?;
                let answered = Instant::now();
                acknowledged += 1;
                if asked >= from && answered < until {
                    let time = (answered - asked).as_micros() as u64;
                    times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(time);
                }
            }
            anyhow::Ok(acknowledged as u64)
        });
    }
    let mut acknowledged = 0;
    while let Some(done) = tasks.join_next().await {
        acknowledged += done??;
    }
    let times = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Sent { acknowledged, times })
}
