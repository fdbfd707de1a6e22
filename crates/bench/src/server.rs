//! The servers that are compared, and how they are started: Millrace and the floors, children all of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use millrace::store::Address;
use tokio::process::Command;

use crate::cores::Halves;
use crate::load::{Connection, request};
use crate::postgres::url_of;
use crate::process::Measured;

pub const API_KEY: &str = "bench";
pub const API_SECRET: &str = "the-secret-of-a-benchmark-opens-nothing";

const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a server that starts; what a start is measured to.
const GLANCE: Duration = Duration::from_micros(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Millrace,
    FloorSends,
    TunedAxum,
    BareSockets,
}

/// One that runs. Dropping it ends it.
pub struct Server {
    pub process: Measured,
    pub address: SocketAddr,
    /// From the start of the process until it was ready.
    pub started_in: Duration,
}

impl Server {
    /// Starts a server with what it is told besides, and waits until it is ready.
    pub async fn start_with(
        kind: Kind,
        database: &Address,
        halves: Option<&Halves>,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = kind.command(address, database)?;
        command.envs(environment.iter().copied());
        let started = Instant::now();
        let mut spawn = || Measured::spawn(&mut command);
        let process = match halves {
            Some(halves) => halves.on_the_servers(spawn),
            None => spawn(),
        }?;
        let mut server = Self { process, address, started_in: Duration::ZERO };
        server.wait_until_ready(started).await.with_context(|| format!("starting {kind:?}"))?;
        server.started_in = started.elapsed();
        Ok(server)
    }

    /// Starts a server, on its half of the cores if there are halves, and waits until it is ready.
    pub async fn start(kind: Kind, database: &Address, halves: Option<&Halves>) -> Result<Self> {
        Self::start_with(kind, database, halves, &[]).await
    }

    async fn wait_until_ready(&mut self, started: Instant) -> Result<()> {
        let question = request("GET", "/readyz", None, "");
        while started.elapsed() < PATIENCE {
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.send(&question).await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            ensure!(!self.process.has_ended()?, "it ended at once");
            tokio::time::sleep(GLANCE).await;
        }
        bail!("it is not ready after {PATIENCE:?}")
    }
}

impl Kind {
    fn command(self, address: SocketAddr, database: &Address) -> Result<Command> {
        let listen = address.to_string();
        let mut command;
        match self {
            Self::Millrace => {
                command = Command::new(millrace_program()?);
                // Nothing that happens to lie in the environment or in the working directory configures it.
                command.env_clear().current_dir(target_directory()?);
                command.args(["serve", "--listen", &listen]).env("DATABASE_URL", url_of(database)).envs([
                    ("MILLRACE_API_KEY", API_KEY),
                    ("MILLRACE_API_SECRET", API_SECRET),
                    ("MILLRACE_RATE_LIMITS__ENFORCE", "false"),
                    ("MILLRACE_LOG__FILTER", "warn"),
                ]);
            }
            Self::FloorSends => {
                command = Command::new(std::env::current_exe()?);
                command.args(["floor-sends", &listen, &url_of(database)]);
            }
            Self::TunedAxum => {
                command = Command::new(std::env::current_exe()?);
                command.args(["floor-axum", &listen]);
            }
            Self::BareSockets => {
                command = Command::new(std::env::current_exe()?);
                command.args(["floor-bare", &listen]);
            }
        }
        Ok(command)
    }
}

/// Builds the server that is measured; nothing to do if it is up to date.
pub async fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "millrace", "--bin", "millrace", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .arg("--target-dir")
        .arg(target_directory()?)
        .status()
        .await
        .context("cargo")?;
    ensure!(status.success(), "the server does not build");
    Ok(())
}

/// Version of the server that is measured.
pub async fn millrace_version() -> Result<String> {
    let output = Command::new(millrace_program()?).arg("--version").output().await?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// Where the build puts things: this program lies in a directory of it.
pub fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).context("this program lies in no target directory")?.to_owned())
}

fn millrace_program() -> Result<PathBuf> {
    Ok(target_directory()?.join("release/millrace"))
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
