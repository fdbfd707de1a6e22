//! Who is here: told in the order in which it was so, whichever node tells it and however far away Redis is, and told at last.

use std::time::Duration;

use millrace::events::Touched;
use serde_json::{Value, json};
use testkit::{App, Ear, Engine, PATIENCE, Person, Proxy, services};
use tokio::time::timeout;

use crate::redis_away::behind_a_proxy;
use crate::{channel, watch};

const LOBBY: &str = "messaging:lobby";
/// Each way, and less than a time-out for both.
const FAR: Duration = Duration::from_millis(350);

/// A node near Redis, and another one that is far from it.
async fn near_and_far() -> (App, usize, Proxy) {
    let mut app = App::start_with(Engine::Redis, 1, &[]).await;
    let proxy = Proxy::before(&services::redis_url()).await;
    let far = app.add_node_with(&[("REDIS_URL", &format!("redis://{}", proxy.address()))]).await;
    (app, far, proxy)
}

/// What somebody has heard of another one, to the last thing that a node has to tell of it.
async fn heard_of(app: &App, ear: &mut Ear, node: usize, user: &str, kinds: &[&str]) -> Vec<Value> {
    timeout(PATIENCE, app.ctx(node).tasks.unfinished()).await.expect("it tells all that it knows");
    let heard = ear.heard(&app.server_at(node)).await;
    let is_of = |event: &Value| kinds.iter().any(|kind| event["type"] == *kind) && event["user"]["id"] == user;
    heard.into_iter().filter(is_of).collect()
}

async fn follow(person: &Person, user: &str) {
    person.query("/users", json!({"filter_conditions": {"id": user}, "presence": true})).await.ok();
}

/// Who leaves a node that is far away and comes back to a near one is online, also to those who hear the first one last.
#[tokio::test]
async fn who_comes_back_elsewhere_is_online() {
    let (app, far, proxy) = near_and_far().await;
    let [ada, _] = app.people(["ada", "grace"]).await;
    let (mut ear, there) = (ada.listen().await, app.user_at(far, "grace").listen().await);
    follow(&ada, "grace").await;
    proxy.delay(FAR);
    drop(there);
    let presence = &app.ctx(0).engine.presence;
    let gone = async { while !presence.online(&["grace".into()]).await.is_empty() {} };
    timeout(PATIENCE, gone).await.expect("the other node says that grace is gone");
    let _here = app.user_at(0, "grace").listen().await;
    let heard = heard_of(&app, &mut ear, far, "grace", &["user.presence.changed"]).await;
    assert_eq!(heard.last().unwrap()["user"]["online"], true, "{heard:?}");
    app.stop().await;
}

/// The same for watching, and for how many do.
#[tokio::test]
async fn who_watches_again_elsewhere_watches() {
    let (app, far, proxy) = near_and_far().await;
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(&app, LOBBY, &["ada", "grace"]).await;
    let (mut ear, _here) = (ada.listen().await, grace.listen().await);
    watch(&ada, LOBBY).await;
    let elsewhere = app.user_at(far, "grace");
    let _there = elsewhere.listen().await;
    watch(&elsewhere, LOBBY).await;
    ear.hear("user.watching.start").await;
    proxy.delay(FAR);
    let key = app.ask("SELECT id::text FROM channels").await[0].parse().unwrap();
    let stop = async { elsewhere.post("/channels/messaging/lobby/stop-watching", json!({})).await.ok() };
    let again = async {
        let presence = &app.ctx(0).engine.presence;
        let stopped = async { while presence.watcher_counts(&[key]).await != [1] {} };
        timeout(PATIENCE, stopped).await.expect("the other node says that grace has stopped");
        watch(&grace, LOBBY).await;
    };
    tokio::join!(stop, again);
    let kinds = ["user.watching.start", "user.watching.stop"];
    let heard = heard_of(&app, &mut ear, far, "grace", &kinds).await;
    assert_eq!(heard.last().unwrap()["type"], "user.watching.start", "{heard:?}");
    ada.say(LOBBY, "hello").await;
    assert_eq!(ear.hear("message.new").await["watcher_count"], 2);
    // Who watches at two nodes and stops at one of them still does.
    watch(&elsewhere, LOBBY).await;
    elsewhere.post("/channels/messaging/lobby/stop-watching", json!({})).await.ok();
    let heard = heard_of(&app, &mut ear, far, "grace", &kinds).await;
    assert!(heard.is_empty(), "{heard:?}");
    app.stop().await;
}

