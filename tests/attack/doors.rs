//! When does it no longer hear: rights end on sockets soon, however far away Redis is, and whatever came in between.

use std::time::Duration;

use futures_util::future::join_all;
use millrace::engine::Topic;
use millrace::events::{Event, Touched};
use millrace::store::events::{LogEntry, LogPosition};
use serde_json::{Value, json};
use testkit::{App, Ear, Engine, PATIENCE, Person, Proxy, on_both_engines, services};
use tokio::time::timeout;

use crate::redis_away::behind_a_proxy;
use crate::{channel, path, watch};

/// So many round trips to Redis, one after the other, are more than anybody waits for.
const MANY: usize = 50;
/// Each way, and less than a time-out for both.
const FAR: Duration = Duration::from_millis(350);

/// Makes users.
async fn make(app: &App, ids: &[String]) {
    let users: serde_json::Map<_, _> = ids.iter().map(|id| (id.clone(), json!({"id": id}))).collect();
    app.server().post("/users", json!({"users": users})).await.ok();
}

/// Users at a node with sockets that watch a channel.
async fn watchers(app: &App, node: usize, ids: &[String], cid: &str) -> Vec<Ear> {
    let ears = ids.iter().map(async |id| {
        let person = app.user_at(node, id);
        let ear = person.listen().await;
        watch(&person, cid).await;
        ear
    });
    join_all(ears).await
}

/// Waits until none of these sockets watches anything.
async fn until_unwatched(app: &App, node: usize, ears: &[Ear]) {
    let realtime = &app.ctx(node).realtime;
    for ear in ears {
        let watched = async { while !realtime.watched(ear.connection_id()).await.is_empty() {} };
        timeout(PATIENCE, watched).await.unwrap_or_else(|_| panic!("{} watches no more", ear.person));
    }
}

async fn patch(server: &Person, cid: &str, set: Value) {
    server.patch(&path(cid), json!({"set": set})).await.ok();
}

/// Those who watched a disabled channel hear no more, and a revoked socket closes beside them.
#[tokio::test]
async fn rights_end_while_redis_is_far_away() {
    let (app, proxy) = behind_a_proxy(1).await;
    let [ada, linus] = app.people(["ada", "linus"]).await;
    channel(&app, "livestream:stage", &["ada"]).await;
    let ids: Vec<String> = (0..MANY).map(|number| format!("user{number}")).collect();
    make(&app, &ids).await;
    let ears = watchers(&app, 0, &ids, "livestream:stage").await;
    let (_ada, mut linus_hears) = (ada.listen().await, linus.listen().await);
    proxy.delay(FAR);
    patch(&app.server(), "livestream:stage", json!({"disabled": true})).await;
    until_unwatched(&app, 0, &ears[..1]).await;
    let now = app.clock.now().plus_seconds(60).to_string();
    let revoked = json!({"users": [{"id": "linus", "set": {"revoke_tokens_issued_before": now}}]});
    app.server().patch("/users", revoked).await.ok();
    linus_hears.closed().await;
    until_unwatched(&app, 0, &ears).await;
    // The engine is told in the end.
    let presence = &app.ctx(0).engine.presence;
    let key = app.ask("SELECT id::text FROM channels").await[0].parse().unwrap();
    let counted = async { while presence.watcher_counts(&[key]).await != [0] {} };
    timeout(PATIENCE, counted).await.expect("nobody is counted");
    app.stop().await;
}

