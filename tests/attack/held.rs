//! What may it still that has waited: rights that end while a body is on its way, or while a writer waits for its turn.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::{App, Person, on_both_engines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::identity::heard_before;
use crate::{SEND, begin, channel};

/// A request whose caller is known, and whose body is still to come.
struct Held {
    stream: TcpStream,
    body: String,
}

impl Held {
    /// Begins a request, and waits until the server has counted it: then it knows whose it is.
    async fn back(app: &App, person: &Person, method: Method, path: &str, body: &Value) -> Self {
        let left = async || {
            let same = person.call(method.as_str(), path, &[], Some(json!({"text": 1, "set": 1}))).await;
            same.answer.header("x-ratelimit-remaining").unwrap().parse::<i64>().unwrap()
        };
        let mut before = left().await;
        let body = body.to_string();
        let stream = begin(app, person, method.clone(), path, "application/json", body.len()).await;
        loop {
            let now = left().await;
            if before - now == 2 {
                return Self { stream, body };
            }
            before = now;
        }
    }

    /// Sends the body; gives back the status of the answer.
    async fn let_go(mut self) -> u16 {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        self.stream.read_exact(&mut status).await.unwrap();
        std::str::from_utf8(&status[9..]).unwrap().parse().unwrap()
    }
}

async fn has_role(app: &App, id: &str, role: &str) {
    app.server().patch("/users", json!({"users": [{"id": id, "set": {"role": role}}]})).await.ok();
}

/// Whoever has lost its rights when its body is there has lost them.
async fn a_body_that_comes_late_comes_too_late(app: &App) {
    let [ada, root, eve, _] = app.people(["ada", "root", "eve", "host"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    channel(app, "messaging:lobby", &["ada", "root", "eve", "host"]).await;
    has_role(app, "root", "admin").await;
    let mut ear = root.listen().await;
    root.post("/channels/messaging/lobby/query", json!({"watch": true})).await.ok();

    let change = json!({"set": {"name": "taken"}});
    let change = Held::back(app, &root, Method::PATCH, "/channels/messaging/room", &change).await;
    let path = format!("/channels/messaging/room/query?connection_id={}", ear.connection_id());
    let query = Held::back(app, &root, Method::POST, &path, &json!({"watch": true, "state": true})).await;
    let said = json!({"message": {"text": "still here"}});
    let said = Held::back(app, &eve, Method::POST, SEND, &said).await;

    has_role(app, "root", "user").await;
    let revoked = json!({"revoke_tokens_issued_before": app.clock.now().plus_seconds(60)});
    app.server().patch("/users", json!({"users": [{"id": "eve", "set": revoked}]})).await.ok();
    assert_eq!((change.let_go().await, query.let_go().await, said.let_go().await), (403, 403, 401));
    ada.say("messaging:room", "among us").await;
    let heard = heard_before(&mut ear, app, "messaging:lobby").await;
    assert!(heard.iter().all(|event| event["cid"] != "messaging:room"), "{heard:#?}");
    assert_eq!(app.ask("SELECT count(*)::text FROM messages WHERE text = 'still here'").await, ["0"]);
}

/// Writers of a channel wait for each other. Whoever has lost its rights when its turn comes does not write.
async fn a_turn_that_comes_late_comes_too_late(app: &App) {
    let [ada, _eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    let parent = ada.say("messaging:room", "parent").await["id"].clone();
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("SELECT FROM channel_heads FOR UPDATE").execute(&mut *holder).await.unwrap();
    let mut replies = JoinSet::new();
    for number in 0..8 {
        let (eve, parent) = (app.user_at(0, "eve"), parent.clone());
        replies.spawn(async move {
            let reply = json!({"message": {"text": format!("{number}"), "parent_id": parent}});
            eve.post(SEND, reply).await.answer.status
        });
    }
    let waiting =
        "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%channel_heads%'
                   AND datname = current_database()";
    while app.ask(waiting).await == ["0"] {}
    let grants = json!({"grants": {"channel_member": ["read-channel"]}});
    app.server().put("/channeltypes/messaging", grants).await.ok();
    holder.rollback().await.unwrap();
    let written = replies.join_all().await.into_iter().filter(|status| *status == 201).count();
    assert!(written <= 2, "{written}: those who had their turn already, and no others");
}

on_both_engines!(a_body_that_comes_late_comes_too_late, a_turn_that_comes_late_comes_too_late);
