//! From the start of the process to the first `GET /readyz` that is answered with 200, on a database that is migrated; and
//! the memory of a server that has nothing to do.

use anyhow::Result;

use super::{Bench, DATABASE, median, settled_memory};
use crate::report::{Bound, Row};
use crate::server::{Kind, Server};

const SCENARIO: &str = "start";
const READY_MS: Bound = Bound::AtMost(150.0);
const IDLE_MB: Bound = Bound::AtMost(50.0);
const KINDS: [Kind; 2] = [Kind::Millrace, Kind::TunedAxum];

struct Trial {
    ready_ms: f64,
    idle_mb: f64,
}

pub async fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let database = bench.postgres.create(DATABASE).await?;
    let migrating = Server::start(Kind::Millrace, &database, None).await?;
    migrating.process.end().await?;

    let mut trials = KINDS.map(|_| Vec::new());
    for round in 1..=bench.sizes.starts {
        eprintln!("start, round {round}");
        for (kind, trials) in KINDS.into_iter().zip(&mut trials) {
            let server = Server::start(kind, &database, None).await?;
            let idle_mb = settled_memory(&server.process).await? / 1e6;
            trials.push(Trial { ready_ms: server.started_in.as_secs_f64() * 1e3, idle_mb });
            server.process.end().await?;
        }
    }
    let [millrace, axum] = trials;
    let row = |what, unit, of: fn(&Trial) -> f64| {
        Row::new(SCENARIO, what, unit, median(&millrace, of)).floor(median(&axum, of))
    };
    Ok(vec![
        row("ready", "ms", |trial| trial.ready_ms).goal(READY_MS),
        row("idle memory", "MB", |trial| trial.idle_mb).goal(IDLE_MB),
    ])
}
