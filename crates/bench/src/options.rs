//! What is measured, how long and how large.

use std::time::Duration;

use clap::{Args, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Durable sends, of few and many clients into few and many channels.
    Sends,
    /// Of these only many clients, into one channel and into many.
    Hot,
    /// One publisher and thousands of watchers.
    Fanout,
    /// A room's sockets at two nodes.
    Nodes,
    /// Memory of sockets on which nothing happens.
    Idle,
    /// Time and memory of a start.
    Start,
}

#[derive(Args, Debug)]
pub struct Options {
    /// Measure these and nothing else.
    #[arg(long, value_delimiter = ',', default_value = "sends,hot,fanout,nodes,idle,start")]
    only: Vec<Scenario>,
    /// About a minute: short trials, one of each, and no more than 1,000 watchers.
    #[arg(long)]
    quick: bool,
}

/// How long and how large the scenarios are.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub trial: Duration,
    /// Before each trial, not counted.
    pub warm_up: Duration,
    /// Trials of each measurement. An odd number: the one in the middle is shown.
    pub rounds: usize,
    /// Watchers of the one channel.
    pub watchers: &'static [usize],
    pub idle_sockets: usize,
    pub starts: usize,
}

impl Options {
    pub fn wants(&self, scenario: Scenario) -> bool {
        self.only.contains(&scenario)
    }

    pub fn sizes(&self) -> Sizes {
        if self.quick {
            Sizes {
                trial: Duration::from_secs(1),
                warm_up: Duration::from_millis(200),
                rounds: 1,
                watchers: &[1_000],
                idle_sockets: 1_000,
                starts: 3,
            }
        } else {
            Sizes {
                trial: Duration::from_secs(3),
                warm_up: Duration::from_millis(500),
                rounds: 3,
                watchers: &[1_000, 10_000],
                idle_sockets: 10_000,
                starts: 5,
            }
        }
    }
}