/// Users of a node that has died are found gone while Postgres is away: others are told when it is back.
#[tokio::test]
async fn who_is_found_gone_while_postgres_is_away_is_told_later() {
    let (mut app, proxy) = behind_a_proxy(2).await;
    let [ada, _] = app.people(["ada", "grace"]).await;
    channel(&app, LOBBY, &["ada", "grace"]).await;
    let (mut ear, there) = (ada.listen().await, app.user_at(1, "grace"));
    let _there = there.listen().await;
    watch(&ada, LOBBY).await;
    watch(&there, LOBBY).await;
    follow(&ada, "grace").await;
    app.kill_node(1).await;
    app.sql("ALTER TABLE users RENAME TO users_away").await;
    app.ctx(0).caches.forget(Touched::User("grace")).await;
    assert_eq!(
        where_it_is(&app, "grace", "found = found + 1; redis.call('ZADD', set, 1, member)"),
        2,
        "its time is over"
    );
    // After it was away a node looks who is there.
    proxy.reset();
    let found = async {
        while where_it_is(&app, "grace", "found = found + 1") > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, found).await.expect("grace is found gone");
    ear.heard(&app.server()).await;
    app.sql("ALTER TABLE users_away RENAME TO users").await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], false);
    assert_eq!(ear.hear("user.watching.stop").await["watcher_count"], 1);
    app.stop().await;
}

/// Does something (in Lua) with each `member` of a `set` that says where a user is; gives back what it makes of `found`.
fn where_it_is(app: &App, user: &str, what: &str) -> i64 {
    let prefix = &app.ctx(0).config.redis.as_ref().unwrap().prefix;
    let script = format!(
        "local found = 0 \
         for _, set in ipairs(redis.call('KEYS', '*{prefix}:*:until')) do \
           for _, member in ipairs(redis.call('ZRANGE', set, 0, -1)) do \
             if string.find(member, '{user}|', 1, true) == 1 then {what} end \
           end \
         end \
         return found"
    );
    let answer = services::ask_redis(&services::redis_url(), &format!("EVAL \"{script}\" 0"));
    answer.trim().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{answer}"))
}

/// Redis comes back with nothing in it: all that a node knows is there again.
#[tokio::test]
async fn an_empty_redis_learns_who_is_here() {
    let (app, proxy) = behind_a_proxy(2).await;
    let [ada, _] = app.people(["ada", "grace"]).await;
    channel(&app, LOBBY, &["ada", "grace"]).await;
    let (grace, presence) = (app.user_at(1, "grace"), &app.ctx(0).engine.presence);
    let (_hers, mut ear) = (ada.listen().await, grace.listen().await);
    watch(&ada, LOBBY).await;
    watch(&grace, LOBBY).await;
    let key = app.ask("SELECT id::text FROM channels").await[0].parse().unwrap();
    let prefix = &app.ctx(0).config.redis.as_ref().unwrap().prefix;
    let empty = format!("for _, key in ipairs(redis.call('KEYS', '*{prefix}:*')) do redis.call('DEL', key) end");
    services::ask_redis(&services::redis_url(), &format!("EVAL \"{empty}\" 0"));
    assert_eq!(presence.watcher_counts(&[key]).await, [0]);
    proxy.reset();
    let known = async {
        let both = ["ada".to_owned(), "grace".to_owned()];
        while presence.online(&both).await.len() < 2 || presence.watcher_counts(&[key]).await != [2] {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, known).await.expect("both are online and watch");
    let typing = json!({"event": {"type": "typing.start"}});
    let heard = async {
        loop {
            ada.post("/channels/messaging/lobby/event", typing.clone()).await.ok();
            let next = ear.next_within(Duration::from_millis(200)).await;
            if next.is_some_and(|event| event["type"] == "typing.start") {
                return;
            }
        }
    };
    timeout(PATIENCE, heard).await.expect("the bus carries what is in no log");
    app.stop().await;
}
