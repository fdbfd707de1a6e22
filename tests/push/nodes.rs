//! Several nodes share the work and the key, and one that dies leaves nothing undone.

use std::collections::BTreeSet;

use millrace::chat::push::vapid_public_key;
use millrace::store::events::LogPosition;
use sqlx::Connection;
use testkit::{App, Engine};

use crate::service::{Answer, Service};
use crate::{PUSH_HERE, lobby, say, subscribed, until};

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

/// Numbers of transactions from another cluster are of no use: they are too high, or those of this one are.
#[tokio::test]
async fn after_a_dump_is_restored_elsewhere_pushes_go_on() {
    let mut app = App::start_with(Engine::Memory, 1, PUSH_HERE).await;
    let mut service = Service::start().await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    say(&app, "ada", "before").await;
    service.next().await;
    app.kill_node(0).await;
    app.sql("UPDATE log_cursors SET tx = 900000000000000").await;
    app.sql("UPDATE events SET tx = 900000000000000").await;
    app.add_node().await;
    // What is said before the reader has found its place again is of the time before.
    let place = "SELECT count(*)::text FROM log_cursors WHERE tx < 900000000000000";
    until(async || app.ask(place).await == ["1"]).await;
    say(&app, "ada", "after").await;
    assert_eq!(grace.read(&service.next().await)["body"], "after", "and not what was there before");
    assert!(service.rest().is_empty());
    let ahead = app.ask("SELECT count(*)::text FROM events WHERE tx >= 900000000000000").await;
    assert_eq!(ahead, ["0"], "nothing is left that would be told again in years");
    app.stop().await;
}

/// What nobody wants is not read: the reader goes on although the messages cannot be read.
#[tokio::test]
async fn without_subscriptions_nothing_is_read() {
    let app = App::start_with(Engine::Memory, 1, PUSH_HERE).await;
    app.people(["ada", "grace"]).await;
    lobby(&app, &["ada", "grace"]).await;
    until(async || !app.ask("SELECT reader FROM log_cursors").await.is_empty()).await;
    let (mut cursor, mut messages) = (app.connect().await, app.connect().await);
    let mut still = cursor.begin().await.unwrap();
    sqlx::query("SELECT FROM log_cursors FOR UPDATE").execute(&mut *still).await.unwrap();
    say(&app, "ada", "for nobody").await;
    let mut locked = messages.begin().await.unwrap();
    sqlx::query("LOCK TABLE messages").execute(&mut *locked).await.unwrap();
    still.rollback().await.unwrap();
    let read =
        "SELECT count(*)::text FROM log_cursors WHERE tx >= (SELECT max(tx) FROM events WHERE type = 'message.new')";
    until(async || app.ask(read).await == ["1"]).await;
    locked.rollback().await.unwrap();
    app.stop().await;
}
