//! Several nodes: what is said at one is heard at the others, once and in order, whatever dies in between.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod crash;
mod delivery;
mod together;

use serde_json::{Value, json};
use testkit::{App, Person};

const LOBBY: &str = "messaging:lobby";

/// Makes `messaging:lobby` with these members, the first of whom created it.
async fn lobby(app: &App, members: &[&str]) {
    let users: serde_json::Map<_, _> = members.iter().map(|id| ((*id).to_owned(), json!({"id": id}))).collect();
    app.server().post("/users", json!({"users": users})).await.ok();
    let data = json!({"created_by_id": members[0], "members": members});
    app.server().post("/channels/messaging/lobby/query", json!({"data": data})).await.ok();
}

/// Watches the lobby; gives back its state.
async fn watch(person: &Person) -> Value {
    person.post("/channels/messaging/lobby/query", json!({"watch": true, "state": true})).await.ok()
}

fn text(event: &Value) -> &str {
    event["message"]["text"].as_str().unwrap_or_default()
}
