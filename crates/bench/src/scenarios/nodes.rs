//! Two nodes with a Redis between them: half of a room's sockets at each hear what is said at the first.
//!
//! Sockets of the rooms surface, whose frames are made for each event and not only passed on. There is no floor: a single
//! process has nobody to tell.

use anyhow::Result;
use client::user_token;
use tokio::task::JoinSet;

use super::furnish::{Furnisher, user};
use super::{Bench, DATABASE, median};
use crate::load::{NUMBER_PLACE, Socket, Template, Watchers, at_a_rate, request};
use crate::redis::Redis;
use crate::report::{Bound, Row, grouped};
use crate::server::{API_KEY, API_SECRET, Kind, Server};

const SOCKETS: usize = 1_000;
const ROOM: &str = "bench";
const MESSAGES_PER_SECOND: u32 = 10;
/// Sockets that are being opened at once.
const OPENING: usize = 32;
const P99_MS: Bound = Bound::AtMost(500.0);

pub async fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let redis = Redis::start().await?;
    let database = bench.postgres.create(DATABASE).await?;
    let together = [("REDIS_URL", redis.url.as_str()), ("MILLRACE_ROOMS__ENABLED", "true")];
    let first = Server::start_with(Kind::Millrace, &database, None, &together).await?;
    let second = Server::start_with(Kind::Millrace, &database, None, &together).await?;
    let furnisher = Furnisher::new(&first);
    furnisher.users(SOCKETS).await?;
    furnisher.channels("messaging", [(ROOM.to_owned(), Vec::new())]).await?;
    furnisher.members(&format!("messaging/{ROOM}"), SOCKETS).await?;
    let watchers = Watchers::start(open_sockets([&first, &second]).await?)?;
    furnisher.watchers_of(&format!("messaging/{ROOM}"), SOCKETS).await?;
    let path = format!("/channels/messaging/{ROOM}/message?api_key={API_KEY}");
    let body = format!(r#"{{"message":{{"text":"{NUMBER_PLACE}"}}}}"#);
    let template = Template::new(request("POST", &path, Some(&user_token(API_SECRET, &user(0))), &body))?;
    let mut trials = Vec::new();
    for round in 1..=bench.sizes.rounds {
        eprintln!("two nodes, round {round}: {SOCKETS} sockets");
        let rate = at_a_rate(first.address, &template, &watchers, MESSAGES_PER_SECOND, 2 * bench.sizes.trial);
        let times = rate.await?;
        trials.push([0.5, 0.99].map(|quantile| times.value_at_quantile(quantile) as f64 / 1e3));
    }
    watchers.finish()?;
    let row = |what: &str, index: usize| {
        let scenario = format!("two nodes, {} sockets of a room", grouped(SOCKETS));
        Row::new(scenario, format!("{MESSAGES_PER_SECOND}/s: {what}"), "ms", median(&trials, |trial| trial[index]))
    };
    Ok(vec![row("p50", 0), row("p99", 1).goal(P99_MS)])
}

/// Half of the sockets at each node.
async fn open_sockets(nodes: [&Server; 2]) -> Result<Vec<Socket>> {
    let addresses = nodes.map(|node| node.address);
    let mut tasks = JoinSet::new();
    for lane in 0..OPENING {
        tasks.spawn(async move {
            let mut sockets = Vec::new();
            for index in (lane..SOCKETS).step_by(OPENING) {
                let path = format!("/ws/{ROOM}/?token={}", user_token(API_SECRET, &user(index)));
                sockets.push(Socket::open(addresses[index % 2], &path, index).await?);
            }
            anyhow::Ok(sockets)
        });
    }
    let mut sockets = Vec::with_capacity(SOCKETS);
    while let Some(opened) = tasks.join_next().await {
        sockets.extend(opened??);
    }
    Ok(sockets)
}
