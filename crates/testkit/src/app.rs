//! Millrace under test: nodes in this process, on a database that nobody else has.

use std::path::Path;
use std::sync::Arc;

use client::Client;
use millrace::app::Node;
use millrace::clock::Clock;
use millrace::config::{Config, Overrides};
use millrace::ctx::Ctx;
use serde_json::json;
use sqlx::PgConnection;

use crate::person::Person;
use crate::services::{self, Postgres};

pub const API_KEY: &str = "key";
pub const API_SECRET: &str = "a secret of this test and of nobody else";

/// What nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Memory,
    Redis,
    RedisCluster,
}

/// One node or several.
pub struct App {
    pub clock: Clock,
    nodes: Vec<Node>,
    postgres: &'static Postgres,
    database: String,
    settings: Vec<(String, String)>,
    data_dir: tempfile::TempDir,
    client: Client,
}

/// Runs a test on a node of its own.
pub async fn run(engine: Engine, test: impl AsyncFnOnce(&App)) {
    let app = App::start(engine).await;
    test(&app).await;
    app.stop().await;
}

impl App {
    /// One node with defaults.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, 1, &[]).await
    }

    /// Some nodes, with settings as the environment would give them.
    pub async fn start_with(engine: Engine, nodes: usize, settings: &[(&str, &str)]) -> Self {
        let postgres = services::postgres().await;
        let database = postgres.create().await;
        let mut all = vec![
            ("MILLRACE_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("MILLRACE_API_KEY".into(), API_KEY.into()),
            ("MILLRACE_API_SECRET".into(), API_SECRET.into()),
            // Many nodes share one small Postgres here.
            ("MILLRACE_DATABASE__CONNECTIONS_MAX".into(), "10".into()),
            // Never opened: the node is handed the address of its database.
            ("DATABASE_URL".into(), "postgres://localhost/test".into()),
        ];
        match engine {
            Engine::Memory => {}
            Engine::Redis => all.push(("REDIS_URL".into(), services::redis_url())),
            Engine::RedisCluster => all.push(("REDIS_URL".into(), services::redis_cluster_urls())),
        }
        if engine != Engine::Memory {
            all.push(("MILLRACE_REDIS__PREFIX".into(), database.clone()));
        }
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let mut app = Self {
            clock: Clock::default(),
            nodes: Vec::new(),
            postgres,
            database,
            settings: all,
            data_dir: tempfile::tempdir().expect("a temporary directory"),
            client: Client::new("", API_KEY),
        };
        for _ in 0..nodes {
            app.add_node().await;
        }
        app
    }

    /// Starts one more node; gives back its number.
    pub async fn add_node(&mut self) -> usize {
        self.add_node_with(&[]).await
    }

    /// The same with settings that the other nodes do not have.
    pub async fn add_node_with(&mut self, settings: &[(&str, &str)]) -> usize {
        let overrides = Overrides { data_dir: Some(self.data_dir.path().to_owned()), ..Overrides::default() };
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let config = Config::from_parts(&overrides, all).expect("the settings are valid");
        let address = self.postgres.address_of(&self.database);
        let node = Box::pin(Node::start(config, &address, self.clock.clone())).await.expect("the node starts");
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Drains a node. The numbers of those after it move down.
    pub async fn drain_node(&mut self, node: usize) {
        self.nodes.remove(node).drain().await;
    }

    /// Kills a node: nobody is told anything. The numbers of those after it move down.
    pub async fn kill_node(&mut self, node: usize) {
        self.nodes.remove(node).kill().await;
    }

    /// Base URL of a node.
    pub fn base(&self, node: usize) -> String {
        format!("http://{}", self.nodes[node].listen)
    }

    /// What a node is made of, for tests that look beneath the surface.
    pub fn ctx(&self, node: usize) -> &Arc<Ctx> {
        &self.nodes[node].ctx
    }

    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// A connection to the database beneath, for what stays open: locks, transactions.
    pub async fn database(&self) -> PgConnection {
        self.postgres.connect(&self.database).await
    }

    /// Runs a statement in the database beneath: for what no call can bring about.
    ///
    /// # Panics
    /// Postgres refuses it.
    pub async fn sql(&self, statement: &'static str) {
        let mut connection = self.postgres.connect(&self.database).await;
        sqlx::query(statement).execute(&mut connection).await.expect("a statement");
    }

    /// A connection to the database beneath: for what somebody else holds open while the nodes work.
    pub async fn connect(&self) -> PgConnection {
        self.postgres.connect(&self.database).await
    }

    /// A connection to another database of the same Postgres.
    pub async fn other_database(&self) -> PgConnection {
        self.postgres.connect("postgres").await
    }

    /// What a query in the database beneath finds: one text per row. For what no call shows.
    ///
    /// # Panics
    /// Postgres refuses it.
    pub async fn ask(&self, query: &'static str) -> Vec<String> {
        let mut connection = self.postgres.connect(&self.database).await;
        sqlx::query_scalar(query).fetch_all(&mut connection).await.expect("a query")
    }

    /// Somebody with an API key and no token.
    pub fn stranger(&self) -> Person {
        Person::new("", self.client.at(&self.base(0)))
    }

    /// A server of the app's makers, at the first node.
    pub fn server(&self) -> Person {
        self.server_at(0)
    }

    pub fn server_at(&self, node: usize) -> Person {
        let client = self.client.at(&self.base(node)).with_token(&client::server_token(API_SECRET));
        Person::new("", client)
    }

    /// A user who may not exist yet, with a token, at a node.
    pub fn user_at(&self, node: usize, id: &str) -> Person {
        Person::new(id, self.client.at(&self.base(node)).with_token(&client::user_token(API_SECRET, id)))
    }

    /// A user who exists, at the first node.
    pub async fn person(&self, id: &str) -> Person {
        self.person_at(0, id).await
    }

    /// A user who exists, at a node.
    pub async fn person_at(&self, node: usize, id: &str) -> Person {
        self.server_at(node).post("/users", json!({"users": {id: {"id": id}}})).await.ok();
        self.user_at(node, id)
    }

    /// Several at once.
    pub async fn people<const N: usize>(&self, ids: [&str; N]) -> [Person; N] {
        let users: serde_json::Map<_, _> = ids.iter().map(|id| ((*id).to_owned(), json!({"id": id}))).collect();
        self.server().post("/users", json!({"users": users})).await.ok();
        ids.map(|id| self.user_at(0, id))
    }

    /// Ends all nodes and drops the database.
    pub async fn stop(self) {
        for node in self.nodes {
            node.kill().await;
        }
        self.postgres.drop(&self.database).await;
    }
}
