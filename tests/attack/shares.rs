//! One asker's share: whatever somebody asks for, and however often at once, others are served meanwhile.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::{App, Engine, PATIENCE, Person, on_both_engines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::channel;

const UPLOAD: &str = "/channels/messaging/room/file";
/// A filter that does not come to an end while mutes of channels are locked.
const ON_MUTES: &str = r#"{"filter_conditions": {"muted": true}, "state": false}"#;

fn slow() -> Value {
    serde_json::from_str(ON_MUTES).unwrap()
}

/// Waits until so many statements wait for a table.
async fn until_stuck(app: &App, query: &'static str, count: usize) {
    let wait = async { while stuck(app, query).await < count {} };
    timeout(PATIENCE, wait).await.expect("they wait");
}

/// How many statements wait for a table.
async fn stuck(app: &App, query: &'static str) -> usize {
    app.ask(query).await[0].parse().unwrap()
}

const STUCK_AT_MUTES: &str =
    "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'channel_mutes'::regclass
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const STUCK_AT_REACTIONS: &str =
    "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'reactions'::regclass
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn reads_of_one_leave_connections_to_others(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    let message = ada.say("messaging:room", "hello").await;
    let reactions = format!("/messages/{}/reactions", message["id"].as_str().unwrap());
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE reactions IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..200 {
        let (ada, reactions) = (app.user_at(0, "ada"), reactions.clone());
        waiting.spawn(async move { ada.get(&reactions).await.answer.status });
    }
    // Of the four connections that ten leave for reads.
    until_stuck(app, STUCK_AT_REACTIONS, 3).await;
    for _ in 0..20 {
        grace.get("/unread").await.ok();
    }
    assert_eq!(stuck(app, STUCK_AT_REACTIONS).await, 3);
    holder.rollback().await.unwrap();
    let answered = waiting.join_all().await;
    assert!(answered.iter().all(|status| *status == 200), "all are served, not all at the same moment: {answered:?}");
}

/// Each holds what it was read into for as long as it waits.
async fn few_filters_of_one_wait(app: &App) {
    let ada = app.person("ada").await;
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE channel_mutes IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..40 {
        let ada = app.user_at(0, "ada");
        waiting.spawn(async move { ada.post("/channels", slow()).await.answer.status });
    }
    for _ in 0..8 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), 429, "before any other has an answer");
    }
    holder.rollback().await.unwrap();
    let answered = waiting.join_all().await;
    assert!(answered.iter().all(|status| *status == 201), "{answered:?}");
    ada.post("/channels", slow()).await.ok();
}

/// However many askers have slow ones: they wait for each other.
async fn slow_filters_leave_room_for_quick_ones(app: &App) {
    let grace = app.person("grace").await;
    app.people(["ada", "bob", "carol", "dan"]).await;
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE channel_mutes IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let mut waiting = JoinSet::new();
    for id in ["ada", "bob", "carol", "dan"] {
        let person = app.user_at(0, id);
        waiting.spawn(async move { person.post("/channels", slow()).await.refused() });
    }
    until_stuck(app, STUCK_AT_MUTES, 2).await;
    grace.query("/users", json!({"filter_conditions": {"id": "ada"}})).await.ok();
    assert!(waiting.try_join_next().is_none(), "she has waited for none of them");
    let refused = waiting.join_all().await;
    assert!(refused.iter().all(|refused| [(408, 23), (503, -1)].contains(refused)), "{refused:?}");
}

#[tokio::test]
async fn strangers_wait_for_those_of_their_own_address() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let ask = |from: &'static str, filter: Value| {
        let client = app.stranger().client;
        async move {
            let request = client.request(Method::POST, "/channels").header("x-forwarded-for", from).json(&filter);
            client.send(request).await.unwrap().status
        }
    };
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE channel_mutes IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let mut waiting: JoinSet<u16> = (0..3).map(|_| ask("198.51.100.7", slow())).collect();
    until_stuck(&app, STUCK_AT_MUTES, 1).await;
    assert_eq!(ask("198.51.100.8", json!({"filter_conditions": {"type": "messaging"}})).await, 201);
    assert!(waiting.try_join_next().is_none(), "nobody there has an answer yet");
    waiting.shutdown().await;
    app.stop().await;
}