/// Removing many members at once is answered, they hear no more on any node, and nobody else waits for that.
#[tokio::test]
async fn many_members_leave_while_redis_is_far_away() {
    let (app, proxy) = behind_a_proxy(2).await;
    app.people(["ada", "linus"]).await;
    let ids: Vec<String> = (0..MANY).map(|number| format!("user{number}")).collect();
    make(&app, &ids).await;
    let members: Vec<&str> = ["ada"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    channel(&app, "messaging:crowd", &members).await;
    let ears = [watchers(&app, 0, &ids, "messaging:crowd").await, watchers(&app, 1, &ids, "messaging:crowd").await];
    let mut linus = app.user_at(1, "linus").listen().await;
    proxy.delay(FAR);
    app.server().post(&path("messaging:crowd"), json!({"remove_members": ids})).await.ok();
    channel(&app, "messaging:other", &["ada", "linus"]).await;
    linus.hear("notification.added_to_channel").await;
    for (node, ears) in ears.iter().enumerate() {
        until_unwatched(&app, node, ears).await;
    }
    app.stop().await;
}

/// A node that is far from Redis has much to join: what is taken from others there is taken at once.
#[tokio::test]
async fn joining_many_channels_keeps_nobody_in() {
    const CHANNELS: usize = 300;
    let mut app = App::start_with(Engine::Redis, 1, &[]).await;
    let proxy = Proxy::before(&services::redis_url()).await;
    let url = format!("redis://{}", proxy.address());
    let far = app.add_node_with(&[("REDIS_URL", &url)]).await;
    let [ada, ..] = app.people(["ada", "grace", "eve", "linus"]).await;
    channel(&app, "messaging:lobby", &["ada", "grace"]).await;
    let (grace, mut eve) = (app.user_at(far, "grace"), app.user_at(far, "eve").listen().await);
    let hers = [grace.listen().await];
    watch(&grace, "messaging:lobby").await;
    let mut linus = app.user_at(far, "linus").listen().await;
    proxy.delay(FAR);
    let cids: Vec<String> = (0..CHANNELS).map(|number| format!("messaging:new{number}")).collect();
    for some in cids.chunks(10) {
        join_all(some.iter().map(|cid| channel(&app, cid, &["ada", "linus"]))).await;
    }
    app.server().post(&path("messaging:lobby"), json!({"remove_members": ["grace"]})).await.ok();
    let now = app.clock.now().plus_seconds(60).to_string();
    let revoked = json!({"users": [{"id": "eve", "set": {"revoke_tokens_issued_before": now}}]});
    app.server().patch("/users", revoked).await.ok();
    eve.closed().await;
    until_unwatched(&app, far, &hers).await;
    assert_eq!(
        grace
            .post(&format!("{}/message", path("messaging:lobby")), json!({"message": {"text": "?"}}))
            .await
            .refused()
            .0,
        403
    );
    // Whoever has heard that it belongs to a channel hears all that follows.
    let last = cids.last().unwrap();
    linus.hear_where("notification.added_to_channel", |event| event["cid"] == last.as_str()).await;
    ada.say(last, "welcome").await;
    linus.hear_where("notification.message_new", |event| event["cid"] == last.as_str()).await;
    app.stop().await;
}

/// Who comes back while others are still being told that it went is there.
#[tokio::test]
async fn who_comes_back_at_once_is_online() {
    let (app, proxy) = behind_a_proxy(1).await;
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(&app, "messaging:lobby", &["ada", "grace"]).await;
    let (mut ear, first) = (ada.listen().await, grace.listen().await);
    ada.query("/users", json!({"filter_conditions": {"id": "grace"}, "presence": true})).await.ok();
    watch(&ada, "messaging:lobby").await;
    watch(&grace, "messaging:lobby").await;
    proxy.delay(Duration::from_millis(200));
    drop(first);
    let realtime = &app.ctx(0).realtime;
    timeout(PATIENCE, async {
        while realtime.is_here("grace") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the socket is gone");
    let _second = grace.listen().await;
    // Whoever told this has told the engine that grace went, if at all.
    ear.hear("user.watching.stop").await;
    let presence = &app.ctx(0).engine.presence;
    assert!(presence.online(&["grace".into()]).await.contains("grace"));
    let heard = ear.heard(&app.server()).await;
    let told = heard.iter().rev().find(|event| event["type"] == "user.presence.changed");
    assert!(told.is_none_or(|event| event["user"]["online"] == true), "{told:?}");
    app.stop().await;
}

/// A channel that is closed and opened and closed again is closed; so it is if nobody looked while it was open.
async fn what_is_taken_twice_is_gone_twice(app: &App) {
    let server = app.server();
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let admin = json!({"users": [{"id": "ada", "set": {"role": "admin"}}]});
    server.patch("/users", admin).await.ok();
    let no_grants = json!({"grants": {"channel_member": ["!read-channel"], "user": ["!read-channel-owner"]}});
    for (cid, closed, open, reopen) in [
        ("messaging:disabled", json!({"disabled": true}), json!({"disabled": false}), "disabled = false"),
        (
            "messaging:grants",
            json!({"config_overrides": no_grants}),
            json!({"config_overrides": {}}),
            "config_overrides = '{}'",
        ),
    ] {
        channel(app, cid, &["ada", "grace"]).await;
        // Where an admin may read it all the same, somebody is there all the time.
        let (ear, _stays) = ([grace.listen().await], ada.listen().await);
        watch(&ada, cid).await;
        for _ in 0..2 {
            watch(&grace, cid).await;
            patch(&server, cid, closed.clone()).await;
            until_unwatched(app, 0, &ear).await;
            patch(&server, cid, open.clone()).await;
        }
        patch(&server, cid, closed.clone()).await;
        // Between two changes that are looked at as one.
        let statement: &'static str = Box::leak(format!("UPDATE channels SET {reopen}").into_boxed_str());
        app.sql(statement).await;
        for key in app.ask("SELECT id::text FROM channels").await {
            app.ctx(0).caches.forget(Touched::Channel(key.parse().unwrap())).await;
        }
        watch(&grace, cid).await;
        patch(&server, cid, closed).await;
        until_unwatched(app, 0, &ear).await;
    }
}

/// What the log says about grace from a position on.
async fn told_of_grace(app: &App, from: LogPosition) -> Vec<Event> {
    let store = &app.ctx(0).store;
    let entries = store.log_after(from, 100).await.unwrap().entries;
    let hers = entries.iter().filter(|entry| entry.subject.as_deref() == Some("grace"));
    store.events_at(&hers.map(LogEntry::position).collect::<Vec<_>>()).await.unwrap().0
}

/// Nodes hear of several changes in any order: an earlier one that comes last is past.
async fn what_is_heard_late_undoes_nothing(app: &App) {
    let (server, ctx) = (app.server(), app.ctx(0));
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let key: i64 = app.ask("SELECT id::text FROM channels").await[0].parse().unwrap();
    let mut ear = grace.listen().await;
    let change = async |change: Value| {
        let from = ctx.store.log_end().await.unwrap();
        server.post(&path("messaging:lobby"), change).await.ok();
        told_of_grace(app, from).await
    };
    let removed = change(json!({"remove_members": ["grace"]})).await;
    let added = change(json!({"add_members": ["grace"]})).await;
    assert!(!removed.is_empty() && !added.is_empty());
    for event in removed {
        ctx.announcer.hear(event).await;
    }
    ada.say("messaging:lobby", "hello").await;
    ear.hear("notification.message_new").await;
    change(json!({"remove_members": ["grace"]})).await;
    for event in added {
        // As a node hears it that has not heard it before.
        ctx.announcer.hear(Event { id: None, ..event }).await;
    }
    let ended = async {
        while ctx.realtime.wants(&Topic::Channel(key)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.expect("nobody here belongs to it");
}

/// That nothing can be read is no reason to think that nothing may be.
async fn who_leaves_while_postgres_is_away_is_looked_at_again(app: &App) {
    let [_, grace] = app.people(["ada", "grace"]).await;
    channel(app, "livestream:stage", &["ada", "grace"]).await;
    let ear = [grace.listen().await];
    watch(&grace, "livestream:stage").await;
    let ctx = app.ctx(0);
    let watched = ctx.realtime.watched(ear[0].connection_id()).await;
    app.sql("ALTER TABLE channels RENAME TO channels_away").await;
    let mut left = Event::internal("member.removed", app.clock.now());
    (left.channel_id, left.subject) = (watched.first().copied(), Some("grace".into()));
    ctx.announcer.tell(vec![left]).await;
    assert_eq!(ctx.realtime.watched(ear[0].connection_id()).await, watched);
    // Nobody tells of this.
    app.sql("UPDATE channels_away SET disabled = true").await;
    app.sql("ALTER TABLE channels_away RENAME TO channels").await;
    until_unwatched(app, 0, &ear).await;
}

on_both_engines!(
    what_is_taken_twice_is_gone_twice,
    who_leaves_while_postgres_is_away_is_looked_at_again,
    what_is_heard_late_undoes_nothing
);
