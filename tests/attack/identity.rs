//! Who is it, and whose is it: anonymous callers, roles, names, tokens, what development leaves open.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::API_KEY;
use testkit::client::sign;
use testkit::{App, Ear, Engine, PATIENCE, Person, on_both_engines};
use tokio::time::timeout;

use crate::rooms::{get, rooms};
use crate::{channel, path, watch};

/// Somebody without a token who gives itself a name.
fn nobody(app: &App, named: &str) -> Person {
    Person::new(named, app.stranger().client)
}

/// What an ear hears until something is said in a channel that it watches.
pub async fn heard_before(ear: &mut Ear, app: &App, cid: &str) -> Vec<Value> {
    heard_before_by(ear, app, cid, "host").await
}

pub async fn heard_before_by(ear: &mut Ear, app: &App, cid: &str, author: &str) -> Vec<Value> {
    let marker = json!({"message": {"text": "marker", "user_id": author}});
    app.server().post(&format!("{}/message", path(cid)), marker).await.ok();
    let mut heard = Vec::new();
    loop {
        let event = ear.next_within(PATIENCE).await.expect("the marker");
        if event["message"]["text"] == "marker" {
            return heard;
        }
        heard.push(event);
    }
}

async fn somebody_anonymous_is_nobody(app: &App) {
    let [alice, _] = app.people(["alice", "bob"]).await;
    app.server().post("/users", json!({"users": {"root": {"id": "root", "role": "admin"}}})).await.ok();
    channel(app, "messaging:secret", &["alice", "bob"]).await;
    channel(app, "livestream:show", &["alice"]).await;
    let said = alice.say("messaging:secret", "only for bob").await;
    let shown = alice.say("livestream:show", "for all").await;
    let [said, shown] = [said, shown].map(|message| message["id"].as_str().unwrap().to_owned());
    for name in ["alice", "root"] {
        let thief = nobody(app, name);
        for (method, path, body) in [
            ("POST", "/channels/messaging/secret/query", json!({})),
            ("GET", &*format!("/messages/{said}"), json!(null)),
            ("POST", "/channels/messaging/secret/message", json!({"message": {"text": "I am alice"}})),
            ("POST", &format!("/messages/{said}"), json!({"message": {"text": "changed"}})),
            ("DELETE", "/channels/messaging/secret", json!(null)),
            ("DELETE", "/channels/livestream/show", json!(null)),
            ("POST", "/channels/livestream/show/message", json!({"message": {"text": "I am alice"}})),
            ("DELETE", &format!("/messages/{shown}"), json!(null)),
            ("POST", "/channels/livestream/show", json!({"data": {"name": "mine"}})),
            ("PATCH", "/channels/livestream/show", json!({"set": {"name": "mine"}})),
            ("POST", "/channels/livestream/show", json!({"add_members": [name]})),
            ("PATCH", "/channels/livestream/show/member", json!({"set": {"nick": "a"}})),
            ("POST", "/channels/livestream/show/truncate", json!({})),
            ("POST", "/channels/livestream/show/hide", json!({})),
            ("POST", "/channels/livestream/show/show", json!({})),
            ("POST", "/channels/livestream/show/read", json!({})),
            ("POST", "/channels/livestream/show/unread", json!({"message_id": shown})),
            ("POST", "/channels/livestream/show/event", json!({"event": {"type": "typing.start"}})),
            ("POST", "/channels/livestream/show/event", json!({"event": {"type": "wave"}})),
            ("POST", "/channels/livestream/show/draft", json!({"message": {"text": "draft"}})),
            ("GET", "/channels/livestream/show/draft", json!(null)),
            ("DELETE", "/channels/livestream/show/draft", json!(null)),
            ("POST", "/drafts/query", json!({})),
            ("POST", "/channels/livestream/fresh/query", json!({"data": {"members": [name]}})),
            ("POST", &format!("/messages/{shown}/reaction"), json!({"reaction": {"type": "like"}})),
            ("POST", "/channels/read", json!({})),
            ("POST", "/channels/delivered", json!({"latest_delivered_messages": []})),
            ("GET", "/unread", json!(null)),
            ("POST", "/unread_batch", json!({"user_ids": ["alice"]})),
            ("POST", "/moderation/mute", json!({"target_id": "bob"})),
            ("POST", "/moderation/unmute", json!({"target_id": "bob"})),
            ("POST", "/moderation/mute/channel", json!({"channel_cid": "livestream:show"})),
            ("POST", "/moderation/unmute/channel", json!({"channel_cid": "livestream:show"})),
            ("POST", "/devices", json!({"id": "d", "push_provider": "firebase"})),
            ("GET", "/devices", json!(null)),
            ("DELETE", "/devices?id=d", json!(null)),
            ("POST", "/push_preferences", json!({"preferences": [{"chat_level": "none"}]})),
            ("POST", "/users", json!({"users": {name: {"id": name, "name": "stolen"}}})),
            ("PATCH", "/users", json!({"users": [{"id": name, "set": {"name": "stolen"}}]})),
            ("GET", "/users?payload=%7B%22filter_conditions%22%3A%7B%7D%7D", json!(null)),
            ("PATCH", "/app", json!({})),
        ] {
            let body = Some(body).filter(|body| !body.is_null());
            let refused = thief.call(method, path, &[], body).await.refused();
            assert!([403, 404].contains(&refused.0) || refused == (400, 4), "{method} {path}: {refused:?}");
        }
        let file = thief.upload("/channels/livestream/show/file", "a.txt", "text/plain", b"mine").await;
        assert_eq!(file.refused(), (403, 17));
        // What is open to everybody is, and nothing that a private channel says.
        thief.post("/channels/livestream/show/query", json!({})).await.ok();
        let missed =
            thief.post("/sync", json!({"channel_cids": ["messaging:secret"], "last_sync_at": "2026-01-01T00:00:00Z"}));
        assert_eq!(missed.await.refused().0, 400);
        assert_eq!(
            thief.post("/channels", json!({"filter_conditions": {"type": "messaging"}})).await.ok()["channels"],
            json!([])
        );
    }
    assert_eq!(alice.get(&format!("/messages/{said}")).await.ok()["message"]["text"], "only for bob");
    // Not even grants make it an author, nor an app that checks no permissions.
    let grants = json!({"anonymous": ["read-channel", "create-message", "create-reaction", "send-custom-event"]});
    app.server().put("/channeltypes/livestream", json!({"grants": grants})).await.ok();
    app.server().patch("/app", json!({"disable_permissions_checks": true})).await.ok();
    let thief = nobody(app, "alice");
    for (path, body) in [
        ("/channels/livestream/show/message", json!({"message": {"text": "I am alice"}})),
        (&*format!("/messages/{shown}/reaction"), json!({"reaction": {"type": "like"}})),
        ("/channels/livestream/show/event", json!({"event": {"type": "wave"}})),
    ] {
        assert_eq!(thief.post(path, body).await.refused(), (403, 17), "{path}");
    }
    let written = app.ask(
        "SELECT user_id FROM messages WHERE user_id LIKE '!%' UNION ALL SELECT user_id FROM members WHERE user_id LIKE '!%'
         UNION ALL SELECT id FROM users WHERE id LIKE '!%' UNION ALL SELECT user_id FROM reactions WHERE user_id LIKE '!%'",
    );
    assert!(written.await.is_empty());
}

