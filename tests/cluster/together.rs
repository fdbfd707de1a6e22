//! Presence, watching and rules over two nodes.

use millrace::clock::Clock;
use millrace::engine::Present;
use serde_json::json;
use testkit::{App, Engine};

use crate::{LOBBY, lobby, watch};

#[tokio::test]
async fn presence_is_one() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    lobby(&app, &["ada", "grace"]).await;
    let ada = app.user_at(0, "ada");
    let mut ear = ada.listen().await;
    let payload = json!({"filter_conditions": {"id": "grace"}, "presence": true});
    assert_eq!(ada.query("/users", payload.clone()).await.ok()["users"][0]["online"], false);
    let there = app.user_at(1, "grace").listen().await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], true);
    assert_eq!(ada.query("/users", payload.clone()).await.ok()["users"][0]["online"], true);
    // A socket at each node is one user; the last to go is the end.
    let here = app.user_at(0, "grace").listen().await;
    there.leave().await;
    assert!(!ear.heard_kinds(&app.server()).await.contains(&"user.presence.changed".to_owned()));
    here.leave().await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], false);
    app.stop().await;
}

/// Nodes are as old as their machines' clocks say, and these differ.
#[tokio::test]
async fn a_node_whose_clock_is_ahead_takes_nobody_for_gone() {
    let mut app = App::start_with(Engine::Redis, 1, &[]).await;
    let ada = app.person("ada").await;
    let _ear = ada.listen().await;
    app.clock = Clock::default();
    app.clock.advance_seconds(3_600);
    let ahead = app.add_node().await;
    let presence = &app.ctx(ahead).engine.presence;
    assert_eq!(presence.refresh(&Present::default()).await.gone, []);
    assert!(presence.online(&["ada".into()]).await.contains("ada"));
    app.stop().await;
}

#[tokio::test]
async fn watchers_are_counted_together() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    lobby(&app, &["ada", "grace"]).await;
    let (ada, grace) = (app.user_at(0, "ada"), app.user_at(1, "grace"));
    let (mut ear, there) = (ada.listen().await, grace.listen().await);
    assert_eq!(watch(&ada).await["watcher_count"], 1);
    assert_eq!(watch(&grace).await["watcher_count"], 2);
    let event = ear.hear_where("user.watching.start", |event| event["user"]["id"] == "grace").await;
    assert_eq!(event["watcher_count"], 2);
    there.leave().await;
    assert_eq!(ear.hear("user.watching.stop").await["watcher_count"], 1);
    app.stop().await;
}

/// A balancer sends the call to one node and the socket to the other.
#[tokio::test]
async fn a_socket_elsewhere_watches_all_the_same() {
    for engine in [Engine::Redis, Engine::RedisCluster] {
        let app = App::start_with(engine, 2, &[]).await;
        lobby(&app, &["ada", "grace"]).await;
        let grace = app.user_at(1, "grace");
        let mut ear = grace.listen().await;
        let elsewhere = grace.at(&app.base(0));
        watch(&elsewhere).await;
        let ada = app.user_at(0, "ada");
        ada.say(LOBBY, "hello").await;
        ear.hear("message.new").await;
        elsewhere.post("/channels/messaging/lobby/stop-watching", json!({})).await.ok();
        ada.say(LOBBY, "again").await;
        ear.hear_where("notification.message_new", |event| event["message"]["text"] == "again").await;
        app.stop().await;
    }
}

/// What is forbidden at one node is forbidden at the other at once, whatever that one had in its cache.
#[tokio::test]
async fn rules_hold_everywhere() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    lobby(&app, &["ada", "grace"]).await;
    let grace = app.user_at(1, "grace");
    let mut ear = grace.listen().await;
    watch(&grace).await;
    grace.say(LOBBY, "I am a member").await;
    app.server_at(0).post("/channels/messaging/lobby", json!({"remove_members": ["grace"]})).await.ok();
    // The word of it goes the way that caches are told.
    ear.hear("member.removed").await;
    let send = json!({"message": {"text": "still here?"}});
    assert_eq!(grace.post("/channels/messaging/lobby/message", send).await.refused(), (403, 17));
    let revoked = app.clock.now().plus_seconds(1).to_string();
    let revoke = json!({"users": [{"id": "grace", "set": {"revoke_tokens_issued_before": revoked}}]});
    app.server_at(0).patch("/users", revoke).await.ok();
    ear.closed().await;
    assert_eq!(grace.get("/app").await.refused(), (401, 40));
    app.stop().await;
}

/// A node that leaves tells its sockets, and their users are offline everywhere.
#[tokio::test]
async fn a_node_drains() {
    let mut app = App::start_with(Engine::Redis, 2, &[]).await;
    lobby(&app, &["ada", "grace"]).await;
    let ada = app.user_at(0, "ada");
    let mut ear = ada.listen().await;
    ada.query("/users", json!({"filter_conditions": {"id": "grace"}, "presence": true})).await.ok();
    let grace = app.user_at(1, "grace");
    let mut there = grace.listen().await;
    ear.hear("user.presence.changed").await;
    grace.say(LOBBY, "before").await;
    app.drain_node(1).await;
    assert_eq!(there.closed().await, Some(1012));
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], false);
    // The client comes back elsewhere and catches up.
    let grace = app.user_at(0, "grace");
    ada.say(LOBBY, "meanwhile").await;
    let ear = grace.listen().await;
    assert_eq!(ear.me()["total_unread_count"], 1);
    app.stop().await;
}
