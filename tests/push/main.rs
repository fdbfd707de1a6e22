//! Web push, against a push service that speaks RFC 8030 over real HTTP and browsers that decrypt what they get.
//!
//! The push service is ours (service.rs): it checks what a service can check, and keeps the rest for the browser. A real
//! browser is in web/e2e.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod audience;
mod delivery;
mod nodes;
mod service;
mod subscriptions;

use millrace::access::Caller;
use millrace::chat::push::subscribe;
use serde_json::{Value, json};
use service::{Browser, Service};
use testkit::{App, Engine, PATIENCE};

/// One node that may push to this machine, and a push service.
async fn start(engine: Engine) -> (App, Service) {
    (App::start_with(engine, 1, PUSH_HERE).await, Service::start().await)
}

const PUSH_HERE: &[(&str, &str)] =
    &[("MILLRACE_PUSH__ALLOW_LOOPBACK", "true"), ("VAPID_SUBJECT", "mailto:admin@example.org")];

/// A user who exists, as a caller.
async fn caller(app: &App, id: &str) -> Caller {
    app.person(id).await;
    Caller::client(app.ctx(0).caches.user(id).await.unwrap().unwrap())
}

/// Makes a browser of a user's take pushes.
async fn subscribed(app: &App, service: &Service, user: &str) -> Browser {
    let browser = service.browser(user);
    let caller = caller(app, user).await;
    subscribe(app.ctx(0), &caller, browser.registration()).await.unwrap();
    browser
}

/// Makes `messaging:lobby` with these members.
async fn lobby(app: &App, members: &[&str]) {
    let data = json!({"created_by_id": members[0], "members": members, "name": "Lobby"});
    app.server().post("/channels/messaging/lobby/query", json!({"data": data})).await.ok();
}

/// Sends a message to `messaging:lobby`; gives back its id.
async fn send(app: &App, author: &str, mut message: Value, more: Value) -> String {
    message["text"] = message["text"].as_str().unwrap_or("hello").into();
    let mut body = json!({"message": message});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let sent = app.user_at(0, author).post("/channels/messaging/lobby/message", body).await.ok();
    sent["message"]["id"].as_str().unwrap().into()
}

/// Sends a text.
async fn say(app: &App, author: &str, text: &str) -> String {
    send(app, author, json!({"text": text}), json!({})).await
}

/// Looks again and again: for what is written down after an answer, which nobody is told.
async fn until(done: impl AsyncFn() -> bool) {
    let look = async { while !done().await {} };
    tokio::time::timeout(PATIENCE, look).await.expect("it happens");
}
