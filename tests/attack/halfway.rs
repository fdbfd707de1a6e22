//! What stops half-way: hang-ups, time-outs, failed reads. Nothing may be stuck or lost after it.

use std::task::Poll;

use axum::body::Body;
use axum::extract::Request;
use millrace::app::OpenDatabase;
use millrace::config::{Config, Overrides};
use millrace::http::router;
use millrace::outside::embedded_postgres::EmbeddedPostgres;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};
use testkit::app::{API_KEY, API_SECRET};
use testkit::client::{Client, server_token, user_token};
use testkit::{App, Deployment, Ear, Engine, PATIENCE, Person};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Service;

use crate::{channel, path, watch};

testkit::on_both_engines!(
    requests_may_be_dropped_at_every_await,
    sockets_that_hang_up_leave_nothing,
    a_channel_whose_number_could_not_be_read_is_heard,
    those_who_hang_up_hold_no_connection,
    a_part_that_ends_is_noticed,
);

/// A request in the middle of which the client hangs up.
struct Verb {
    name: &'static str,
    method: &'static str,
    /// After the channel's own path; or the whole, if it begins with a slash of its own.
    path: &'static str,
    body: fn(&str) -> Value,
    by_server: bool,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "watch",
        method: "POST",
        path: "query",
        body: |_| json!({"watch": true, "state": true}),
        by_server: false,
    },
    Verb {
        name: "list",
        method: "POST",
        path: "//channels",
        body: |cid| json!({"filter_conditions": {"cid": cid}, "watch": true, "presence": true}),
        by_server: false,
    },
    Verb { name: "stop", method: "POST", path: "stop-watching", body: |_| json!({}), by_server: false },
    Verb {
        name: "send",
        method: "POST",
        path: "message",
        body: |_| json!({"message": {"text": "cut"}}),
        by_server: false,
    },
    Verb {
        name: "draft",
        method: "POST",
        path: "draft",
        body: |_| json!({"message": {"text": "cut"}}),
        by_server: false,
    },
    Verb { name: "read", method: "POST", path: "read", body: |_| json!({}), by_server: false },
    Verb { name: "add", method: "POST", path: "", body: |_| json!({"add_members": ["alan"]}), by_server: true },
    Verb { name: "remove", method: "POST", path: "", body: |_| json!({"remove_members": ["grace"]}), by_server: true },
    Verb { name: "truncate", method: "POST", path: "truncate", body: |_| json!({}), by_server: true },
    Verb { name: "delete", method: "DELETE", path: "", body: |_| json!({}), by_server: true },
];

impl Verb {
    /// The request, to be handed to the service itself.
    fn request(&self, cid: &str, ear: &Ear) -> Request {
        let path = match self.path.strip_prefix("//") {
            Some(path) => format!("/{path}"),
            None => format!("{}/{}", path(cid), self.path),
        };
        let token = if self.by_server { server_token(API_SECRET) } else { user_token(API_SECRET, "ada") };
        let connection = if self.by_server { "" } else { ear.connection_id() };
        let uri = format!("{}?api_key={API_KEY}&connection_id={connection}", path.trim_end_matches('/'));
        let request = Request::builder().method(self.method).uri(uri);
        let request = request.header("authorization", token).header("stream-auth-type", "jwt");
        let body = Body::from((self.body)(cid).to_string());
        request.header("content-type", "application/json").body(body).unwrap()
    }
}