/// A request whose body, or form, has begun and does not go on.
async fn begun(app: &App, person: &Person, path: &str, kind: &str, bytes: usize, begin: &[u8]) -> TcpStream {
    let request = person.client.request(Method::POST, path).build().unwrap();
    let header = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (token, auth) = (header("authorization"), header("stream-auth-type"));
    let path = format!("{}?{}", request.url().path(), request.url().query().unwrap());
    let mut stream = TcpStream::connect(app.base(0).strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\nstream-auth-type: {auth}\r\n\
         content-type: {kind}\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(begin).await.unwrap();
    stream
}

/// The status of the answer.
async fn answer(mut stream: TcpStream) -> u16 {
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

async fn bodies_that_stop_are_few_and_end(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let stream = begun(app, &ada, "/users", "application/json", 1_000_000, &vec![b' '; 200_000]).await;
        waiting.spawn(answer(stream));
    }
    for _ in 0..12 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), 429, "eight have their turn");
    }
    let user = json!({"users": {"grace": {"id": "grace", "name": "Grace"}}, "unknown": "x".repeat(500_000)});
    grace.post("/users", user).await.ok();
    assert!(waiting.join_all().await.iter().all(|status| *status == 408));
}

async fn large_bodies_need_a_token(app: &App) {
    let ada = app.person("ada").await;
    let padded = |bytes: usize| json!({"filter_conditions": {"id": "x"}, "unknown": "x".repeat(bytes)});
    ada.post("/channels", padded(100_000)).await.ok();
    app.stranger().post("/channels", padded(50_000)).await.ok();
    assert_eq!(app.stranger().post("/channels", padded(100_000)).await.refused(), (413, 22));
    let guest = json!({"user": {"id": "visitor", "name": "x".repeat(100_000)}});
    assert_eq!(app.stranger().post("/guest", guest).await.refused(), (413, 22));
    // One that does not say how large it is.
    let request = app.stranger().client.request(Method::POST, "/channels").header("transfer-encoding", "chunked");
    let chunks = futures_util::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>(vec![b' '; 10_000])));
    let answer = ada.client.send(request.body(reqwest::Body::wrap_stream(chunks))).await.unwrap();
    assert_eq!((answer.status, answer.code()), (413, 22));
}

const FILE_FOLLOWS: &[u8] = b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x.bin\"\r\n\r\n";

/// A guest who stops in the middle of its uploads holds up no other, and its own for seconds.
async fn uploads_that_stop_are_a_guests_own(app: &App) {
    app.person("ada").await;
    let mut guests = Vec::new();
    for _ in 0..2 {
        let made = app.stranger().post("/guest", json!({"user": {"id": "visitor"}})).await.ok();
        let (id, token) = (made["user"]["id"].as_str().unwrap(), made["access_token"].as_str().unwrap());
        guests.push(Person::new(id, app.stranger().client.with_token(token)));
    }
    channel(app, "messaging:room", &["ada", &guests[0].id, &guests[1].id]).await;
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        let form = "multipart/form-data; boundary=b";
        waiting.spawn(answer(begun(app, &guests[0], UPLOAD, form, 50_000_000, FILE_FOLLOWS).await));
    }
    guests[1].upload(UPLOAD, "x.bin", "application/octet-stream", b"x").await.ok();
    assert!(waiting.try_join_next().is_none());
    assert_eq!(waiting.join_all().await, [408; 4]);
    guests[0].upload(UPLOAD, "x.bin", "application/octet-stream", b"x").await.ok();
}

on_both_engines!(
    reads_of_one_leave_connections_to_others,
    few_filters_of_one_wait,
    slow_filters_leave_room_for_quick_ones,
    bodies_that_stop_are_few_and_end,
    large_bodies_need_a_token,
    uploads_that_stop_are_a_guests_own,
);
