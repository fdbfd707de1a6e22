//! Postgres and Redis of a test process: those that TEST_POSTGRES_URL and TEST_REDIS_URL name, or private ones that start with
//! the first test and end with the process, however it ends.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use millrace::config::Secret;
use millrace::outside::embedded_postgres::EmbeddedPostgres;
use millrace::store::{Address, Store};
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::OnceCell;

use crate::PATIENCE;

/// Runs a shell command when this process is gone: it waits for the end of a pipe that nobody else holds.
fn when_we_are_gone(command: &str, arguments: &[String]) {
    static GUARDS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let guard = Command::new("sh")
        .args(["-c", &format!("trap '' INT TERM HUP; cat >/dev/null; {command}"), "guard"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh is there");
    GUARDS.lock().expect("nobody panics here").push(guard);
}

/// A Postgres server, with a template from which databases are copied.
pub struct Postgres {
    server: Address,
    template: String,
}

/// The process's Postgres.
pub async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    POSTGRES.get_or_init(Postgres::start).await
}

impl Postgres {
    async fn start() -> Self {
        let server = match std::env::var("TEST_POSTGRES_URL") {
            Ok(url) => Address::parse(&Secret::new(url)).expect("TEST_POSTGRES_URL is a Postgres URL"),
            Err(_) => start_private_postgres().await,
        };
        let template = format!("millrace_template_{}", std::process::id());
        let postgres = Self { server, template };
        postgres.execute(&format!("DROP DATABASE IF EXISTS {}", postgres.template)).await;
        postgres.execute(&format!("CREATE DATABASE {}", postgres.template)).await;
        let store = Store::connect(&postgres.address_of(&postgres.template), 4).await.expect("a store");
        store.migrate().await.expect("the migrations apply");
        store.keep_event_partitions().await.expect("nobody else is there");
        store.close().await;
        postgres
    }

    async fn execute(&self, statement: &str) {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut self.connect("postgres").await)
            .await
            .expect(statement);
    }

    /// How the server under test reaches a database.
    pub fn address_of(&self, database: &str) -> Address {
        self.server.with_database(database)
    }

    /// A connection for tests that look beneath the surface.
    pub async fn connect(&self, database: &str) -> PgConnection {
        self.address_of(database).options().connect().await.expect("Postgres answers")
    }

    /// A new database with all tables and no rows.
    pub async fn create(&self) -> String {
        let name = format!("millrace_{}", uuid::Uuid::new_v4().simple());
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE {}", self.template)).await;
        name
    }

    pub async fn drop(&self, database: &str) {
        self.execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }
}

async fn start_private_postgres() -> Address {
    let directory = tempfile::tempdir().expect("a temporary directory").keep();
    // Nobody needs these rows after a crash of the machine.
    let settings = [("fsync", "off"), ("full_page_writes", "off"), ("max_connections", "600")];
    let postgres = EmbeddedPostgres::start(&directory, &settings).await.expect("Postgres starts");
    let data = postgres.data().to_string_lossy().into_owned();
    let command = r#"kill -INT $(head -n 1 "$1/postmaster.pid"); while [ -e "$1/postmaster.pid" ]; do sleep 0.1; done; rm -rf "$1" "$2""#;
    when_we_are_gone(command, &[data, directory.to_string_lossy().into_owned()]);
    postgres.address()
}

/// URL of the process's Redis.
pub fn redis_url() -> String {
    static REDIS: OnceLock<String> = OnceLock::new();
    REDIS
        .get_or_init(|| {
            std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| {
                let port = free_port();
                start_private_redis(port, &[]);
                format!("redis://127.0.0.1:{port}")
            })
        })
        .clone()
}

/// One command to the process's Redis; what it answers, as it answers it (RESP).
pub fn redis(command: &str) -> String {
    let url = redis_url();
    let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    ask(port.expect("the URL of a local Redis names its port"), command)
}

/// A Redis Cluster of three servers, as the URLs to configure.
pub fn redis_cluster_urls() -> String {
    static CLUSTER: OnceLock<String> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let ports: Vec<u16> = (0..3).map(|_| free_cluster_port()).collect();
            for port in &ports {
                start_private_redis(*port, &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
            }
            form_cluster(&ports);
            ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
        })
        .clone()
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// The same with room for the cluster bus, which takes the port plus 10,000.
fn free_cluster_port() -> u16 {
    loop {
        let port = free_port();
        if port < 55_000 && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn redis_server() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Some(home) = std::env::var_os("HOME") {
        places.push(PathBuf::from(home).join(".cache/millrace/redis/bin"));
    }
    let names = ["redis-server", "valkey-server"];
    let found = places.iter().flat_map(|place| names.map(|name| place.join(name))).find(|program| program.exists());
    found.expect("redis-server or valkey-server is in PATH: `make test` sees to that")
}

fn start_private_redis(port: u16, more: &[&str]) {
    let directory = tempfile::tempdir().expect("a temporary directory").keep();
    let mut arguments = vec![
        redis_server().to_string_lossy().into_owned(),
        directory.to_string_lossy().into_owned(),
        "--port".into(),
        port.to_string(),
    ];
    arguments.extend(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"].map(String::from));
    arguments.push(directory.to_string_lossy().into_owned());
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let mut server = Command::new(&arguments[0])
        .args(&arguments[2..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("Redis starts");
    when_we_are_gone(r#"kill "$1"; rm -rf "$2""#, &[server.id().to_string(), arguments[1].clone()]);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until("Redis answers", || {
        assert!(server.try_wait().expect("a child").is_none(), "Redis ended at once");
        TcpStream::connect(address).is_ok()
    });
}

/// Shares out the slots, and waits until every server knows of them.
fn form_cluster(ports: &[u16]) {
    let share = 16_384 / ports.len();
    for (index, port) in ports.iter().enumerate() {
        let last = if index + 1 == ports.len() { 16_383 } else { (index + 1) * share - 1 };
        ask(*port, &format!("CLUSTER ADDSLOTSRANGE {} {last}", index * share));
        ask(*port, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
    }
    for port in &ports[1..] {
        ask(*port, &format!("CLUSTER MEET 127.0.0.1 {}", ports[0]));
    }
    wait_until("the cluster is whole", || {
        ports.iter().all(|port| {
            let info = ask(*port, "CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{}", ports.len()))
        })
    });
}

/// One command to a Redis server by its URL; what it answers.
///
/// # Panics
/// It does not answer.
pub fn ask_redis(url: &str, command: &str) -> String {
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL with a port");
    ask(port, command)
}

/// One inline command to a Redis server; what it answers within one read.
fn ask(port: u16, command: &str) -> String {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Redis answers");
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
    connection.write_all(format!("{command}\r\n").as_bytes()).expect("Redis listens");
    let mut answer = [0; 4096];
    let count = std::io::Read::read(&mut connection, &mut answer).expect("Redis answers");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

/// Looks again and again: for programs of others, which tell nobody when they are ready.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
