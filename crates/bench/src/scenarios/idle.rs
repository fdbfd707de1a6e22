//! What a WebSocket costs while nothing happens: memory of the server before and after thousands have come, divided.
//!
//! Every trial has a new process: memory that was used once is not given back at once, and would make the next trial look
//! cheap.

use anyhow::Result;

use super::fanout::open_sockets;
use super::furnish::Furnisher;
use super::{Bench, DATABASE, median, settled_memory};
use crate::load::Watchers;
use crate::report::{Bound, Row, grouped};
use crate::server::{Kind, Server};

const KB: Bound = Bound::AtMost(10.0);
const KINDS: [Kind; 3] = [Kind::Millrace, Kind::TunedAxum, Kind::BareSockets];

pub async fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let count = bench.sizes.idle_sockets;
    let database = bench.postgres.create(DATABASE).await?;
    let server = Server::start(Kind::Millrace, &database, None).await?;
    Furnisher::new(&server).users(count).await?;
    server.process.end().await?;

    let mut trials = KINDS.map(|_| Vec::new());
    for round in 1..=bench.sizes.rounds {
        for (kind, trials) in KINDS.into_iter().zip(&mut trials) {
            eprintln!("idle, round {round}: {count} sockets, {kind:?}");
            let server = Server::start(kind, &database, None).await?;
            let before = settled_memory(&server.process).await?;
            // Watched, so that heartbeats are answered and a socket that is lost is noticed.
            let watchers = Watchers::start(open_sockets(kind, server.address, count, false).await?)?;
            let after = settled_memory(&server.process).await?;
            watchers.finish()?;
            server.process.end().await?;
            trials.push((after - before) / count as f64 / 1e3);
        }
    }
    let [millrace, axum, bare] = trials.map(|kb| median(&kb, |kb| *kb));
    let what = format!("{} sockets: memory of each", grouped(count));
    Ok(vec![Row::new("idle", what, "KB", millrace).floor(axum).bare(bare).goal(KB)])
}
