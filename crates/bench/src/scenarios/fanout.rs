//! One publisher, thousands of watchers of one channel.
//!
//! A stored message is what chat is made of: `message.new` waits for its commit, and the floors, which store nothing, do not.
//! Beside it an event that nobody stores (a custom one, `POST /channels/{type}/{id}/event`), which shows delivery alone. All
//! send frames of the same size, that of a short stored message, which is therefore measured first.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::user_token;
use millrace::store::Address;
use serde_json::Value;
use tokio::task::JoinSet;

use super::furnish::{Furnisher, user};
use super::{Bench, DATABASE, median};
use crate::cores::Halves;
use crate::floors::PUBLISH_PATH;
use crate::load::{
    Connection, FRAME_HEADER_BYTES, NUMBER_PLACE, Socket, Template, Watchers, at_a_rate, in_flight, request,
};
use crate::report::{Bound, Row, grouped};
use crate::server::{API_KEY, API_SECRET, Kind, Server};

/// A type in which everybody may read and send without being a member.
const CHANNEL: &str = "livestream/bench";
const IN_FLIGHT: [usize; 2] = [1, 16];
const MESSAGES_PER_SECOND: u32 = 10;
/// Sockets that are being opened at once.
const OPENING: usize = 32;

const RATE_OF_FLOOR: Bound = Bound::AtLeast(0.8);
const P99_OF_FLOOR: Bound = Bound::AtMost(1.3);

/// What is published, and where.
#[derive(Clone, Copy, Debug)]
enum Lane {
    Message,
    Event,
    TunedAxum,
    BareSockets,
}

const LANES: [Lane; 4] = [Lane::Message, Lane::Event, Lane::TunedAxum, Lane::BareSockets];

struct Trial {
    /// Deliveries per second, for each of [`IN_FLIGHT`].
    per_second: [f64; 2],
    /// CPU of the server for one delivery, in microseconds.
    cpu_us: [f64; 2],
    /// Delivery times at a fixed rate.
    p50_ms: f64,
    p99_ms: f64,
    frame_bytes: usize,
}

pub async fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let database = bench.postgres.create(DATABASE).await?;
    let server = Server::start(Kind::Millrace, &database, None).await?;
    let furnisher = Furnisher::new(&server);
    furnisher.users(bench.sizes.watchers.iter().copied().max().unwrap_or_default()).await?;
    let (kind, id) = CHANNEL.split_once('/').context("a channel has a type")?;
    furnisher.channels(kind, [(id.to_owned(), Vec::new())]).await?;
    server.process.end().await?;

    let halves = Halves::take()?;
    let mut rows = Vec::new();
    for watchers in bench.sizes.watchers {
        let mut trials = LANES.map(|_| Vec::new());
        let mut frame_bytes = None;
        for round in 1..=bench.sizes.rounds {
            for (lane, trials) in LANES.iter().zip(&mut trials) {
                eprintln!("fan-out, round {round}: {watchers} watchers, {lane:?}");
                let trial = trial(bench, *lane, &database, halves.as_ref(), *watchers, frame_bytes).await?;
                frame_bytes = frame_bytes.or(Some(trial.frame_bytes));
                trials.push(trial);
            }
        }
        rows.extend(rows_of(*watchers, &trials));
    }
    halves.map_or(Ok(()), Halves::give_back)?;
    Ok(rows)
}

async fn trial(
    bench: &Bench<'_>,
    lane: Lane,
    database: &Address,
    halves: Option<&Halves>,
    count: usize,
    frame_bytes: Option<usize>,
) -> Result<Trial> {
    let server = Server::start(lane.kind(), database, halves).await?;
    let address = server.address;
    let watchers = Watchers::start(open_sockets(lane.kind(), address, count, true).await?)?;
    let template = lane.template(address, &watchers, frame_bytes.unwrap_or_default()).await?;
    in_flight(address, &template, &watchers, 1, bench.sizes.warm_up).await?;
    let (mut per_second, mut cpu_us) = ([0.0; 2], [0.0; 2]);
    for (index, messages) in IN_FLIGHT.into_iter().enumerate() {
        let before = server.process.cpu_us()?;
        let delivered = in_flight(address, &template, &watchers, messages, bench.sizes.trial).await?;
        per_second[index] = delivered.per_second;
        cpu_us[index] = (server.process.cpu_us()? - before) / delivered.count as f64;
    }
    // Twice as long: a hundredth of few messages is one message.
    let times = at_a_rate(address, &template, &watchers, MESSAGES_PER_SECOND, 2 * bench.sizes.trial).await?;
    let sent_bytes = watchers.frame_bytes();
    let wanted = frame_bytes.unwrap_or(sent_bytes);
    ensure!(sent_bytes.abs_diff(wanted) * 100 <= wanted, "frames of {sent_bytes} bytes instead of {wanted}");
    watchers.finish()?;
    server.process.end().await?;
    let quantile_ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Trial { per_second, cpu_us, p50_ms: quantile_ms(0.5), p99_ms: quantile_ms(0.99), frame_bytes: sent_bytes })
}

