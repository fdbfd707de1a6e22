//! Who is pushed a message, and who is not.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use testkit::{App, Engine};

use crate::service::{Browser, Service};
use crate::{lobby, say, send, start, subscribed};

/// A lobby in which ada writes. Everybody has a browser, and `witness` is pushed whatever is pushed at all.
struct Stage {
    app: App,
    service: Service,
    browsers: HashMap<String, Browser>,
}

impl Stage {
    async fn set(engine: Engine, members: &[&str]) -> Self {
        let (app, service) = start(engine).await;
        let everybody: Vec<&str> = ["ada", "witness"].into_iter().chain(members.iter().copied()).collect();
        let mut browsers = HashMap::new();
        for user in &everybody {
            browsers.insert((*user).to_owned(), subscribed(&app, &service, user).await);
        }
        lobby(&app, &everybody).await;
        Self { app, service, browsers }
    }

    /// Who was pushed which message until now. A last message is sent and waited for: what was said before it has been decided
    /// before it, and is either still to be sent (in the table) or has come (at the service).
    async fn pushed(&mut self) -> BTreeSet<(String, String)> {
        let last = say(&self.app, "ada", "the last one").await;
        let mut come = Vec::new();
        loop {
            let pushed = self.service.next().await;
            let (user, message) = self.read(&pushed);
            let is_last = (user.as_str(), message.as_str()) == ("witness", last.as_str());
            come.push((user, message));
            if is_last {
                break;
            }
        }
        let waiting = self
            .app
            .ask("SELECT s.user_id || ' ' || d.message_id FROM push_deliveries d JOIN push_subscriptions s ON s.id = d.subscription_id")
            .await;
        let waiting = waiting.iter().map(|row| row.split_once(' ').unwrap());
        come.extend(waiting.map(|(user, message)| (user.to_owned(), message.to_owned())));
        let rest = self.service.rest();
        come.extend(rest.iter().map(|pushed| self.read(pushed)));
        come.into_iter().filter(|(user, message)| user != "witness" && *message != last).collect()
    }

    fn read(&self, pushed: &crate::service::Pushed) -> (String, String) {
        let said = self.browsers[&pushed.browser].read(pushed);
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        (text("receiver_id"), text("message_id"))
    }
}

fn pairs(expected: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    expected.iter().map(|(user, message)| ((*user).to_owned(), (*message).to_owned())).collect()
}

async fn members_who_are_away_are_pushed(engine: Engine) {
    let mut stage = Stage::set(engine, &["grace", "online", "deaf", "sulking"]).await;
    let app = &stage.app;
    for user in ["stranger", "invited"] {
        let browser = subscribed(app, &stage.service, user).await;
        stage.browsers.insert(user.into(), browser);
    }
    app.server().post("/channels/messaging/lobby", json!({"invites": ["invited"]})).await.ok();
    let mute = json!({"channel_cid": "messaging:lobby"});
    app.user_at(0, "deaf").post("/moderation/mute/channel", mute).await.ok();
    app.user_at(0, "sulking").post("/moderation/mute", json!({"target_ids": ["ada"]})).await.ok();
    let ear = app.user_at(0, "online").listen().await;
    let first = say(app, "ada", "who is there?").await;
    assert_eq!(stage.pushed().await, pairs(&[("grace", &first)]));
    // Whoever leaves is away, and who comes back is not.
    ear.leave().await;
    let app = &stage.app;
    let _ear = app.user_at(0, "grace").listen().await;
    app.server().post("/channels/messaging/lobby", json!({"remove_members": ["deaf"]})).await.ok();
    let second = say(app, "ada", "and now?").await;
    let new = stage.pushed().await.into_iter().filter(|(_, message)| *message == second).collect::<BTreeSet<_>>();
    assert_eq!(new, pairs(&[("online", &second)]));
    stage.app.stop().await;
}

#[tokio::test]
async fn in_memory_members_who_are_away_are_pushed() {
    Box::pin(members_who_are_away_are_pushed(Engine::Memory)).await;
}

#[tokio::test]
async fn on_redis_members_who_are_away_are_pushed() {
    Box::pin(members_who_are_away_are_pushed(Engine::Redis)).await;
}