async fn an_anonymous_socket_hears_nothing_of_a_later_user(app: &App) {
    app.people(["host", "bob"]).await;
    channel(app, "livestream:show", &["host"]).await;
    let squatter = nobody(app, "carol");
    let mut ear = squatter.listen().await;
    assert!(ear.me()["id"].as_str().unwrap().starts_with('!'), "{}", ear.me());
    watch(&squatter, "livestream:show").await;
    // Connecting does not tell who exists either: with the name of somebody it is the same.
    let other = nobody(app, "bob").listen().await;
    assert_eq!(other.me()["role"], "anonymous");
    let carol = app.person("carol").await;
    channel(app, "messaging:secret", &["bob", "carol"]).await;
    app.user_at(0, "bob").say("messaging:secret", "for carol").await;
    app.server().post("/users/carol/event", json!({"event": {"type": "private"}})).await.ok();
    app.server().patch("/users", json!({"users": [{"id": "carol", "set": {"name": "Carol"}}]})).await.ok();
    let hers = carol.listen().await;
    let heard = heard_before(&mut ear, app, "livestream:show").await;
    assert!(heard.iter().all(|event| event["cid"] == "livestream:show"), "{heard:#?}");
    // And a connection of one is not the other's.
    let taken = json!({"watch": true, "connection_id": hers.connection_id()});
    assert_eq!(squatter.post("/channels/livestream/show/query", taken).await.refused(), (400, 4));
}

