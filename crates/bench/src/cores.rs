//! Half of the cores for the server, the other half for the load.
//!
//! In the fan-out both sides would otherwise push each other around, and a server would be measured by how much of its
//! machine the load leaves to it. Sends are not kept apart: there Postgres is a third party, and the whole machine is what is
//! asked about.

use anyhow::Result;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub struct Halves {
    pub server: CpuSet,
    load: CpuSet,
    all: CpuSet,
}

impl Halves {
    /// Takes the half of the load for this process. On one core there is nothing to share out.
    pub fn take() -> Result<Option<Self>> {
        let all = sched_getaffinity(None)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        if cores.len() < 2 {
            return Ok(None);
        }
        let (server, load) = cores.split_at(cores.len() / 2);
        let halves = Self { server: set(server), load: set(load), all };
        move_all_threads(&halves.load)?;
        Ok(Some(halves))
    }

    /// Runs something that starts a process, which then has the server's half.
    pub fn on_the_servers<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        sched_setaffinity(None, &self.server)?;
        let started = start();
        sched_setaffinity(None, &self.load)?;
        started
    }

    /// Gives this process all cores again.
    pub fn give_back(self) -> Result<()> {
        move_all_threads(&self.all)
    }
}

/// Cores for the load's own threads.
pub fn threads_of_load() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    set
}

fn move_all_threads(cores: &CpuSet) -> Result<()> {
    for task in procfs::process::Process::myself()?.tasks()? {
        sched_setaffinity(Pid::from_raw(task?.tid), cores)?;
    }
    Ok(())
}
