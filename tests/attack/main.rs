//! What broke the server once, or would: every test here failed on the code that it was written against.
//!
//! A file per question: who is it (identity), whose name is it (names), what may it still (rights), what does one request cost
//! (bounds, sizes, answers, uploads), what if it stops half-way, who waits for whom (lanes, locks), what if Redis stands still, which
//! rule does it go round.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod answers;
mod bounds;
mod halfway;
mod identity;
mod lanes;
mod locks;
mod names;
mod redis_away;
mod rights;
mod rules;
mod sizes;
mod uploads;

use serde_json::{Value, json};
use testkit::{App, Person};

const SEND: &str = "/channels/messaging/room/message";

/// Makes a channel with these members, the first of whom created it.
async fn channel(app: &App, cid: &str, members: &[&str]) -> Value {
    let data = json!({"created_by_id": members[0], "members": members});
    app.server().post(&format!("{}/query", path(cid)), json!({"data": data, "state": true})).await.ok()
}

/// Watches a channel; gives back its state.
async fn watch(person: &Person, cid: &str) -> Value {
    person.post(&format!("{}/query", path(cid)), json!({"watch": true, "state": true})).await.ok()
}

/// Where a channel is asked for things.
fn path(cid: &str) -> String {
    format!("/channels/{}", cid.replace(':', "/"))
}
