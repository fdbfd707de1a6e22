//! Drafts: saved, seen by their author only, gone with the message that they become.

use serde_json::{Value, json};
use testkit::{App, Engine, Person, on_both_engines, services};

use crate::{channel, lobby, pluck, state_of, watch};

const DRAFT: &str = "/channels/messaging/lobby/draft";
const SEND: &str = "/channels/messaging/lobby/message";

async fn save(person: &Person, message: Value) -> Value {
    person.post(DRAFT, json!({"message": message})).await.ok()["draft"].take()
}

async fn a_draft_is_kept_for_its_author(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    assert_eq!(ada.get(DRAFT).await.refused(), (404, 16));
    let first = json!({"id": "d1", "text": "hel", "color": "red", "mentioned_users": ["grace"], "attachments": [{"type": "image"}]});
    let saved = save(&ada, first).await;
    let message = &saved["message"];
    assert_eq!((&saved["channel_cid"], &message["id"]), (&json!("messaging:lobby"), &json!("d1")));
    assert_eq!((&message["color"], &message["mentioned_users"][0]["id"]), (&json!("red"), &json!("grace")));
    assert_eq!(ada.get(DRAFT).await.ok()["draft"], saved);
    // Saved whole: what is not said again is gone.
    save(&ada, json!({"id": "d1", "text": "hello"})).await;
    let found = ada.get(DRAFT).await.ok()["draft"].take();
    assert_eq!((&found["message"]["text"], found["message"].get("color")), (&json!("hello"), None));
    // Nobody else's, and a server's only for whom it names.
    assert_eq!(grace.get(DRAFT).await.refused(), (404, 16));
    assert_eq!(app.server().get(&format!("{DRAFT}?user_id=ada")).await.ok()["draft"], found);
    ada.delete(DRAFT).await.ok();
    assert_eq!(ada.get(DRAFT).await.refused(), (404, 16));
    ada.delete(DRAFT).await.ok();
    // Half a thought may be empty, but it may not be wrong.
    save(&ada, json!({"text": ""})).await;
    assert_eq!(ada.post(DRAFT, json!({"message": {"text": "x".repeat(5_001)}})).await.refused(), (400, 20));
    assert_eq!(ada.post(DRAFT, json!({"message": {"parent_id": "nothing"}})).await.refused(), (400, 4));
    assert_eq!(ada.post(DRAFT, json!({})).await.refused(), (400, 4));
    let stranger = app.person("linus").await;
    assert_eq!(stranger.post(DRAFT, json!({"message": {"text": "x"}})).await.refused(), (403, 17));
}

async fn own_devices_hear_of_it_and_nobody_else(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let (mut hers, mut others) = (ada.listen().await, grace.listen().await);
    watch(&grace, "messaging:lobby").await;
    save(&ada, json!({"text": "hel"})).await;
    let event = hers.hear("draft.updated").await;
    assert_eq!((&event["cid"], &event["draft"]["message"]["text"]), (&json!("messaging:lobby"), &json!("hel")));
    ada.delete(DRAFT).await.ok();
    assert_eq!(hers.hear("draft.deleted").await["cid"], "messaging:lobby");
    let heard = others.heard_kinds(&app.server()).await;
    assert!(!heard.iter().any(|kind| kind.starts_with("draft.")), "{heard:?}");
}

async fn the_state_of_a_channel_shows_ones_own(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    save(&ada, json!({"text": "hel"})).await;
    assert_eq!(state_of(&ada, "messaging:lobby").await["draft"]["message"]["text"], "hel");
    assert_eq!(state_of(&grace, "messaging:lobby").await.get("draft"), None);
    let query = json!({"filter_conditions": {"cid": "messaging:lobby"}, "state": true});
    assert_eq!(ada.post("/channels", query).await.ok()["channels"][0]["draft"]["message"]["text"], "hel");
}

async fn what_is_sent_is_no_draft_any_more(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    channel(app, "messaging:other", &["ada"]).await;
    let parent = grace.say("messaging:lobby", "parent").await["id"].clone();
    let thread = format!("{DRAFT}?parent_id={}", parent.as_str().unwrap());
    let mut ear = ada.listen().await;
    save(&ada, json!({"text": "hello"})).await;
    save(&ada, json!({"text": "reply", "parent_id": parent})).await;
    ada.post("/channels/messaging/other/draft", json!({"message": {"text": "elsewhere"}})).await.ok();
    // What others say, and what she says elsewhere, ends nothing.
    grace.say("messaging:lobby", "hi").await;
    ada.post(SEND, json!({"message": {"text": "reply", "parent_id": parent}})).await.ok();
    assert_eq!(ada.get(&thread).await.refused(), (404, 16));
    assert_eq!(ear.hear("draft.deleted").await["parent_id"], parent);
    assert_eq!(ada.get(DRAFT).await.ok()["draft"]["message"]["text"], "hello");
    ada.say("messaging:lobby", "hello").await;
    assert_eq!(ada.get(DRAFT).await.refused(), (404, 16));
    let event = ear.hear("draft.deleted").await;
    assert_eq!((&event["cid"], event.get("parent_id")), (&json!("messaging:lobby"), None));
    assert_eq!(state_of(&ada, "messaging:lobby").await.get("draft"), None);
    let other = ada.get("/channels/messaging/other/draft").await.ok();
    assert_eq!(other["draft"]["message"]["text"], "elsewhere");
    // A message without a draft tells of none.
    ada.say("messaging:lobby", "again").await;
    assert!(!ear.heard_kinds(&app.server()).await.contains(&"draft.deleted".to_owned()));
    // In slow mode messages go another way.
    app.server().patch("/channels/messaging/other", json!({"set": {"cooldown": 5}, "user_id": "ada"})).await.ok();
    ada.say("messaging:other", "elsewhere").await;
    assert_eq!(ada.get("/channels/messaging/other/draft").await.refused(), (404, 16));
}

