//! What is measured. A file per scenario; each measures Millrace and its floors in turns and answers with rows.

mod fanout;
mod furnish;
mod idle;
mod nodes;
mod sends;
mod start;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

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

/// Measures what is wanted. A scenario that fails takes only its own rows along, and is named in the second part.
pub async fn run(options: &Options, postgres: &Postgres) -> Result<(Report, Vec<anyhow::Error>)> {
    let bench = Bench { postgres, sizes: options.sizes() };
    let machine = Machine::look(&postgres.version, &server::millrace_version().await?)?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for scenario in Scenario::value_variants().iter().filter(|scenario| options.wants(**scenario)) {
        let measured = match scenario {
            Scenario::Sends => sends::run(&bench, &sends::ALL).await,
            // All sends have it in them.
            Scenario::Hot if options.wants(Scenario::Sends) => continue,
            Scenario::Hot => sends::run(&bench, &sends::HOT).await,
            Scenario::Fanout => fanout::run(&bench).await,
            Scenario::Nodes => nodes::run(&bench).await,
            Scenario::Idle => idle::run(&bench).await,
            Scenario::Start => start::run(&bench).await,
        };
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(error) => failures.push(error.context(format!("{scenario:?} was not measured"))),
        }
    }
    Ok((Report { machine, sizes: bench.sizes, rows }, failures))
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