/// Opens the sockets of users 0 up to `count`, which watch the channel if they are to.
pub async fn open_sockets(kind: Kind, address: SocketAddr, count: usize, watch: bool) -> Result<Vec<Socket>> {
    let mut tasks = JoinSet::new();
    for first in 0..OPENING.min(count) {
        tasks.spawn(async move {
            let mut calls = Connection::open(address).await?;
            let mut sockets = Vec::new();
            for index in (first..count).step_by(OPENING) {
                sockets.push(match kind {
                    Kind::Millrace => open_authenticated(address, index, watch.then_some(&mut calls)).await?,
                    _ => Socket::open(address, "/connect", index).await?,
                });
            }
            anyhow::Ok(sockets)
        });
    }
    let mut sockets = Vec::with_capacity(count);
    while let Some(opened) = tasks.join_next().await {
        sockets.extend(opened??);
    }
    Ok(sockets)
}

async fn open_authenticated(address: SocketAddr, index: usize, calls: Option<&mut Connection>) -> Result<Socket> {
    let (user, token) = (user(index), user_token(API_SECRET, &user(index)));
    let json = format!("%7B%22user_id%22:%22{user}%22%7D");
    let path = format!("/connect?json={json}&api_key={API_KEY}&authorization={token}&stream-auth-type=jwt");
    let mut socket = Socket::open(address, &path, index).await?;
    let greeting: Value = serde_json::from_str(&socket.greeting().await?)?;
    let id = greeting["connection_id"].as_str().with_context(|| format!("not let in: {greeting}"))?;
    if let Some(calls) = calls {
        let path = format!("/channels/{CHANNEL}/query?api_key={API_KEY}&connection_id={id}");
        calls.create(&request("POST", &path, Some(&token), r#"{"watch":true,"state":false}"#)).await?;
    }
    Ok(socket)
}

impl Lane {
    fn kind(self) -> Kind {
        match self {
            Self::Message | Self::Event => Kind::Millrace,
            Self::TunedAxum => Kind::TunedAxum,
            Self::BareSockets => Kind::BareSockets,
        }
    }

    /// A request that publishes what arrives as a frame of so many bytes.
    async fn template(self, address: SocketAddr, watchers: &Watchers, frame_bytes: usize) -> Result<Template> {
        match self {
            Self::Message => message_template(),
            Self::Event => {
                // Only the server knows what it puts around.
                in_flight(address, &event_template(0)?, watchers, 1, Duration::ZERO).await?;
                event_template(frame_bytes.saturating_sub(watchers.frame_bytes()))
            }
            Self::TunedAxum | Self::BareSockets => {
                let padding = "x".repeat(frame_bytes.saturating_sub(FRAME_HEADER_BYTES + NUMBER_PLACE.len()));
                Template::new(request("POST", PUBLISH_PATH, None, &format!("{NUMBER_PLACE}{padding}")))
            }
        }
    }
}

/// The publisher is one of the watchers.
fn token() -> String {
    user_token(API_SECRET, &user(0))
}

fn message_template() -> Result<Template> {
    let path = format!("/channels/{CHANNEL}/message?api_key={API_KEY}");
    Template::new(request("POST", &path, Some(&token()), &format!(r#"{{"message":{{"text":"{NUMBER_PLACE}"}}}}"#)))
}

fn event_template(padding: usize) -> Result<Template> {
    let path = format!("/channels/{CHANNEL}/event?api_key={API_KEY}");
    let padding = "x".repeat(padding);
    let body = format!(r#"{{"event":{{"type":"bench","text":"{NUMBER_PLACE}{padding}"}}}}"#);
    Template::new(request("POST", &path, Some(&token()), &body))
}

fn rows_of(watchers: usize, trials: &[Vec<Trial>; 4]) -> Vec<Row> {
    let [message, event, axum, bare] = trials;
    let mut rows = Vec::new();
    for (published, trials) in [("stored message", message), ("event that is not stored", event)] {
        let row = |what: &str, unit, of: &dyn Fn(&Trial) -> f64| {
            let bytes = grouped(median(trials, |trial| trial.frame_bytes as f64) as usize);
            let scenario = format!("fan-out to {}: {published}", grouped(watchers));
            let what = format!("{bytes} bytes, {what}");
            Row::new(scenario, what, unit, median(trials, of)).floor(median(axum, of)).bare(median(bare, of))
        };
        for (index, messages) in IN_FLIGHT.into_iter().enumerate() {
            rows.push(
                row(&format!("{messages} in flight: deliveries"), "/s", &|trial| trial.per_second[index])
                    .goal_of_floor(RATE_OF_FLOOR),
            );
            rows.push(row(&format!("{messages} in flight: CPU"), "µs", &|trial| trial.cpu_us[index]));
        }
        rows.push(row(&format!("{MESSAGES_PER_SECOND}/s: p50"), "ms", &|trial| trial.p50_ms));
        let p99 = row(&format!("{MESSAGES_PER_SECOND}/s: p99"), "ms", &|trial| trial.p99_ms);
        rows.push(p99.goal_of_floor(P99_OF_FLOOR));
    }
    rows
}
