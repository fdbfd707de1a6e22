//! The machine and the versions: what a number means nothing without.

use std::fmt;

use anyhow::Result;
use procfs::FromRead;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a fan-out to 10,000 needs: so many sockets on either side, and some for the rest.
const OPEN_FILES: u64 = 12_000;

pub struct Machine {
    cores: usize,
    memory_gib: u64,
    system: String,
    kernel: String,
    postgres: String,
    millrace: String,
}

impl Machine {
    pub fn look(postgres: &str, millrace: &str) -> Result<Self> {
        let memory = procfs::Meminfo::from_file("/proc/meminfo")?.mem_total;
        let releases = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let system = releases.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory.div_ceil(1 << 30),
            system: system.trim_matches('"').into(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
            postgres: postgres.into(),
            millrace: millrace.into(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} cores, {} GiB, {}, Linux {}, Postgres {}, {}",
            self.cores, self.memory_gib, self.system, self.kernel, self.postgres, self.millrace
        )
    }
}

/// Lets this process and its children open as many sockets as the machine allows.
pub fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < OPEN_FILES) {
        eprintln!("This machine allows {:?} open files; 10,000 sockets need {OPEN_FILES}.", limit.maximum);
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}