async fn nobody_gives_itself_a_role(app: &App) {
    let [mallory, _] = app.people(["mallory", "bob"]).await;
    let me = json!([{"user_id": "mallory", "channel_role": "channel_moderator"}]);
    for data in [json!({"members": me}), json!({"members": ["mallory"], "invites": me}), json!({"invites": me})] {
        let refused = mallory.post("/channels/messaging/mine/query", json!({"data": data})).await;
        assert_eq!(refused.refused(), (403, 17), "{data}");
    }
    let refused = mallory.post("/channels/messaging/query", json!({"data": {"members": me}})).await;
    assert_eq!(refused.refused(), (403, 17));
    // The role that everybody begins with may be named, as in a member that is sent back whole.
    let whole = json!([{"user_id": "mallory", "channel_role": "channel_member"}, "bob"]);
    mallory.post("/channels/messaging/mine/query", json!({"data": {"members": whole}})).await.ok();
    let bob = json!([{"user_id": "bob", "channel_role": "channel_moderator"}]);
    for change in [
        json!({"add_members": me}),
        json!({"invites": bob}),
        json!({"assign_roles": me}),
        json!({"add_moderators": ["mallory"]}),
        json!({"demote_moderators": ["bob"]}),
    ] {
        assert_eq!(mallory.post("/channels/messaging/mine", change.clone()).await.refused(), (403, 17), "{change}");
    }
    let partial = mallory.patch("/channels/messaging/mine/member", json!({"set": {"channel_role": "admin"}})).await;
    assert_eq!(partial.refused(), (400, 4));
    // Servers choose.
    app.server().post("/channels/messaging/mine", json!({"assign_roles": bob})).await.ok();
}

async fn a_message_along_obeys_the_rules(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let lobby = "/channels/messaging/lobby";
    app.server().post(lobby, json!({"invites": ["grace"]})).await.ok();
    let accept = |text: &str| json!({"accept_invite": true, "message": {"text": text}});
    app.server().patch(lobby, json!({"set": {"frozen": true}})).await.ok();
    assert_eq!(grace.post(lobby, accept("frozen")).await.refused(), (403, 17));
    app.server().patch(lobby, json!({"set": {"frozen": false, "cooldown": 60}})).await.ok();
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    grace.post(lobby, accept("here I am")).await.ok();
    // Again it is no news, and nothing is said.
    for _ in 0..3 {
        let again = grace.post(lobby, accept("again")).await.ok();
        assert!(again["message"].is_null(), "{again}");
    }
    assert_eq!(grace.post(lobby, json!({"reject_invite": true})).await.refused(), (400, 4));
    let heard = ear.heard(&app.server()).await;
    let count = |kind: &str| heard.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("message.new"), count("member.updated")), (1, 1), "{heard:#?}");
    // Slow mode holds for what goes along with other changes.
    let leave = |text: &str| json!({"remove_members": ["grace"], "message": {"text": text}});
    assert_eq!(grace.post(lobby, leave("too soon")).await.refused().0, 403);
    // So does everything else: bans, links, attachments.
    app.server().patch(lobby, json!({"set": {"cooldown": 0}})).await.ok();
    app.sql("UPDATE members SET banned = true WHERE user_id = 'grace'").await;
    app.server().patch(lobby, json!({"set": {"color": "red"}})).await.ok();
    app.clock.advance_seconds(60);
    let banned = timeout(PATIENCE, async {
        // The membership in the cache is as old as the answer above.
        loop {
            let refused = grace.post(lobby, leave("banned")).await;
            if !refused.answer.is_success() {
                return refused.refused();
            }
        }
    });
    assert_eq!(banned.await.unwrap(), (403, 17));
}

