//! A process that is measured: the time it computes, the memory it holds.

use anyhow::{Context, Result};
use procfs::process::{Process, all_processes};
use tokio::process::{Child, Command};

/// A child; it is killed when this is dropped.
pub struct Measured {
    child: Child,
    entry: Process,
}

impl Measured {
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.kill_on_drop(true).stdin(std::process::Stdio::null()).spawn()?;
        let pid = child.id().context("the child has ended already")?;
        Ok(Self { child, entry: Process::new(pid as i32)? })
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Microseconds it has computed for, in steps of 10 ms.
    pub fn cpu_us(&self) -> Result<f64> {
        let stat = self.entry.stat()?;
        Ok(micros(stat.utime + stat.stime))
    }

    /// Memory that it occupies (RSS), in bytes.
    pub fn memory(&self) -> Result<u64> {
        let map = self.entry.smaps_rollup()?.memory_map_rollup.0.into_iter().next().context("no memory map")?;
        map.extension.map.get("Rss").copied().context("the kernel does not tell RSS")
    }

    /// Ends it at once: nothing that it holds is needed any more.
    pub async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Microseconds that a process and its children have computed for, whether or not these still run.
pub fn cpu_us_of_family(parent: i32) -> Result<f64> {
    let stat = Process::new(parent)?.stat()?;
    let mut sum = stat.utime + stat.stime + (stat.cutime + stat.cstime) as u64;
    for stat in all_processes()?.filter_map(|process| process.ok()?.stat().ok()) {
        if stat.ppid == parent {
            sum += stat.utime + stat.stime;
        }
    }
    Ok(micros(sum))
}

fn micros(ticks: u64) -> f64 {
    ticks as f64 * 1e6 / procfs::ticks_per_second() as f64
}
