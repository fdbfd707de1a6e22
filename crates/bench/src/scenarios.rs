//! What is measured. A file per scenario; each measures Millrace and its floors in turns and answers with rows.

mod fanout;
mod furnish;
mod idle;
mod nodes;
mod sends;
mod start;

use std::time::Duration;

use anyhow::Result;

use crate::machine::Machine;
use crate::options::{Options, Scenario, Sizes};
use crate::postgres::Postgres;
use crate::process::Measured;
use crate::report::Report;
use crate::server;

/// What every scenario is given.
struct Bench<'a> {
    postgres: &'a Postgres,
    sizes: Sizes,
}

/// The database that Millrace has in every scenario.
const DATABASE: &str = "bench_millrace";

pub async fn run(options: &Options, postgres: &Postgres) -> Result<Report> {
    let bench = Bench { postgres, sizes: options.sizes() };
    let machine = Machine::look(&postgres.version, &server::millrace_version().await?)?;
    let mut rows = Vec::new();
    if options.wants(Scenario::Sends) {
        rows.extend(sends::run(&bench, &sends::ALL).await?);
    } else if options.wants(Scenario::Hot) {
        rows.extend(sends::run(&bench, &sends::HOT).await?);
    }
    if options.wants(Scenario::Fanout) {
        rows.extend(fanout::run(&bench).await?);
    }
    if options.wants(Scenario::Nodes) {
        rows.extend(nodes::run(&bench).await?);
    }
    if options.wants(Scenario::Idle) {
        rows.extend(idle::run(&bench).await?);
    }
    if options.wants(Scenario::Start) {
        rows.extend(start::run(&bench).await?);
    }
    Ok(Report { machine, sizes: bench.sizes, rows })
}

/// The one in the middle.
fn median<T>(trials: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = trials.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const SETTLE_EVERY: Duration = Duration::from_millis(500);
const SETTLE_LOOKS_MAX: usize = 40;
/// Looks in a row that see no change worth speaking of.
const SETTLE_LOOKS_SAME: usize = 3;

/// Memory of a process once it stays what it is.
async fn settled_memory(process: &Measured) -> Result<f64> {
    let mut last = process.memory()?;
    let mut same = 0;
    for _ in 0..SETTLE_LOOKS_MAX {
        tokio::time::sleep(SETTLE_EVERY).await;
        let now = process.memory()?;
        same = if now.abs_diff(last) * 500 < last { same + 1 } else { 0 };
        last = now;
        if same == SETTLE_LOOKS_SAME {
            break;
        }
    }
    Ok(last as f64)
}