#[tokio::test]
async fn development_is_for_this_machine() {
    let secret = millrace::config::DEVELOPMENT_API_SECRET;
    let settings = [("MILLRACE_API_SECRET", secret), ("MILLRACE_DEMO", "true")];
    let app = App::start_with(Engine::Memory, 1, &settings).await;
    let port = app.base(0).rsplit_once(':').unwrap().1.to_owned();
    let local = format!("localhost:{port}");
    let page = format!("http://{local}");
    let session = "/demo/session.json";
    for (path, headers, welcome) in [
        (session, &[][..], true),
        (session, &[("host", local.as_str()), ("origin", page.as_str()), ("sec-fetch-site", "same-origin")][..], true),
        (session, &[("host", "evil.example")], false),
        (session, &[("host", "localhost.evil.example:8000")], false),
        (session, &[("origin", "https://evil.example")], false),
        (session, &[("origin", "null")], false),
        (session, &[("sec-fetch-site", "cross-site")], false),
        // Another page of this machine may call, but is not handed a token.
        (session, &[("host", local.as_str()), ("origin", "http://localhost:3000")], false),
        ("/healthz", &[("host", local.as_str()), ("origin", "http://localhost:3000")], true),
        ("/healthz", &[("origin", "https://evil.example")], false),
        ("/demo/app.js", &[("host", "evil.example")], false),
    ] {
        let answer = rooms(&app, Method::GET, path, "none", headers).await;
        assert_eq!(answer.is_success(), welcome, "{path} {headers:?}: {}", answer.text);
        assert!(welcome || !answer.text.contains("token\":"), "{}", answer.text);
    }
    // A page that has signed a token with the secret that everybody knows is as far as before.
    let foreign = [("origin", "https://evil.example")];
    let forged = sign(secret, &json!({"server": true}));
    let url = format!("/app?api_key={API_KEY}&stream-auth-type=jwt&authorization={forged}");
    assert_eq!(rooms(&app, Method::GET, &url, "none", &foreign).await.status, 403);
    app.stop().await;
}

#[tokio::test]
async fn metrics_are_not_for_everybody() {
    let token = "a token for prometheus";
    for (settings, with, without) in [
        (&[][..], 200, 200),
        (&[("MILLRACE_METRICS__TOKEN", token)], 200, 401),
        (&[("MILLRACE_LISTEN", "0.0.0.0:0")], 401, 401),
        (&[("MILLRACE_LISTEN", "0.0.0.0:0"), ("MILLRACE_METRICS__TOKEN", token)], 200, 401),
    ] {
        let app = App::start_with(Engine::Memory, 1, settings).await;
        assert_eq!(get(&app, "/metrics", token).await.status, with, "{settings:?}");
        assert_eq!(get(&app, "/metrics", "another token").await.status, without, "{settings:?}");
        // A page that has made its name mean this machine.
        let rebound = app.stranger().client;
        let rebound = rebound
            .request(Method::GET, "/metrics")
            .header("host", "evil.example")
            .header("origin", "http://evil.example");
        assert_eq!(app.stranger().client.send(rebound).await.unwrap().status, 401, "{settings:?}");
        app.stop().await;
    }
}

#[tokio::test]
async fn one_address_makes_few_guests() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let ask = async |from: &str| {
        let request = app.stranger().client.request(Method::POST, "/guest").json(&json!({"user": {"id": "visitor"}}));
        app.stranger().client.send(request.header("x-forwarded-for", from)).await.unwrap()
    };
    let mut made = 0;
    let refused = loop {
        let answer = ask("198.51.100.7").await;
        if !answer.is_success() {
            break answer;
        }
        made += 1;
    };
    assert_eq!((made, refused.status, refused.code()), (100, 429, 9));
    assert!(ask("203.0.113.9, 198.51.100.7").await.status == 429, "what the client wrote itself was believed");
    assert!(ask("198.51.100.8").await.is_success());
    app.stop().await;
}

on_both_engines!(
    somebody_anonymous_is_nobody,
    an_anonymous_socket_hears_nothing_of_a_later_user,
    nobody_gives_itself_a_role,
    a_message_along_obeys_the_rules,
);
