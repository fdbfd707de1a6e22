//! The contract of the Stream surface: what clients may rely on, over real HTTP and WebSockets, on both engines.
//!
//! Every answer and event that these tests see is also held against the wire facts (crates/testkit/facts).

#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod app;
mod auth;
mod channels;
mod connect;
mod drafts;
mod events;
mod filters;
mod http;
mod junk;
mod members;
mod messages;
mod permissions;
mod presence;
mod push;
mod reactions;
mod reads;
mod replies;
mod rooms;
mod sync;
mod uploads;
mod users;

use serde_json::{Value, json};
use testkit::{App, Person};

/// Makes `messaging:lobby` with these members, the first of whom created it.
async fn lobby(app: &App, members: &[&str]) -> Value {
    channel(app, "messaging:lobby", members).await
}

/// Makes a channel with these members, the first of whom created it.
async fn channel(app: &App, cid: &str, members: &[&str]) -> Value {
    let data = json!({"created_by_id": members[0], "members": members});
    let path = format!("/channels/{}/query", cid.replace(':', "/"));
    app.server().post(&path, json!({"data": data, "state": true})).await.ok()
}

/// Watches a channel; gives back its state.
async fn watch(person: &Person, cid: &str) -> Value {
    let path = format!("/channels/{}/query", cid.replace(':', "/"));
    person.post(&path, json!({"watch": true, "state": true})).await.ok()
}

/// The state of a channel, for one who does not watch it.
async fn state_of(person: &Person, cid: &str) -> Value {
    let path = format!("/channels/{}/query", cid.replace(':', "/"));
    person.post(&path, json!({"state": true})).await.ok()
}

/// One key of each object in a list.
fn pluck<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    let items = list.as_array().expect("a list");
    items.iter().map(|item| item[key].as_str().unwrap_or_default()).collect()
}