#[tokio::test]
async fn quiet_messages_are_not_pushed() {
    let mut stage = Stage::set(Engine::Memory, &["grace", "eve"]).await;
    let app = &stage.app;
    app.sql("UPDATE members SET shadow_banned = true WHERE user_id = 'eve'").await;
    send(app, "ada", json!({"silent": true}), json!({})).await;
    send(app, "ada", json!({}), json!({"skip_push": true})).await;
    send(app, "eve", json!({}), json!({})).await;
    let system = json!({"message": {"text": "moved", "type": "system", "user_id": "ada"}});
    app.server().post("/channels/messaging/lobby/message", system).await.ok();
    let restricted = json!({"message": {"text": "psst", "user_id": "ada", "restricted_visibility": ["grace"]}});
    let sent = app.server().post("/channels/messaging/lobby/message", restricted).await.ok();
    let for_grace = sent["message"]["id"].as_str().unwrap();
    assert_eq!(stage.pushed().await, pairs(&[("grace", for_grace)]));
    let app = &stage.app;
    app.server().put("/channeltypes/messaging", json!({"push_notifications": false})).await.ok();
    say(app, "ada", "shh").await;
    app.server().put("/channeltypes/messaging", json!({"push_notifications": true})).await.ok();
    stage.app.stop().await;
}

#[tokio::test]
async fn replies_are_for_those_who_take_part() {
    let mut stage = Stage::set(Engine::Memory, &["author", "replier", "named", "other"]).await;
    let app = &stage.app;
    let parent = say(app, "author", "a question").await;
    let reply = async |author: &str, more: Value| {
        let mut message = json!({"parent_id": parent, "text": "an answer"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        send(app, author, message, json!({})).await
    };
    let first = reply("replier", json!({})).await;
    let second = reply("replier", json!({"mentioned_users": ["named"]})).await;
    let shown = reply("replier", json!({"show_in_channel": true})).await;
    let expected = pairs(&[
        ("ada", &parent),
        ("replier", &parent),
        ("named", &parent),
        ("other", &parent),
        ("author", &first),
        ("author", &second),
        ("named", &second),
        ("ada", &shown),
        ("author", &shown),
        ("named", &shown),
        ("other", &shown),
    ]);
    assert_eq!(stage.pushed().await, expected);
    stage.app.stop().await;
}

#[tokio::test]
async fn everybody_is_pushed_what_they_want() {
    let mut stage = Stage::set(Engine::Memory, &["all", "named", "group", "none", "here", "paused", "resumed"]).await;
    let app = &stage.app;
    let cid = "messaging:lobby";
    let soon = app.ctx(0).clock.now().plus_seconds(3_600);
    let preferences = json!({"preferences": [
        {"user_id": "all", "chat_level": "none"},
        {"user_id": "all", "chat_level": "default"},
        {"user_id": "named", "chat_level": "direct_mentions"},
        {"user_id": "group", "chat_level": "mentions"},
        {"user_id": "none", "chat_level": "none"},
        {"user_id": "here", "chat_level": "none"},
        {"user_id": "here", "channel_cid": cid, "chat_level": "all"},
        {"user_id": "paused", "disabled_until": soon},
        {"user_id": "resumed", "channel_cid": cid, "disabled_until": soon},
        {"user_id": "resumed", "channel_cid": cid, "remove_disable": true},
    ]});
    let answer = app.server().post("/push_preferences", preferences).await.ok();
    assert_eq!(answer["user_preferences"]["none"], json!({"chat_level": "none"}));
    assert_eq!(answer["user_channel_preferences"]["here"][cid], json!({"chat_level": "all"}));
    assert_eq!(
        (&answer["user_preferences"]["all"], &answer["user_channel_preferences"]["resumed"][cid]),
        (&json!({}), &json!({}))
    );
    let plain = say(app, "ada", "hello").await;
    let direct = send(app, "ada", json!({"mentioned_users": ["named", "group", "none"]}), json!({})).await;
    let loud = send(app, "ada", json!({"mentioned_channel": true}), json!({})).await;
    let mut expected = BTreeSet::new();
    for message in [&plain, &direct, &loud] {
        expected.extend(pairs(&[("all", message), ("here", message), ("resumed", message)]));
    }
    expected.extend(pairs(&[("named", &direct), ("group", &direct), ("group", &loud)]));
    assert_eq!(stage.pushed().await, expected);
    // A pause ends by itself.
    stage.app.clock.advance_seconds(3_601);
    let later = say(&stage.app, "ada", "good evening").await;
    assert!(stage.pushed().await.contains(&("paused".into(), later)));
    stage.app.stop().await;
}
