//! Publishing to watchers, over HTTP like anybody else.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::board::{Board, WINDOW};
use super::http::Connection;
use super::request::Template;
use super::watchers::Watchers;

/// A connection that publishes.
struct Publisher {
    connection: Connection,
    template: Template,
    request: Vec<u8>,
}

impl Publisher {
    async fn open(address: SocketAddr, template: &Template) -> Result<Self> {
        Ok(Self { connection: Connection::open(address).await?, template: template.clone(), request: Vec::new() })
    }

    /// Publishes a message and gives back its number.
    async fn publish(&mut self, board: &Board) -> Result<u64> {
        let number = board.publish();
        self.template.write(number, &mut self.request);
        self.connection.create(&self.request).await?;
        Ok(number)
    }
}

/// What reached its watchers.
pub struct Delivered {
    pub count: usize,
    pub per_second: f64,
}

/// Keeps so many messages on their way, each followed by the next when everybody has it.
pub async fn in_flight(
    address: SocketAddr,
    template: &Template,
    watchers: &Watchers,
    messages: usize,
    time: Duration,
) -> Result<Delivered> {
    let mut publishers = Vec::new();
    for _ in 0..messages {
        publishers.push(Publisher::open(address, template).await?);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for mut publisher in publishers {
        let board = watchers.board.clone();
        tasks.spawn(async move {
            let mut published = 0;
            loop {
                let number = publisher.publish(&board).await?;
                board.wait(number).await?;
                published += 1;
                if started.elapsed() >= time {
                    return anyhow::Ok(published);
                }
            }
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done?? * watchers.count;
    }
    Ok(Delivered { count, per_second: count as f64 / started.elapsed().as_secs_f64() })
}

/// Publishes at a fixed rate, whether or not anybody keeps up. Gives back the times of delivery in microseconds.
pub async fn at_a_rate(
    address: SocketAddr,
    template: &Template,
    watchers: &Watchers,
    per_second: u32,
    time: Duration,
) -> Result<Histogram<u64>> {
    let mut publisher = Publisher::open(address, template).await?;
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    watchers.board.take_times();
    let mut under_way = VecDeque::new();
    for _ in 0..(time.as_secs_f64() * f64::from(per_second)).ceil() as usize {
        ticks.tick().await;
        if under_way.len() == WINDOW {
            watchers.board.wait(under_way.pop_front().unwrap_or_default()).await?;
        }
        under_way.push_back(publisher.publish(&watchers.board).await?);
    }
    for number in under_way {
        watchers.board.wait(number).await?;
    }
    Ok(watchers.board.times())
}