async fn all_of_them_at_once(app: &App) {
    let ada = app.person("ada").await;
    for name in ["one", "two", "three"] {
        channel(app, &format!("messaging:{name}"), &["ada"]).await;
        app.clock.advance_seconds(1);
        ada.post(&format!("/channels/messaging/{name}/draft"), json!({"message": {"text": name}})).await.ok();
    }
    let texts = |page: &Value| {
        let drafts = page["drafts"].as_array().unwrap().iter();
        drafts.map(|draft| draft["message"]["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let page = ada.post("/drafts/query", json!({"limit": 2})).await.ok();
    assert_eq!(texts(&page), ["three", "two"]);
    assert_eq!(page["drafts"][0]["channel"]["cid"], "messaging:three");
    let rest = ada.post("/drafts/query", json!({"limit": 2, "next": page["next"]})).await.ok();
    assert_eq!((texts(&rest), rest.get("next")), (vec!["one".to_owned()], None));
    let sorted = json!({"sort": [{"field": "created_at", "direction": 1}]});
    assert_eq!(texts(&ada.post("/drafts/query", sorted).await.ok()), ["one", "two", "three"]);
    let filtered = json!({"filter": {"channel_cid": {"$in": ["messaging:two", "messaging:four"]}}});
    let filtered = ada.post("/drafts/query", filtered).await.ok();
    assert_eq!(pluck(&filtered["drafts"], "channel_cid"), ["messaging:two"]);
    for wrong in [json!({"filter": {"color": "red"}}), json!({"next": "!"}), json!({"limit": 101})] {
        assert_eq!(ada.post("/drafts/query", wrong).await.refused(), (400, 4));
    }
    // Of a channel that one has left, one sees one's draft no more.
    app.server().post("/channels/messaging/two", json!({"remove_members": ["ada"], "user_id": "ada"})).await.ok();
    app.sql("UPDATE channels SET created_by = 'somebody' WHERE cid = 'messaging:two'").await;
    app.server().patch("/channels/messaging/two", json!({"set": {"x": 1}})).await.ok();
    assert_eq!(texts(&ada.post("/drafts/query", json!({})).await.ok()), ["three", "one"]);
}

on_both_engines!(
    a_draft_is_kept_for_its_author,
    own_devices_hear_of_it_and_nobody_else,
    the_state_of_a_channel_shows_ones_own,
    what_is_sent_is_no_draft_any_more,
    all_of_them_at_once,
);

#[tokio::test]
async fn two_nodes_agree_on_what_is_sent() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    let ada = app.person("ada").await;
    lobby(&app, &["ada"]).await;
    let there = ada.at(&app.base(1));
    for round in 0..20 {
        let text = format!("round {round}");
        save(&ada, json!({"text": text})).await;
        assert_eq!(there.get(DRAFT).await.ok()["draft"]["message"]["text"], text);
        there.say("messaging:lobby", &text).await;
        assert_eq!(ada.get(DRAFT).await.refused(), (404, 16));
    }
    app.stop().await;
}

#[tokio::test]
async fn redis_has_it_for_a_day_under_its_documented_name() {
    let app = App::start(Engine::Redis).await;
    let id = format!("ada-{}", unique());
    let ada = app.person(&id).await;
    lobby(&app, &[&id]).await;
    save(&ada, json!({"text": "hello"})).await;
    let key = format!("draft:{id}:messaging:lobby");
    let life: i64 = services::redis(&format!("TTL {key}")).trim().trim_start_matches(':').parse().unwrap();
    assert!((86_000..=86_400).contains(&life), "{life}");
    // Nothing is lost with Redis.
    services::redis(&format!("DEL {key}"));
    assert_eq!(ada.get(DRAFT).await.ok()["draft"]["message"]["text"], "hello");
    // A note that another deployment has left there is none of ours.
    services::redis(&format!("SET {key} nonsense"));
    assert_eq!(ada.get(DRAFT).await.ok()["draft"]["message"]["text"], "hello");
    save(&ada, json!({"text": "hello"})).await;
    assert_eq!(ada.get(DRAFT).await.ok()["draft"]["message"]["text"], "hello");
    // When Postgres cannot be asked, it answers instead.
    app.sql("ALTER TABLE drafts RENAME TO nothing").await;
    app.sql("CREATE FUNCTION away() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '57P03'; END $$").await;
    app.sql("CREATE VIEW drafts AS SELECT away() AS user_id, channel_id, parent_id, message, created_at FROM nothing")
        .await;
    assert_eq!(ada.get(DRAFT).await.ok()["draft"]["message"]["text"], "hello");
    services::redis(&format!("DEL {key}"));
    assert_eq!(ada.get(DRAFT).await.refused().0, 503);
    app.sql("DROP VIEW drafts").await;
    app.sql("ALTER TABLE nothing RENAME TO drafts").await;
    save(&ada, json!({"text": "hello"})).await;
    ada.say("messaging:lobby", "hello").await;
    assert_eq!(services::redis(&format!("EXISTS {key}")).trim(), ":0");
    app.stop().await;
}

fn unique() -> String {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos().to_string()
}
