//! Redis away, slow, or standing still: late, never wrong, and nobody waits for it twice.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use millrace::engine::{Present, Refreshed};
use serde_json::json;
use testkit::app::API_SECRET;
use testkit::client::user_token;
use testkit::{App, Engine, PATIENCE, Person, Proxy, services};

use crate::rooms::{get, room_socket};
use crate::{channel, watch};

/// Nodes that reach Redis through a proxy.
pub async fn behind_a_proxy(nodes: usize) -> (App, Proxy) {
    let proxy = Proxy::before(&services::redis_url()).await;
    let url = format!("redis://{}", proxy.address());
    let settings = [("REDIS_URL", url.as_str()), ("MILLRACE_ROOMS__ENABLED", "true")];
    (App::start_with(Engine::Redis, nodes, &settings).await, proxy)
}

/// Waits until a node says of itself what it is like.
async fn until_ready_is(app: &App, node: usize, words: &str) {
    let client = app.server_at(node).client;
    let is_so = async {
        while client.call("GET".parse().unwrap(), "/readyz", &[], None).await.unwrap().text.trim() != words {
            // Somebody has to ask for something: that is how a node finds out.
            app.ctx(node).engine.presence.online(&["ada".to_owned()]).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_so).await.unwrap_or_else(|_| panic!("node {node} is {words}"));
}

/// Everything that would ask Redis, on one node. Gives back how many calls that is.
async fn one_of_each(person: &Person, cid: &str) -> u32 {
    drop(person.listen().await);
    let ear = person.listen().await;
    watch(person, cid).await;
    let list = json!({"filter_conditions": {"cid": cid}, "watch": true, "presence": true});
    person.post("/channels", list).await.ok();
    person.query("/users", json!({"filter_conditions": {"id": person.id}, "presence": true})).await.ok();
    let state = json!({"state": true, "watchers": {"limit": 10}});
    person.post(&format!("/channels/{}/query", cid.replace(':', "/")), state).await.ok();
    person.post("/channels/messaging/other/stop-watching", json!({})).await.ok();
    person.say(cid, "hello").await;
    drop(ear);
    8
}

/// After the first time-out nobody waits; messages go from node to node by the log; and when Redis is back, all is as before.
#[tokio::test]
async fn who_waited_in_vain_speaks_for_all() {
    let (app, proxy) = behind_a_proxy(2).await;
    let [ada, _grace] = app.people(["ada", "grace"]).await;
    let grace = app.user_at(1, "grace");
    for cid in ["messaging:lobby", "messaging:other", "messaging:third"] {
        channel(&app, cid, &["ada", "grace"]).await;
    }
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    proxy.stall();
    until_ready_is(&app, 0, "ready, without redis").await;
    until_ready_is(&app, 1, "ready, without redis").await;

    let start = Instant::now();
    let mut calls = 0;
    for _ in 0..3 {
        calls += one_of_each(&ada, "messaging:third").await;
        calls += one_of_each(&grace, "messaging:other").await;
    }
    // A time-out is a second: each of these calls took several of them.
    assert!(start.elapsed() < Duration::from_secs(1) * calls / 4, "{calls} calls took {:?}", start.elapsed());
    let mut new = grace.listen().await;
    watch(&grace, "messaging:third").await;
    for cid in ["messaging:lobby", "messaging:third"] {
        ada.say(cid, "meanwhile").await;
    }
    ear.hear_where("message.new", |event| event["message"]["text"] == "meanwhile").await;
    new.hear_where("message.new", |event| event["message"]["text"] == "meanwhile").await;

    proxy.resume();
    until_ready_is(&app, 0, "ready").await;
    until_ready_is(&app, 1, "ready").await;
    // What was said while Redis was away is said again: the other node knows that grace is there.
    let knows = async {
        let asked = ["grace".to_owned()];
        while app.ctx(0).engine.presence.online(&asked).await.is_empty() {}
    };
    tokio::time::timeout(PATIENCE, knows).await.expect("grace is online everywhere");
    // Passing events are in no log: that one is heard means that the bus carries it.
    ada.listen().await;
    watch(&ada, "messaging:third").await;
    let typing = json!({"event": {"type": "typing.start"}});
    let heard = async {
        loop {
            ada.post("/channels/messaging/third/event", typing.clone()).await.ok();
            let next = new.next_within(Duration::from_millis(200)).await;
            if next.is_some_and(|event| event["type"] == "typing.start") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the bus carries again");
    app.stop().await;
}

/// Who has not been there before comes into a room all the same.
#[tokio::test]
async fn rooms_take_people_in() {
    let (app, proxy) = behind_a_proxy(1).await;
    app.person("ada").await;
    proxy.stall();
    until_ready_is(&app, 0, "ready, without redis").await;
    let token = user_token(API_SECRET, "ada");
    let session = get(&app, "/api/connection-id/", &token).await;
    assert!(session.body["connection_id"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{}", session.text);
    assert_eq!(get(&app, "/api/rooms/general/messages/", &token).await.status, 200);
    let (socket, heard) = room_socket(&app, &format!("/ws/general/?token={token}")).await;
    assert!(socket.is_some(), "{heard:?}");
    app.stop().await;
}

/// Connections that break, again and again, are made again.
#[tokio::test]
async fn broken_connections_are_made_again() {
    let (app, proxy) = behind_a_proxy(2).await;
    let [ada, _grace] = app.people(["ada", "grace"]).await;
    channel(&app, "messaging:lobby", &["ada", "grace"]).await;
    let grace = app.user_at(1, "grace");
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    for number in 0..5 {
        proxy.reset();
        let text = format!("number {number}");
        ada.say("messaging:lobby", &text).await;
        ear.hear_where("message.new", |event| event["message"]["text"] == text.as_str()).await;
        until_ready_is(&app, 0, "ready").await;
        until_ready_is(&app, 1, "ready").await;
    }
    app.stop().await;
}

/// A node says in time that its users are there, also where they watch many channels and Redis is some way off.
#[tokio::test]
async fn ten_thousand_watched_channels_are_refreshed_in_time() {
    const CHANNELS: i64 = 10_000;
    let (app, proxy) = behind_a_proxy(1).await;
    let presence = &app.ctx(0).engine.presence;
    for first in (0..CHANNELS).step_by(500) {
        join_all((first..first + 500).map(|channel| presence.watch(channel, "ada"))).await;
    }
    proxy.delay(Duration::from_millis(5));
    let watching = (0..CHANNELS).map(|channel| (channel, vec!["ada".to_owned()])).collect();
    let present = Present { watching, ..Present::default() };
    // One after the other, each of them takes ten milliseconds.
    let refreshed = tokio::time::timeout(PATIENCE, presence.refresh(&present)).await.expect("all are said again");
    assert_eq!(refreshed, Refreshed::default());
    app.stop().await;
}
