//! The benchmark: what Millrace does, beside what the machine could do at all.
//!
//! It starts everything that it needs, measures each scenario and its floor in turns in the same run, prints one table and
//! ends what it started. The floors are programs without login, permissions or state; they run as children of this same
//! binary. Read next: scenarios.rs.

mod cores;
mod floors;
mod load;
mod machine;
mod options;
mod postgres;
mod process;
mod redis;
mod report;
mod scenarios;
mod server;

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::Options;
use crate::postgres::Postgres;

/// The same as the server's, so that floors differ from it in what they do only.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Millrace beside its floors.
#[derive(Parser)]
#[command(name = "bench", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    floor: Option<Floor>,
    #[command(flatten)]
    options: Options,
}

/// What the benchmark starts as its children.
#[derive(Subcommand)]
enum Floor {
    #[command(name = "floor-sends", hide = true)]
    Sends { listen: SocketAddr, database: String },
    #[command(name = "floor-axum", hide = true)]
    Axum { listen: SocketAddr },
    #[command(name = "floor-bare", hide = true)]
    Bare { listen: SocketAddr },
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.floor {
        None => measure(&cli.options).await,
        Some(Floor::Sends { listen, database }) => floors::sends::serve(listen, &database).await,
        Some(Floor::Axum { listen }) => floors::fanout_axum::serve(listen).await,
        Some(Floor::Bare { listen }) => floors::fanout_bare::serve(listen).await,
    }
}

async fn measure(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("the floors of a debug build say nothing: use `cargo run --release -p bench`");
    }
    machine::raise_open_files()?;
    server::build().await?;
    // From here on signals wait until everything can be ended.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let postgres = Postgres::start().await?;
    // Dropping the scenarios ends the servers; Postgres is asked.
    let outcome = tokio::select! {
        outcome = scenarios::run(options, &postgres) => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let stopped = postgres.stop().await;
    let (report, failures) = outcome?;
    println!("{report}");
    for failure in &failures {
        eprintln!("{failure:#}");
    }
    ensure!(failures.is_empty(), "{} scenarios failed", failures.len());
    stopped
}