/// Polls work so many times and drops it then. True if it came to its end before.
async fn cut_off(work: impl Future, polls: usize) -> bool {
    let mut work = Box::pin(work);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        polled += 1;
        match work.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled == polls => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Each verb is dropped at its first await, then at its second, until there is no further one; and each time the channel is
/// as it should be.
async fn requests_may_be_dropped_at_every_await(app: &App) {
    let [ada, grace, _] = app.people(["ada", "grace", "alan"]).await;
    let (mut hers, mut other) = (ada.listen().await, grace.listen().await);
    for verb in VERBS {
        for polls in 1.. {
            let cid = format!("messaging:{}-{polls}", verb.name);
            channel(app, &cid, &["ada", "grace"]).await;
            watch(&grace, &cid).await;
            ada.say(&cid, "before").await;
            let ended = cut_off(router::service(app.ctx(0).clone()).call(verb.request(&cid, &hers)), polls).await;
            app.ctx(0).tasks.unfinished().await;
            is_well(app, &ada, &mut hers, &mut other, &cid).await;
            if ended {
                break;
            }
        }
    }
    drop((hers, other));
    nothing_is_left(app).await;
}

/// The channel can be watched and hears; who is no member hears nothing; what was said before was heard once.
async fn is_well(app: &App, ada: &Person, hers: &mut Ear, other: &mut Ear, cid: &str) {
    let find = json!({"filter_conditions": {"cid": cid}, "state": false, "user_id": "ada"});
    if app.server().post("/channels", find).await.ok()["channels"] == json!([]) {
        return;
    }
    let watching = tokio::time::timeout(PATIENCE, watch(ada, cid)).await;
    let state = watching.unwrap_or_else(|_| panic!("{cid} cannot be watched"));
    ada.say(cid, "after").await;
    let is_after = |event: &Value| event["cid"] == cid && event["message"]["text"] == "after";
    hers.hear_where("message.new", is_after).await;
    let is_member = state["members"].as_array().unwrap().iter().any(|member| member["user_id"] == "grace");
    if is_member {
        other.hear_where("message.new", is_after).await;
    }
    let heard = other.heard(&app.server()).await;
    let texts: Vec<&str> = heard
        .iter()
        .filter(|event| event["type"] == "message.new" && event["cid"] == cid)
        .map(|event| event["message"]["text"].as_str().unwrap())
        .collect();
    assert!(is_member || !texts.contains(&"after"), "{cid}: who was removed still hears");
    for text in ["before", "cut"] {
        let kept = state["messages"].as_array().unwrap().iter().filter(|message| message["text"] == text).count();
        let said = texts.iter().filter(|heard| **heard == text).count();
        assert!(
            said == kept || (said == 1 && kept == 0),
            "{cid}: {text} is kept {kept} times and was heard {said} times"
        );
    }
}

/// When all have gone, the node wants to hear nothing any more.
async fn nothing_is_left(app: &App) {
    let realtime = &app.ctx(0).realtime;
    let empty = async {
        while realtime.connections() > 0 || realtime.topics() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, empty).await;
    assert!(waited.is_ok(), "{} connections, {} topics", realtime.connections(), realtime.topics());
}

/// Handshakes that end after any number of bytes of the answer, with whatever the server was doing by then.
async fn sockets_that_hang_up_leave_nothing(app: &App) {
    app.person("ada").await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let token = user_token(API_SECRET, "ada");
    let address = app.base(0).replace("http://", "");
    for bytes in 0..64 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let json = "%7B%22user_id%22%3A%22ada%22%7D";
        let request = format!(
            "GET /connect?json={json}&api_key={API_KEY}&stream-auth-type=jwt&authorization={token} HTTP/1.1\r\n\
             host: here\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.read_exact(&mut vec![0; bytes * 4]).await.unwrap();
    }
    nothing_is_left(app).await;
}

/// The read that says where a channel stands fails; when Postgres is well again, so is the channel.
async fn a_channel_whose_number_could_not_be_read_is_heard(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    // Not as members, who hear of the channel from the start.
    channel(app, "livestream:lobby", &["ada"]).await;
    let mut ear = grace.listen().await;
    grace.post("/channels/livestream/lobby/query", json!({})).await.ok();
    let before = failed_reads(app).await;
    app.sql("ALTER TABLE channel_heads RENAME TO heads_away").await;
    let first = async {
        let answer = grace.post("/channels/livestream/lobby/query", json!({"watch": true, "state": false})).await;
        drop(answer);
    };
    let meanwhile = async {
        while failed_reads(app).await == before {}
        app.sql("ALTER TABLE heads_away RENAME TO channel_heads").await;
    };
    tokio::join!(first, meanwhile);
    watch(&grace, "livestream:lobby").await;
    ada.say("livestream:lobby", "hello").await;
    ear.hear("message.new").await;
}

/// How many reads failed that delivery needs; those of other tests of this process are among them.
async fn failed_reads(app: &App) -> u64 {
    let metrics = app.stranger().client.call("GET".parse().unwrap(), "/metrics", &[], None).await.unwrap().text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("millrace_delivery_reads_failed_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// More statements than the pool has connections wait for a lock; their clients hang up, and the next one is served.
async fn those_who_hang_up_hold_no_connection(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let message = ada.say("messaging:lobby", "hello").await;
    let reactions = format!("/messages/{}/reactions", message["id"].as_str().unwrap());
    // Now the node knows their memberships, and asks for the list alone.
    ada.get(&reactions).await.ok();
    grace.get(&reactions).await.ok();
    let mut database = app.database().await;
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE reactions").execute(&mut *lock).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    // One of them alone has not all connections.
    for person in [&ada, &ada, &grace, &grace] {
        let (client, reactions) = (person.client.clone(), reactions.clone());
        calls.spawn(async move {
            drop(client.call("GET".parse().unwrap(), &reactions, &[], None).await);
        });
    }
    until_wait_for_a_lock(app, "4").await;
    calls.shutdown().await;
    ada.get("/devices").await.ok();
    lock.rollback().await.unwrap();
}

/// Waits until so many connections to the database wait for a lock.
pub async fn until_wait_for_a_lock(app: &App, count: &str) {
    let waiting = "SELECT count(*)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let wait = async { while app.ask(waiting).await != [count] {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("they wait");
}

/// The node says that it is not whole, and whoever runs it can tell.
async fn a_part_that_ends_is_noticed(app: &App) {
    let ready = async || app.stranger().client.call("GET".parse().unwrap(), "/readyz", &[], None).await.unwrap().status;
    assert_eq!(ready().await, 200);
    let tasks = &app.ctx(0).tasks;
    tasks.run("dies", async { panic!("as it is meant to") });
    assert_eq!(tasks.failure().await, "dies");
    assert_eq!(ready().await, 503);
}

/// A node that is to end does so, whatever hangs.
#[tokio::test]
async fn a_statement_that_hangs_does_not_hold_the_node() {
    let mut app = App::start(Engine::Memory).await;
    let ada = app.person("ada").await;
    channel(&app, "messaging:lobby", &["ada"]).await;
    let mut database = app.database().await;
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE channel_heads").execute(&mut *lock).await.unwrap();
    let client = ada.client.clone();
    let call = tokio::spawn(async move {
        let body = json!({});
        drop(client.call("POST".parse().unwrap(), "/channels/messaging/lobby/read", &[], Some(&body)).await);
    });
    until_wait_for_a_lock(&app, "1").await;
    tokio::time::timeout(PATIENCE, app.kill_node(0)).await.expect("the node ends");
    call.abort();
    lock.rollback().await.unwrap();
    app.stop().await;
}

/// A node that is asked to end waits for its requests; asked again, it does not.
#[tokio::test]
async fn a_second_signal_ends_the_node() {
    let deployment = Deployment::new().await;
    let mut node = deployment.start(env!("CARGO_BIN_EXE_millrace")).await;
    let client = Client::new(&node.base, API_KEY).with_token(&server_token(API_SECRET));
    let mut database = deployment.database().await;
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE users").execute(&mut *lock).await.unwrap();
    let hanging = tokio::spawn({
        let client = client.clone();
        async move {
            let body = json!({"users": {"ada": {"id": "ada"}}});
            drop(client.call("POST".parse().unwrap(), "/users", &[], Some(&body)).await);
        }
    });
    let mut other = deployment.database().await;
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut other).await.unwrap() == 0 {}
    node.ask_to_end().await;
    // It has heard when it lets nobody in any more.
    while client.call("GET".parse().unwrap(), "/healthz", &[], None).await.is_ok() {}
    node.ask_to_end().await;
    assert!(!node.ended().await, "it says that it did not finish");
    hanging.await.unwrap();
    lock.rollback().await.unwrap();
    deployment.end().await;
}

/// A node that cannot use the Postgres that it has started takes it along.
#[tokio::test]
async fn a_start_that_fails_leaves_no_postgres_behind() {
    let place = tempfile::tempdir().unwrap();
    let overrides = Overrides { data_dir: Some(place.path().to_owned()), ..Overrides::default() };
    let config = Config::from_parts(&overrides, Vec::new()).unwrap();
    let millrace::config::Database::Embedded(directory) = &config.database else { panic!("it is the default") };
    let postgres = EmbeddedPostgres::start(directory, &[]).await.unwrap();
    let mut other = postgres.address().with_database("template1").options().connect().await.unwrap();
    sqlx::query("DROP DATABASE postgres").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    OpenDatabase::open(&config).await.map(drop).unwrap_err();
    assert!(!postgres.data().join("postmaster.pid").exists());
    std::fs::remove_dir_all(postgres.data()).unwrap();
}
