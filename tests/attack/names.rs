//! Whose name is it: ids with a meaning, and names that were somebody else's before.

use serde_json::{Value, json};
use testkit::{App, Engine, PATIENCE, on_both_engines};
use tokio::time::timeout;

use crate::identity::heard_before;
use crate::{channel, watch};

/// The id of a channel that is named by its members.
async fn distinct_id(app: &App, members: &[&str]) -> String {
    let data = json!({"members": members, "created_by_id": members[0]});
    let made = app.server().post("/channels/messaging/query", json!({"data": data})).await.ok();
    made["channel"]["id"].as_str().unwrap().to_owned()
}

async fn names_made_of_members_are_not_taken_by_hand(app: &App) {
    let [mallory, ada, _] = app.people(["mallory", "ada", "grace"]).await;
    // What it will be called can be worked out beforehand.
    let elsewhere = distinct_id(app, &["ada", "grace"]).await;
    app.server().delete(&format!("/channels/messaging/{elsewhere}?hard_delete=true")).await.ok();
    let by_hand = format!("/channels/messaging/{elsewhere}/query");
    for members in [json!(["mallory"]), json!([]), json!(["mallory", "ada", "grace"])] {
        assert_eq!(mallory.post(&by_hand, json!({"data": {"members": members}})).await.refused(), (403, 17));
    }
    // For somebody else's conversation there is a grant, and users do not have it.
    let theirs = json!({"data": {"members": ["ada", "grace"]}});
    assert_eq!(mallory.post(&by_hand, theirs.clone()).await.refused(), (403, 17));
    assert_eq!(mallory.post("/channels/messaging/!mine/query", json!({})).await.refused(), (403, 17));
    assert_eq!(mallory.post("/channels/messaging/!deleted-1/query", json!({})).await.refused(), (403, 17));
    let with_guest = json!({"data": {"members": ["ada", "grace"], "invites": ["mallory"]}});
    assert_eq!(ada.post("/channels/messaging/query", with_guest).await.refused(), (400, 4));
    // Those whose name it is have it, by hand too.
    let made = ada.post(&by_hand, theirs).await.ok();
    assert_eq!(made["channel"]["created_by"]["id"], "ada");
}

