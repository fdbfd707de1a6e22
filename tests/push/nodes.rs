//! Several nodes share the work and the key, and one that dies leaves nothing undone.

use std::collections::BTreeSet;

use millrace::chat::push::vapid_public_key;
use millrace::store::events::LogPosition;
use testkit::{App, Engine};

use crate::service::{Answer, Service};
use crate::{PUSH_HERE, lobby, say, subscribed};

#[tokio::test]
async fn two_nodes_push_once() {
    let app = App::start_with(Engine::Redis, 2, PUSH_HERE).await;
    let mut service = Service::start().await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    let mut said = BTreeSet::new();
    for number in 0..100 {
        said.insert(say(&app, "ada", &number.to_string()).await);
    }
    let mut read = BTreeSet::new();
    while read.len() < said.len() {
        let pushed = service.next().await;
        let id = grace.read(&pushed)["message_id"].as_str().unwrap().to_owned();
        assert!(read.insert(id), "a push came twice");
    }
    assert_eq!(read, said);
    // Both have read the log to here when this has come.
    say(&app, "ada", "the last one").await;
    assert_eq!(grace.read(&service.next().await)["body"], "the last one");
    // Connected to the other node is connected.
    let _ear = app.user_at(1, "grace").listen().await;
    subscribed(&app, &service, "alan").await;
    app.server().post("/channels/messaging/lobby", serde_json::json!({"add_members": ["alan"]})).await.ok();
    say(&app, "ada", "for those who are away").await;
    assert_eq!(service.next().await.browser, "alan");
    assert!(service.rest().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn one_node_at_a_time_reads_the_log() {
    let app = App::start(Engine::Memory).await;
    let store = &app.ctx(0).store;
    store.create_log_cursor("test").await.unwrap();
    let (mut one, mut other) = (store.write().await.unwrap(), store.write().await.unwrap());
    assert!(one.lock_log_cursor("test").await.unwrap().is_some());
    assert_eq!(other.lock_log_cursor("test").await.unwrap(), None, "and nobody waits");
    let further = LogPosition { tx: 1, id: 2 };
    one.move_log_cursor("test", further).await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(other.lock_log_cursor("test").await.unwrap(), Some(further));
    drop(other);
    app.stop().await;
}

#[tokio::test]
async fn all_nodes_have_one_key_and_keep_it() {
    let mut app = App::start_with(Engine::Redis, 2, PUSH_HERE).await;
    let key = vapid_public_key(app.ctx(0)).to_owned();
    assert_eq!(key, vapid_public_key(app.ctx(1)));
    app.drain_node(0).await;
    app.drain_node(0).await;
    let node = app.add_node().await;
    assert_eq!(key, vapid_public_key(app.ctx(node)));
    // Two that start at once on an empty database.
    app.sql("DELETE FROM vapid_key").await;
    let store = &app.ctx(node).store;
    let (one, other) = tokio::join!(store.vapid_key(b"one"), store.vapid_key(b"other"));
    assert_eq!(one.unwrap(), other.unwrap());
    app.stop().await;
}

#[tokio::test]
async fn what_was_said_while_no_node_ran_is_pushed_later() {
    let mut app = App::start_with(Engine::Memory, 1, PUSH_HERE).await;
    let mut service = Service::start().await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    service.will_answer("grace", &[Answer::Silence]);
    say(&app, "ada", "on its way").await;
    service.next().await;
    app.sql("UPDATE log_cursors SET tx = tx - 1000").await;
    app.kill_node(0).await;
    let node = app.add_node().await;
    // The log has it again, but it is still being sent as far as anybody knows.
    say(&app, "ada", "new").await;
    assert_eq!(grace.read(&service.next().await)["body"], "new");
    assert!(service.rest().is_empty());
    app.ctx(node).clock.advance_seconds(61);
    assert_eq!(grace.read(&service.next().await)["body"], "on its way");
    app.stop().await;
}
