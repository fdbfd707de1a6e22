//! A Redis of the benchmark's own, for two nodes.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const LOOKS_MAX: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One that runs. Dropping it ends it.
pub struct Redis {
    pub url: String,
    _child: Child,
}

impl Redis {
    pub async fn start() -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = ["redis-server", "valkey-server"]
            .into_iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
                command.stdout(std::process::Stdio::null()).stdin(std::process::Stdio::null());
                command.kill_on_drop(true).spawn().ok()
            })
            .context("redis-server or valkey-server is not there: scripts/setup test installs one")?;
        for _ in 0..LOOKS_MAX {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                return Ok(Self { url: format!("redis://127.0.0.1:{port}"), _child: child });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("Redis does not answer")
    }
}
