//! Durable sends over HTTP: clients that send, as members, into channels of ten.
//!
//! Millrace checks token and permissions, writes message, event and read state; the floor writes message and counter. Both
//! answer after the commit. When all trials are over both servers are killed, and Postgres must have a row for every answer
//! of 201, no more and no fewer.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use client::user_token;
use millrace::store::Address;
use sqlx::ConnectOptions;

use super::furnish::{Furnisher, user};
use super::{Bench, DATABASE, median};
use crate::floors::sends::{channel, prepare};
use crate::load::{NUMBER_PLACE, Template, request, senders};
use crate::report::{Bound, Row, grouped};
use crate::server::{API_KEY, API_SECRET, Kind, Server};

const SCENARIO: &str = "sends: clients × channels";
const CHANNELS: usize = 1_000;
const MEMBERS: usize = 10;
const TEXT_BYTES: usize = 100;

const WIDE_PER_SECOND: Bound = Bound::AtLeast(6_000.0);
const WIDE_OF_FLOOR: Bound = Bound::AtLeast(0.25);
const HOT_OF_WIDE: Bound = Bound::AtLeast(0.7);
const ONE_CLIENT_OF_FLOOR: Bound = Bound::AtMost(2.0);

/// So many clients send into so many channels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Load {
    clients: usize,
    channels: usize,
}

const fn load(clients: usize, channels: usize) -> Load {
    Load { clients, channels }
}

const ONE_HOT_CHANNEL: Load = load(256, 1);
const WIDE: Load = load(256, CHANNELS);

pub const HOT: [Load; 2] = [ONE_HOT_CHANNEL, WIDE];
pub const ALL: [Load; 9] = [
    load(1, 1),
    load(1, 32),
    load(1, CHANNELS),
    load(32, 1),
    load(32, 32),
    load(32, CHANNELS),
    ONE_HOT_CHANNEL,
    load(256, 32),
    WIDE,
];

/// A server, and how many messages it has acknowledged.
struct Subject {
    server: Server,
    acknowledged: u64,
}

struct Trial {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_us: f64,
    postgres_us: f64,
}

/// The same load on Millrace and on the floor.
struct Pair {
    load: Load,
    millrace: Vec<Trial>,
    floor: Vec<Trial>,
}

pub async fn run(bench: &Bench<'_>, loads: &[Load]) -> Result<Vec<Row>> {
    let database = bench.postgres.create(DATABASE).await?;
    let mut millrace = Subject::start(Kind::Millrace, &database).await?;
    let furnisher = Furnisher::new(&millrace.server);
    furnisher.users(CHANNELS).await?;
    let members = |channel: usize| (0..MEMBERS).map(move |member| user((channel + member) % CHANNELS));
    furnisher.channels("messaging", (0..CHANNELS).map(|index| (channel(index), members(index).collect()))).await?;
    let requests: Vec<Vec<Template>> = (0..CHANNELS)
        .map(|index| members(index).map(|member| template(&channel(index), &member)).collect())
        .collect::<Result<_>>()?;
    let requests = Arc::from(requests);

    let floor_database = bench.postgres.create("bench_floor").await?;
    prepare(&mut floor_database.options().connect().await?, CHANNELS).await?;
    let mut floor = Subject::start(Kind::FloorSends, &floor_database).await?;

    let pair = |load: &Load| Pair { load: *load, millrace: Vec::new(), floor: Vec::new() };
    let mut pairs: Vec<Pair> = loads.iter().map(pair).collect();
    for round in 1..=bench.sizes.rounds {
        for Pair { load, millrace: of_millrace, floor: of_floor } in &mut pairs {
            eprintln!("sends, round {round}: {} clients, {} channels", load.clients, load.channels);
            of_millrace.push(millrace.trial(bench, &requests, *load).await?);
            of_floor.push(floor.trial(bench, &requests, *load).await?);
        }
    }
    millrace.end(&database).await?;
    floor.end(&floor_database).await?;
    Ok(rows(&pairs))
}

fn template(channel: &str, member: &str) -> Result<Template> {
    let text = "x".repeat(TEXT_BYTES);
    let body = format!(r#"{{"message":{{"id":"{member}-{NUMBER_PLACE}","text":"{text}"}}}}"#);
    let path = format!("/channels/messaging/{channel}/message?api_key={API_KEY}");
    Template::new(request("POST", &path, Some(&user_token(API_SECRET, member)), &body))
}

impl Subject {
    async fn start(kind: Kind, database: &Address) -> Result<Self> {
        Ok(Self { server: Server::start(kind, database, None).await?, acknowledged: 0 })
    }

    async fn trial(&mut self, bench: &Bench<'_>, requests: &Arc<[Vec<Template>]>, load: Load) -> Result<Trial> {
        let from = Instant::now() + bench.sizes.warm_up;
        let until = from + bench.sizes.trial;
        let process = &self.server.process;
        let sending = senders(self.server.address, requests, load.clients, load.channels, (from, until));
        let computing = async {
            tokio::time::sleep_until(from.into()).await;
            let before = (process.cpu_us()?, bench.postgres.cpu_us()?);
            tokio::time::sleep_until(until.into()).await;
            anyhow::Ok((process.cpu_us()? - before.0, bench.postgres.cpu_us()? - before.1))
        };
        let (sent, (server, postgres)) = tokio::try_join!(sending, computing)?;
        self.acknowledged += sent.acknowledged;
        let messages = sent.times.len() as f64;
        let quantile_ms = |quantile| sent.times.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Trial {
            per_second: messages / bench.sizes.trial.as_secs_f64(),
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
            server_us: server / messages,
            postgres_us: postgres / messages,
        })
    }

    /// Kills the server, and looks whether Postgres has what it acknowledged.
    async fn end(self, database: &Address) -> Result<()> {
        self.server.process.end().await?;
        let mut connection = database.options().connect().await?;
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&mut connection).await?;
        ensure!(stored as u64 == self.acknowledged, "{stored} messages are stored, {} acknowledged", self.acknowledged);
        Ok(())
    }
}

fn rows(pairs: &[Pair]) -> Vec<Row> {
    let per_second = |trial: &Trial| trial.per_second;
    let wide = pairs.iter().find(|pair| pair.load == WIDE).map_or(f64::NAN, |pair| median(&pair.millrace, per_second));
    let mut rows = Vec::new();
    for pair in pairs {
        let load = format!("{} × {}", grouped(pair.load.clients), grouped(pair.load.channels));
        let row = |what: &str, unit, of: fn(&Trial) -> f64| {
            Row::new(SCENARIO, format!("{load}: {what}"), unit, median(&pair.millrace, of))
                .floor(median(&pair.floor, of))
        };
        let rate = row("messages", "/s", per_second);
        rows.push(match pair.load {
            WIDE => rate.goal(WIDE_PER_SECOND).goal_of_floor(WIDE_OF_FLOOR),
            ONE_HOT_CHANNEL => rate.goal_of("256 × 1,000", wide, HOT_OF_WIDE),
            _ => rate,
        });
        let p50 = row("p50", "ms", |trial| trial.p50_ms);
        rows.push(if pair.load.clients == 1 { p50.goal_of_floor(ONE_CLIENT_OF_FLOOR) } else { p50 });
        rows.push(row("p99", "ms", |trial| trial.p99_ms));
        rows.push(row("CPU of the server", "µs", |trial| trial.server_us));
        rows.push(row("CPU of Postgres", "µs", |trial| trial.postgres_us));
    }
    rows
}
