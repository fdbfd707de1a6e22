//! What a node holds of what clients made up: as much as was written, and not a tree of it. And it comes back as it was sent.

use futures_util::FutureExt;
use millrace::limits;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;
use testkit::app::{API_KEY, API_SECRET};
use testkit::client::{Client, server_token};
use testkit::{App, Deployment, Engine, Person, on_both_engines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::{SEND, channel, watch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_millrace");
/// What answers and caches may add to the memory of a node here. Parsed, the messages below take 380 MB, and the channels as much.
const GROWTH_BYTES_MAX: u64 = 96 * 1024 * 1024;
const CHANNELS: usize = 2_000;

async fn sql(database: &mut PgConnection, statement: &'static str) {
    sqlx::query(statement).execute(database).await.unwrap();
}

/// A page of small values, asked for again and again, and channels full of them.
#[tokio::test(flavor = "multi_thread")]
async fn small_values_take_no_more_than_their_text() {
    let deployment = Deployment::new().await;
    let node = deployment.start(PROGRAM).await;
    let server = Person::new("", Client::new(&node.base, API_KEY).with_token(&server_token(API_SECRET)));
    let data = json!({"created_by": {"id": "ada"}});
    server.post("/channels/messaging/room/query", json!({"data": data})).await.ok();
    let mut database = deployment.database().await;
    sql(
        &mut database,
        "INSERT INTO messages (channel_id, seq, id, user_id, type, text, counts, counted, data, created_at, updated_at)
         SELECT c.id, n, 'message' || n, 'ada', 'regular', '', true, n, f.data, now(), now()
         FROM channels c, generate_series(1, 300) n, (SELECT jsonb_build_object('attachments', jsonb_build_array(
             jsonb_build_object('a', (SELECT jsonb_agg('{\"a\": 0}'::jsonb) FROM generate_series(1, 1000))))) AS data) f",
    )
    .await;
    sql(&mut database, "UPDATE channel_heads SET message_seq = 300, counted = 300").await;
    sql(
        &mut database,
        "INSERT INTO channels (cid, type, created_by, custom)
         SELECT 'messaging:full' || n, 'messaging', 'ada', f.custom FROM generate_series(0, 1999) n,
             (SELECT jsonb_build_object('a', (SELECT jsonb_agg('{\"a\": 0}'::jsonb) FROM generate_series(1, 500))) AS custom) f",
    )
    .await;
    sql(&mut database, "INSERT INTO channel_heads (channel_id) SELECT id FROM channels WHERE cid LIKE '%:full%'").await;
    let before = node.memory_peak();
    let page = json!({"state": true, "messages": {"limit": 300}});
    for _ in 0..10 {
        let state = server.post("/channels/messaging/room/query", page.clone()).await.ok();
        assert_eq!(state["messages"].as_array().unwrap().len(), 300);
        assert_eq!(state["messages"][0]["attachments"][0]["a"].as_array().unwrap().len(), 1_000);
    }
    let cids: Vec<String> = (0..CHANNELS).map(|number| format!("messaging:full{number}")).collect();
    for cids in cids.chunks(200) {
        let since = json!({"channel_cids": cids, "last_sync_at": "2999-01-01T00:00:00Z"});
        server.post("/sync", since).await.ok();
    }
    let growth = node.memory_peak() - before;
    assert!(growth < GROWTH_BYTES_MAX, "{} MB", growth >> 20);
    drop(node);
    deployment.end().await;
}

/// What is hard to keep as it is: for Postgres, for JSON that is copied as text, and for whoever reads it again.
fn odd() -> Value {
    let nested = (0..20).fold(json!([]), |inner, _| json!({"a": inner}));
    json!({
        "text": "\"quotes\" \\ back\\\\slashes , : [ { \u{1} \u{7f} \n 語 \u{1f600} </script>", "": "", "a.b": {"c d": null},
        "\"\\\u{1f600}": true, "whole": [0, -1, u64::MAX, i64::MIN], "broken": [0.1, -2.5e-7, 1.5e300, 1e22, 123_456_789.125],
        "empty": [{}, [], [[]], ""], "nested": nested, "first": "z", "zz": 1, "b": 2,
    })
}

fn has_all_of(shown: &Value, sent: &Value) {
    for (key, value) in sent.as_object().unwrap() {
        assert_eq!(&shown[key], value, "{key}");
    }
}

async fn what_clients_make_up_comes_back(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:room").await;
    let room = "/channels/messaging/room";
    let with = |mut object: Value, key: &str, value: Value| {
        object[key] = value;
        object
    };

    let message = with(with(odd(), "attachments", json!([odd(), {}])), "text", json!("hello"));
    let sent = with(odd(), "text", json!("hello"));
    let answer = ada.post(SEND, json!({"message": message})).await.ok()["message"].clone();
    let heard = ear.hear("message.new").await["message"].clone();
    let id = answer["id"].as_str().unwrap().to_owned();
    let path = format!("/messages/{id}");
    ada.post(&format!("{path}/reaction"), json!({"reaction": with(odd(), "type", json!("like"))})).await.ok();
    let reacted = ear.hear("reaction.new").await;
    ada.put(&path, json!({"set": {"pinned": true, "set.later": 1.5e300}})).await.ok();
    let updated = ear.hear("message.updated").await["message"].clone();
    let got = ada.get(&path).await.ok()["message"].clone();
    let mut reply = with(odd(), "parent_id", json!(id));
    reply["text"] = "reply".into();
    let reply = grace.post(SEND, json!({"message": reply})).await.ok()["message"].clone();
    has_all_of(&reply, &with(odd(), "text", json!("reply")));
    for shown in [&answer, &heard, &reacted["message"], &updated, &got] {
        has_all_of(shown, &sent);
        assert_eq!(shown["attachments"], json!([odd(), {}]));
    }
    assert_eq!((&got["set"], &updated["set"]), (&json!({"later": 1.5e300}), &json!({"later": 1.5e300})));
    for reaction in [&reacted["reaction"], &got["own_reactions"][0], &got["latest_reactions"][0]] {
        has_all_of(reaction, &with(odd(), "type", json!("like")));
    }

    let own = odd();
    ada.patch("/users", json!({"users": [{"id": "ada", "set": {"odd": own}}]})).await.ok();
    app.server().patch(room, json!({"set": {"odd": own}})).await.ok();
    ada.patch(&format!("{room}/member/ada"), json!({"set": {"odd": own}})).await.ok();
    let draft = with(with(odd(), "attachments", json!([odd()])), "text", json!("draft"));
    ada.post(&format!("{room}/draft"), json!({"message": draft})).await.ok();
    let state = ada.post(&format!("{room}/query"), json!({"state": true})).await.ok();
    assert_eq!(state["channel"]["odd"], own);
    assert_eq!((&state["membership"]["odd"], &state["membership"]["user"]["odd"]), (&own, &own));
    has_all_of(&state["messages"][0], &sent);
    has_all_of(&state["pinned_messages"][0], &sent);
    has_all_of(&state["draft"]["message"], &with(odd(), "text", json!("draft")));
    assert_eq!(state["draft"]["message"]["attachments"], json!([odd()]));
    ada.post(&format!("{room}/event"), json!({"event": with(odd(), "type", json!("wave"))})).await.ok();
    has_all_of(&ear.hear("wave").await, &with(odd(), "type", json!("wave")));
    // What a client says again when it connects is not news, in whatever order Postgres keeps it.
    let again = ada.listen_as(json!({"id": "ada", "odd": own})).await;
    assert_eq!(again.me()["odd"], own);
    assert_eq!(app.ask("SELECT count(*)::text FROM events WHERE type = 'user.updated'").await, ["1"]);

    let missed = json!({"channel_cids": ["messaging:room"], "last_sync_at": state["channel"]["created_at"]});
    let missed = grace.post("/sync", missed).await.ok();
    let told = missed["events"].as_array().unwrap().iter().find(|event| event["type"] == "message.new").unwrap();
    has_all_of(&told["message"], &sent);
}

/// A connection on which a request has been sent. Little of what is answered goes into its own buffer.
async fn asked(app: &App, person: &Person, path: &str, body: &Value) -> TcpStream {
    let request = person.client.request(Method::POST, path).build().unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let (token, kind, body) = (header("authorization"), header("stream-auth-type"), body.to_string());
    let path = format!("{}?{}", request.url().path(), request.url().query().unwrap());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let address = app.base(0).strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\nstream-auth-type: {kind}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Whoever asks for much and does not take it has to, before it is given more. Others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn few_answers_wait_for_a_reader_who_takes_nothing() {
    let app = App::start(Engine::Memory).await;
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(&app, "messaging:room", &["ada", "grace"]).await;
    app.sql(
        "INSERT INTO messages (channel_id, seq, id, user_id, type, text, counts, counted, data, created_at, updated_at)
         SELECT c.id, n, 'message' || n, 'ada', 'regular', '', true, n, f.data, now(), now()
         FROM channels c, generate_series(1, 300) n, (SELECT jsonb_build_object('attachments', jsonb_build_array(
             jsonb_build_object('a', repeat('x', 32000)))) AS data) f",
    )
    .await;
    app.sql("UPDATE channel_heads SET message_seq = 300, counted = 300").await;
    let path = "/channels/messaging/room/query";
    let page = json!({"state": true, "messages": {"limit": 300}});
    let mut unread = Vec::new();
    for _ in 0..limits::LARGE_ANSWERS_UNSENT_MAX {
        let mut connection = asked(&app, &ada, path, &page).await;
        // The answer has been made.
        connection.read_exact(&mut [0; 1_000]).await.unwrap();
        unread.push(connection);
    }
    let mut next = asked(&app, &ada, path, &page).await;
    for _ in 0..3 {
        let state = grace.post(path, page.clone()).await.ok();
        assert_eq!(state["messages"].as_array().unwrap().len(), 300);
    }
    assert!(next.read_u8().now_or_never().is_none(), "hers waits for those that she does not take");
    drop(unread.pop());
    next.read_exact(&mut [0; 1_000]).await.unwrap();
    // What is small waits for nothing.
    ada.post(path, json!({"state": true})).await.ok();
    app.stop().await;
}

on_both_engines!(what_clients_make_up_comes_back);