async fn a_newcomer_inherits_nothing(app: &App) {
    let [ada, grace, mallory] = app.people(["ada", "grace", "mallory"]).await;
    channel(app, "livestream:show", &["ada"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let since = app.clock.now().to_string();
    let old = ada.say("messaging:lobby", "an old secret").await["id"].as_str().unwrap().to_owned();
    grace.post("/channels/messaging/lobby/draft", json!({"message": {"text": "unsent"}})).await.ok();
    grace.post("/moderation/mute/channel", json!({"channel_cid": "messaging:lobby"})).await.ok();
    let mut hers = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    watch(&grace, "livestream:show").await;
    ada.delete("/channels/messaging/lobby").await.ok();
    hers.hear("channel.deleted").await;
    let anew = |members: Value| json!({"data": {"members": members}});
    // The name is still its maker's.
    for stranger in [&mallory, &grace] {
        let taken = stranger.post("/channels/messaging/lobby/query", anew(json!([stranger.id]))).await;
        assert_eq!(taken.refused(), (403, 17), "{}", stranger.id);
    }
    let made = ada.post("/channels/messaging/lobby/query", anew(json!(["ada", "mallory"]))).await.ok();
    assert_eq!((&made["messages"], &made["channel"]["member_count"]), (&json!([]), &json!(2)));
    // Nothing of the old one is the new one's.
    let sync = json!({"channel_cids": ["messaging:lobby"], "last_sync_at": since});
    let missed = mallory.post("/sync", sync).await.ok();
    assert!(!missed.to_string().contains("secret"), "{missed:#}");
    assert_eq!(mallory.get(&format!("/messages/{old}")).await.refused(), (404, 16));
    // Nor is anything of the new one the old members'.
    ada.say("messaging:lobby", "a new secret").await;
    app.server().post("/users", json!({"users": {"host": {"id": "host"}}})).await.ok();
    let heard = heard_before(&mut hers, app, "livestream:show").await;
    assert!(!heard.iter().any(|event| event.to_string().contains("secret")), "{heard:#?}");
    assert_eq!(grace.post("/channels/messaging/lobby/query", json!({})).await.refused(), (403, 17));
    app.server().post("/channels/messaging/lobby", json!({"add_members": ["grace"]})).await.ok();
    let state = grace.post("/channels/messaging/lobby/query", json!({"state": true})).await.ok();
    assert_eq!((&state["draft"], &state["channel"]["muted"]), (&json!(null), &json!(false)));
}

async fn a_conversation_is_made_anew_by_those_who_have_it(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let theirs = json!({"data": {"members": ["ada", "grace"]}});
    let id = ada.post("/channels/messaging/query", theirs.clone()).await.ok()["channel"]["id"].clone();
    ada.delete(&format!("/channels/messaging/{}", id.as_str().unwrap())).await.ok();
    assert_eq!(grace.post("/channels/messaging/query", theirs).await.ok()["channel"]["id"], id);
}

#[tokio::test]
async fn a_channel_made_anew_is_new_on_every_node() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    let ada = app.person("ada").await;
    app.people(["grace", "mallory"]).await;
    channel(&app, "messaging:lobby", &["ada", "grace"]).await;
    channel(&app, "livestream:show", &["ada"]).await;
    let grace = app.user_at(1, "grace");
    let mut hers = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    watch(&grace, "livestream:show").await;
    ada.delete("/channels/messaging/lobby").await.ok();
    ada.post("/channels/messaging/lobby/query", json!({"data": {"members": ["ada", "mallory"]}})).await.ok();
    ada.say("messaging:lobby", "a new secret").await;
    // The other node has the old channel in its caches: it must not be believed there for a second.
    let mallory = app.user_at(1, "mallory");
    let state = mallory.post("/channels/messaging/lobby/query", json!({"state": true})).await.ok();
    assert_eq!(state["messages"][0]["text"], "a new secret");
    assert_eq!(grace.post("/channels/messaging/lobby/query", json!({})).await.refused(), (403, 17));
    app.server().post("/users", json!({"users": {"host": {"id": "host"}}})).await.ok();
    let heard = heard_before(&mut hers, &app, "livestream:show").await;
    assert!(!heard.iter().any(|event| event.to_string().contains("secret")), "{heard:#?}");
    app.stop().await;
}

/// Fills a channel with messages from below: as many as no call would be fast enough to send.
async fn fill(app: &App) {
    app.sql(
        "WITH filled AS (
             INSERT INTO messages (channel_id, seq, id, user_id, type, text, counts, counted, created_at, updated_at)
             SELECT h.channel_id, n, 'filled-' || n, 'ada', 'regular', 'x', true, n, clock_timestamp(), clock_timestamp()
             FROM channel_heads h, generate_series(1, 2500) n)
         UPDATE channel_heads SET message_seq = 2500, message_count = 2500, counted = 2500",
    )
    .await;
    app.sql(
        "INSERT INTO reactions (message_id, user_id, type, score, created_at, updated_at)
         SELECT 'filled-1', 'user-' || n, 'like', 1, now(), now() FROM generate_series(1, 1500) n",
    )
    .await;
    app.sql(
        "WITH reading AS (
             INSERT INTO thread_reads (parent_id, user_id, channel_id, last_read_seq, last_read_at, last_read_message_id)
             SELECT 'filled-2', 'user-' || n, channel_id, 2, now(), 'filled-2' FROM channel_heads, generate_series(1, 1500) n)
         INSERT INTO drafts (user_id, channel_id, parent_id, message, created_at)
         SELECT 'eve', channel_id, parent, '{}', now() FROM channel_heads, unnest(ARRAY['', 'filled-3']) AS d (parent)",
    )
    .await;
}

/// Waits until nothing is left to be taken away.
async fn all_is_gone(app: &App) {
    let gone = async { while !app.ask("SELECT channel_id::text FROM removals").await.is_empty() {} };
    timeout(PATIENCE, gone).await.expect("an end");
}

