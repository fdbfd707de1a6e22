//! A node as a process of its own: one that can be killed.

use std::process::Stdio;
use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection};
use tokio::process::{Child, Command};

use crate::app::{API_KEY, API_SECRET};
use crate::services;

/// What several processes share: a database and a Redis that nobody else uses.
pub struct Deployment {
    database: String,
    environment: Vec<(&'static str, String)>,
}

/// A running node. It ends with its value.
pub struct Process {
    child: Child,
    pub base: String,
}

impl Deployment {
    /// A migrated database, and room in Redis.
    pub async fn new() -> Self {
        let postgres = services::postgres().await;
        let database = postgres.create().await;
        let url = postgres.address_of(&database).options().to_url_lossy();
        let environment = vec![
            ("DATABASE_URL", url.to_string()),
            ("REDIS_URL", services::redis_url()),
            ("MILLRACE_REDIS__PREFIX", database.clone()),
            ("MILLRACE_API_KEY", API_KEY.into()),
            ("MILLRACE_API_SECRET", API_SECRET.into()),
        ];
        Self { database, environment }
    }

    /// Starts the program as a node and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start(&self, program: &str) -> Process {
        let port = services::free_port();
        let directory = std::env::temp_dir();
        let child = Command::new(program)
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut process = Process { child, base: format!("http://127.0.0.1:{port}") };
        let ready = async {
            let client = client::Client::new(&process.base, API_KEY);
            while !client
                .call("GET".parse().expect("a method"), "/readyz", &[], None)
                .await
                .is_ok_and(|answer| answer.is_success())
            {
                assert!(process.child.try_wait().expect("a child").is_none(), "the node ended at once");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(crate::PATIENCE, ready).await.expect("the node becomes ready");
        process
    }

    /// A connection to the database beneath.
    pub async fn database(&self) -> PgConnection {
        services::postgres().await.connect(&self.database).await
    }

    /// Drops the database.
    pub async fn end(self) {
        services::postgres().await.drop(&self.database).await;
    }
}

impl Process {
    /// kill -9.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child");
    }

    /// The most memory that the process has had, in bytes.
    ///
    /// # Panics
    /// It has ended, or this is not Linux.
    pub fn memory_peak(&self) -> u64 {
        let pid = self.child.id().expect("a running child");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok()).expect("a number of kilobytes") * 1024
    }

    /// SIGTERM, and the end of the process: did it end well?
    ///
    /// # Panics
    /// It does not end.
    pub async fn terminate(&mut self) -> bool {
        self.ask_to_end().await;
        self.ended().await
    }

    /// SIGTERM alone.
    ///
    /// # Panics
    /// The process has ended.
    pub async fn ask_to_end(&self) {
        let pid = self.child.id().expect("a running child").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
    }

    /// The end of the process: did it end well?
    ///
    /// # Panics
    /// It does not end.
    pub async fn ended(&mut self) -> bool {
        let status = tokio::time::timeout(crate::PATIENCE, self.child.wait()).await.expect("the node ends");
        status.expect("a child").success()
    }
}
