//! The private Postgres of a run, with every guarantee switched on: an acknowledged message is on disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use millrace::outside::embedded_postgres::EmbeddedPostgres;
use millrace::store::Address;
use sqlx::{ConnectOptions, Executor};

use crate::process;
use crate::server;

/// The first two are what the benchmark is about. The others keep checkpoints, which would hit one trial and spare
/// another, out of the trials.
const SETTINGS: &[(&str, &str)] =
    &[("fsync", "on"), ("synchronous_commit", "on"), ("max_wal_size", "8GB"), ("checkpoint_timeout", "1h")];

pub struct Postgres {
    server: EmbeddedPostgres,
    pub version: String,
}

impl Postgres {
    /// Starts it in a directory of the build's, which is kept for the next run.
    pub async fn start() -> Result<Self> {
        let directory: PathBuf = server::target_directory()?.join("bench-postgres");
        let server = EmbeddedPostgres::start(&directory, SETTINGS).await.map_err(|error| anyhow!(error))?;
        let mut connection = server.address().with_database("postgres").options().connect().await?;
        let mut show = async |setting: &str| -> Result<String> {
            let query = sqlx::AssertSqlSafe(format!("SHOW {setting}"));
            Ok(sqlx::query_scalar(query).fetch_one(&mut connection).await?)
        };
        // One that an earlier run could not stop may have been started otherwise.
        for setting in ["fsync", "synchronous_commit"] {
            ensure!(show(setting).await? == "on", "{setting} is off in {}", directory.display());
        }
        let version = show("server_version").await?;
        Ok(Self { server, version })
    }

    /// A database of this name without anything in it.
    pub async fn create(&self, name: &str) -> Result<Address> {
        let mut connection = self.server.address().with_database("postgres").options().connect().await?;
        for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
            connection.execute(sqlx::AssertSqlSafe(statement)).await?;
        }
        // Nothing that earlier scenarios wrote is left for the background to do.
        connection.execute("CHECKPOINT").await?;
        Ok(self.server.address().with_database(name))
    }

    /// Microseconds that all its processes have computed for.
    pub fn cpu_us(&self) -> Result<f64> {
        process::cpu_us_of_family(postmaster(self.server.data())?)
    }

    pub async fn stop(&self) -> Result<()> {
        self.server.stop().await.map_err(|error| anyhow!("Postgres did not stop: {error}"))
    }
}

/// The address as a URL, for children.
pub fn url_of(address: &Address) -> String {
    address.options().to_url_lossy().to_string()
}

fn postmaster(data: &Path) -> Result<i32> {
    let text = std::fs::read_to_string(data.join("postmaster.pid"))?;
    text.lines().next().context("postmaster.pid is empty")?.trim().parse().context("postmaster.pid")
}