/// When a message is gone for good its id is free, and whoever takes it has taken nothing else.
async fn an_id_that_was_somebody_elses_opens_nothing(app: &App) {
    let [ada, eve, _] = app.people(["ada", "eve", "grace"]).await;
    let state = channel(app, "messaging:room", &["ada", "grace"]).await;
    channel(app, "messaging:hers", &["eve"]).await;
    let say = "/channels/messaging/room/message";
    ada.post(say, json!({"message": {"id": "first", "text": "the secret text"}})).await.ok();
    let quote = json!({"message": {"id": "quote", "text": "as you said", "quoted_message_id": "first"}});
    app.user_at(0, "grace").post(say, quote).await.ok();
    let hidden = json!({"add_members": ["eve"], "hide_history": true});
    app.server().post("/channels/messaging/room", hidden).await.ok();
    app.server().delete("/messages/first?hard=true").await.ok();

    let anew = json!({"message": {"id": "first", "text": "words in another's mouth"}});
    eve.post("/channels/messaging/hers/message", anew.clone()).await.ok();
    let missed = json!({"channel_cids": ["messaging:room"], "last_sync_at": state["channel"]["created_at"]});
    let told = eve.post("/sync", missed.clone()).await.ok().to_string();
    assert!(!told.contains("message.deleted") && !told.contains("the secret text"), "{told}");
    // The same in the channel where it was.
    app.server().delete("/messages/first?hard=true").await.ok();
    eve.post(say, anew).await.ok();
    let told = eve.post("/sync", missed).await.ok().to_string();
    assert!(told.contains("another's mouth") && !told.contains("the secret text"), "{told}");
    let quote = ada.get("/messages/quote").await.ok();
    assert_eq!(quote["message"]["quoted_message"], Value::Null, "{quote:#}");
}

#[tokio::test]
async fn what_is_deleted_is_hidden_at_once_and_gone_after_a_crash() {
    let mut app = App::start(Engine::Memory).await;
    let ada = app.person("ada").await;
    channel(&app, "messaging:lobby", &["ada"]).await;
    fill(&app).await;
    app.server().delete("/channels/messaging/lobby?hard_delete=true").await.ok();
    // The call did not wait for the rows, and nobody sees them.
    assert_eq!(app.ask("SELECT count(*)::text FROM removals").await, ["1"]);
    assert_eq!(ada.get("/messages/filled-7").await.refused(), (404, 16));
    let anew = ada.post("/channels/messaging/lobby/query", json!({"data": {"members": ["ada"]}, "state": true})).await;
    assert_eq!(anew.ok()["messages"], json!([]));
    app.kill_node(0).await;
    app.add_node().await;
    all_is_gone(&app).await;
    let left = app.ask(
        "SELECT id FROM messages UNION ALL SELECT message_id FROM reactions
         UNION ALL SELECT cid FROM channels WHERE deleted_at IS NOT NULL",
    );
    assert!(left.await.is_empty());
    assert_eq!(app.ask("SELECT cid FROM channels").await, ["messaging:lobby"]);
    app.stop().await;
}

async fn a_truncation_removes_in_pieces(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:lobby", &["ada"]).await;
    fill(app).await;
    let kept = ada.say("messaging:lobby", "kept").await;
    let before =
        app.ask("SELECT (created_at - interval '1 microsecond')::text FROM messages ORDER BY seq DESC LIMIT 1");
    let before = before.await[0].replace(' ', "T");
    let before = format!("{}Z", before.split('+').next().unwrap());
    let truncate = json!({"hard_delete": true, "truncated_at": before});
    let answer = app.server().post("/channels/messaging/lobby/truncate", truncate).await.ok();
    assert_eq!(answer["channel"]["cid"], "messaging:lobby");
    assert_eq!(ada.get("/messages/filled-7").await.refused(), (404, 16));
    assert_eq!(app.ask("SELECT message_count::text FROM channel_heads").await, ["1"]);
    all_is_gone(app).await;
    assert_eq!(app.ask("SELECT id FROM messages").await, [kept["id"].as_str().unwrap()]);
    assert!(app.ask("SELECT message_id FROM reactions").await.is_empty());
    assert!(app.ask("SELECT parent_id FROM thread_reads").await.is_empty());
    assert_eq!(app.ask("SELECT parent_id FROM drafts").await, [""], "of threads that are gone");
    // What is said later is not taken for something to be removed.
    ada.say("messaging:lobby", "later").await;
    app.server().post("/channels/messaging/lobby/truncate", json!({"hard_delete": true})).await.ok();
    assert_eq!(app.ask("SELECT message_count::text FROM channel_heads").await, ["0"]);
    all_is_gone(app).await;
    assert!(app.ask("SELECT id FROM messages").await.is_empty());
}

on_both_engines!(
    an_id_that_was_somebody_elses_opens_nothing,
    names_made_of_members_are_not_taken_by_hand,
    a_newcomer_inherits_nothing,
    a_conversation_is_made_anew_by_those_who_have_it,
    a_truncation_removes_in_pieces,
);
