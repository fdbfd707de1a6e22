//! Channels: making them, changing them, hiding, emptying and deleting them.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{channel, lobby, pluck, state_of, watch};

async fn a_channel_is_made_once(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let body = json!({"data": {"members": ["ada", "grace"], "name": "Lobby", "color": "red"}, "state": true});
    let made = ada.post("/channels/messaging/lobby/query", body).await.ok();
    let channel = &made["channel"];
    assert_eq!((&channel["cid"], &channel["color"]), (&json!("messaging:lobby"), &json!("red")));
    assert_eq!((&channel["created_by"]["id"], &channel["member_count"]), (&json!("ada"), &json!(2)));
    assert_eq!(channel["config"]["max_message_length"], 5_000);
    assert!(channel["own_capabilities"].as_array().unwrap().contains(&json!("send-message")));
    assert_eq!(made["membership"]["user_id"], "ada");
    // Who comes second finds it as it is.
    let other = json!({"data": {"name": "Mine now", "members": ["grace"]}, "state": true});
    let found = grace.post("/channels/messaging/lobby/query", other).await.ok();
    assert_eq!((&found["channel"]["name"], &found["members"].as_array().unwrap().len()), (&json!("Lobby"), &2));
    // A server says who made it, and is not asked for what a server is not.
    let server = app.server();
    let made =
        server.post("/channels/messaging/other/query", json!({"data": {"created_by": {"id": "ada"}}})).await.ok();
    assert_eq!(made["channel"]["created_by"]["id"], "ada");
    assert!(made["channel"].get("own_capabilities").is_none_or(|list| list.as_array().unwrap().is_empty()));
    // Its maker is not a member unless named.
    assert_eq!(made["channel"]["member_count"], 0);
}

async fn bad_names_and_types_are_refused(app: &App) {
    let ada = app.person("ada").await;
    let long = "x".repeat(65);
    for (path, refused) in [
        (format!("/channels/messaging/{long}/query"), (400, 4)),
        ("/channels/messaging/has%20space/query".into(), (400, 4)),
        ("/channels/messaging/%21members-x/query".into(), (403, 17)),
        ("/channels/nonsense/lobby/query".into(), (400, 4)),
        ("/channels/messaging/query".into(), (400, 4)),
    ] {
        assert_eq!(ada.post(&path, json!({"data": {}})).await.refused(), refused, "{path}");
    }
    let unknown = json!({"data": {"members": ["ada", "nobody"]}});
    assert_eq!(ada.post("/channels/messaging/lobby/query", unknown).await.refused(), (400, 4));
    let big = json!({"data": {"note": "x".repeat(6_000)}});
    assert_eq!(ada.post("/channels/messaging/lobby/query", big).await.refused(), (400, 4));
}

async fn the_same_people_are_the_same_channel(app: &App) {
    let [ada, grace, _] = app.people(["ada", "grace", "alan"]).await;
    let made = ada.post("/channels/messaging/query", json!({"data": {"members": ["ada", "grace"]}})).await.ok();
    let id = made["channel"]["id"].as_str().unwrap();
    assert!(id.starts_with("!members-"), "{id}");
    let again = json!({"data": {"members": [{"user_id": "grace"}, {"user_id": "ada"}]}});
    assert_eq!(grace.post("/channels/messaging/query", again).await.ok()["channel"]["id"], id);
    // Nobody joins later: it would not be the channel of these people any more.
    let path = format!("/channels/messaging/{}", id.replace('!', "%21"));
    assert_eq!(ada.post(&path, json!({"add_members": ["alan"]})).await.refused(), (400, 4));
}

async fn channels_change_whole_or_in_parts(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let body = json!({"data": {"name": "Hall", "color": "red"}, "message": {"text": "it has a name now"}});
    let answer = ada.post("/channels/messaging/lobby", body).await.ok();
    assert_eq!((&answer["channel"]["name"], &answer["message"]["type"]), (&json!("Hall"), &json!("system")));
    let event = ear.hear("channel.updated").await;
    assert_eq!((&event["channel"]["color"], &event["user"]["id"]), (&json!("red"), &json!("ada")));
    assert_eq!(event["message"]["text"], "it has a name now");
    // Whole: what is not said is gone.
    let answer = ada.post("/channels/messaging/lobby", json!({"data": {"name": "Hall"}})).await.ok();
    assert_eq!(answer["channel"]["color"], Value::Null);
    // In parts.
    let patch = json!({"set": {"color": "blue", "rules.first": "be kind"}, "unset": ["name"]});
    let answer = ada.patch("/channels/messaging/lobby", patch).await.ok();
    let channel = &answer["channel"];
    assert_eq!((&channel["color"], &channel["rules"]["first"]), (&json!("blue"), &json!("be kind")));
    assert_eq!(channel["name"], Value::Null);
    // An answer sent back whole changes nothing and is understood.
    let answer = ada.post("/channels/messaging/lobby", json!({"data": channel})).await.ok();
    assert_eq!(answer["channel"]["color"], "blue");
    assert_eq!(grace.post("/channels/messaging/lobby", json!({"data": {"name": "x"}})).await.refused(), (403, 17));
}

async fn freezing_stops_messages(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let message = ada.say("messaging:lobby", "before").await;
    app.server().patch("/channels/messaging/lobby", json!({"set": {"frozen": true}})).await.ok();
    let state = ada.post("/channels/messaging/lobby/query", json!({"state": true})).await.ok();
    assert_eq!(state["channel"]["frozen"], true);
    assert!(!state["channel"]["own_capabilities"].as_array().unwrap().contains(&json!("send-message")));
    let send = json!({"message": {"text": "after"}});
    assert_eq!(ada.post("/channels/messaging/lobby/message", send).await.refused(), (403, 17));
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    assert_eq!(ada.post(&path, json!({"reaction": {"type": "like"}})).await.refused(), (403, 17));
    app.server().patch("/channels/messaging/lobby", json!({"set": {"frozen": false}})).await.ok();
    ada.say("messaging:lobby", "again").await;
}

async fn slow_mode_asks_for_patience(app: &App) {
    let [_, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    app.server().patch("/channels/messaging/lobby", json!({"set": {"cooldown": 10}})).await.ok();
    grace.say("messaging:lobby", "first").await;
    let second = json!({"message": {"text": "second"}});
    assert_eq!(grace.post("/channels/messaging/lobby/message", second.clone()).await.refused(), (403, 60));
    // The pause is measured by the database's clock, so the past is moved instead.
    app.sql("UPDATE messages SET created_at = created_at - interval '15 s'").await;
    grace.post("/channels/messaging/lobby/message", second).await.ok();
    let wrong = json!({"set": {"cooldown": 500}});
    assert_eq!(app.server().patch("/channels/messaging/lobby", wrong).await.refused(), (400, 4));
}

async fn truncating_empties(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let (mut hers, mut absent) = (ada.listen().await, grace.listen().await);
    watch(&ada, "messaging:lobby").await;
    let first = ada.say("messaging:lobby", "one").await;
    ada.say("messaging:lobby", "two").await;
    let answer = ada.post("/channels/messaging/lobby/truncate", json!({"message": {"text": "empty"}})).await.ok();
    assert_eq!(answer["message"]["text"], "empty");
    assert!(answer["channel"]["truncated_at"].is_string());
    assert_eq!(hers.hear("channel.truncated").await["channel"]["cid"], "messaging:lobby");
    absent.hear("notification.channel_truncated").await;
    let state = state_of(&grace, "messaging:lobby").await;
    assert_eq!(pluck(&state["messages"], "text"), ["empty"]);
    assert_eq!(
        state["read"][0]["unread_messages"].as_i64().unwrap_or(9)
            + state["read"][1]["unread_messages"].as_i64().unwrap_or(9),
        0
    );
    let path = format!("/messages/{}", first["id"].as_str().unwrap());
    assert_eq!(ada.get(&path).await.refused().1, 16);
}

async fn hidden_channels_come_back_with_the_next_message(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    ada.say("messaging:lobby", "old").await;
    let mut ear = grace.listen().await;
    let listed = async |hidden: Value| {
        let mut filter = json!({"members": {"$in": ["grace"]}});
        if !hidden.is_null() {
            filter["hidden"] = hidden;
        }
        let found =
            grace.post("/channels", json!({"filter_conditions": filter, "state": true, "watch": false})).await.ok();
        found["channels"].as_array().unwrap().len()
    };
    assert_eq!((listed(json!(null)).await, listed(json!(true)).await), (1, 0));
    grace.post("/channels/messaging/lobby/hide", json!({"clear_history": true})).await.ok();
    let event = ear.hear("channel.hidden").await;
    assert_eq!(event["clear_history"], true);
    assert_eq!((listed(json!(null)).await, listed(json!(true)).await), (0, 1));
    ada.say("messaging:lobby", "new").await;
    assert_eq!((listed(json!(null)).await, listed(json!(true)).await), (1, 0));
    // Its history stays away for the one who cleared it.
    let state = state_of(&grace, "messaging:lobby").await;
    assert_eq!(pluck(&state["messages"], "text"), ["new"]);
    assert_eq!(pluck(&state_of(&ada, "messaging:lobby").await["messages"], "text"), ["old", "new"]);
    // And shown by hand.
    grace.post("/channels/messaging/lobby/hide", json!({})).await.ok();
    grace.post("/channels/messaging/lobby/show", json!({})).await.ok();
    ear.hear("channel.visible").await;
    assert_eq!(listed(json!(false)).await, 1);
}

async fn a_deleted_channel_is_gone_and_may_be_made_anew(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let (mut hers, mut absent) = (ada.listen().await, grace.listen().await);
    watch(&ada, "messaging:lobby").await;
    ada.say("messaging:lobby", "last words").await;
    assert_eq!(grace.delete("/channels/messaging/lobby").await.refused(), (403, 17));
    let answer = ada.delete("/channels/messaging/lobby").await.ok();
    assert!(answer["channel"]["deleted_at"].is_string());
    hers.hear("channel.deleted").await;
    absent.hear("notification.channel_deleted").await;
    let everything = json!({"filter_conditions": {"members": {"$in": ["ada"]}}, "watch": false});
    assert_eq!(ada.post("/channels", everything).await.ok()["channels"], json!([]));
    let send = json!({"message": {"text": "hello?"}});
    assert_eq!(ada.post("/channels/messaging/lobby/message", send).await.refused(), (404, 16));
    let anew = ada.post("/channels/messaging/lobby/query", json!({"data": {}, "state": true})).await.ok();
    assert_eq!((&anew["messages"], &anew["channel"]["created_by"]["id"]), (&json!([]), &json!("ada")));
    app.server().delete("/channels/messaging/lobby?hard_delete=true").await.ok();
}

async fn channels_are_muted(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    let answer = grace.post("/moderation/mute/channel", json!({"channel_cids": ["messaging:lobby"]})).await.ok();
    assert_eq!(answer["channel_mute"]["channel"]["cid"], "messaging:lobby");
    let event = ear.hear("notification.channel_mutes_updated").await;
    assert_eq!(event["me"]["channel_mutes"][0]["channel"]["cid"], "messaging:lobby");
    let state = state_of(&grace, "messaging:lobby").await;
    assert_eq!((&state["channel"]["muted"], &state["membership"]["notifications_muted"]), (&json!(true), &json!(true)));
    assert_eq!(grace.say("messaging:lobby", "shh").await["member"]["notifications_muted"], true);
    // Muted channels count for nothing.
    ada.say("messaging:lobby", "psst").await;
    assert_eq!(grace.listen().await.me()["total_unread_count"], 0);
    grace.post("/moderation/unmute/channel", json!({"channel_cid": "messaging:lobby"})).await.ok();
    assert_eq!(grace.listen().await.me()["total_unread_count"], 1);
    assert_eq!(state_of(&grace, "messaging:lobby").await["membership"]["notifications_muted"], false);
}

async fn types_have_their_own_rules(app: &App) {
    let server = app.server();
    let made = json!({"name": "support", "max_message_length": 20, "typing_events": false, "reactions": false, "commands": ["all"]});
    server.post("/channeltypes", made).await.ok();
    let ada = app.person("ada").await;
    channel(app, "support:one", &["ada"]).await;
    let send = json!({"message": {"text": "x".repeat(21)}});
    assert_eq!(ada.post("/channels/support/one/message", send).await.refused(), (400, 20));
    let message = ada.say("support:one", "short").await;
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    assert_eq!(ada.post(&path, json!({"reaction": {"type": "like"}})).await.refused(), (400, 19));
    server.put("/channeltypes/support", json!({"reactions": true})).await.ok();
    ada.post(&path, json!({"reaction": {"type": "like"}})).await.ok();
    let all = server.get("/channeltypes").await.ok();
    let names: Vec<&String> = all["channel_types"].as_object().unwrap().keys().collect();
    for name in ["messaging", "livestream", "team", "gaming", "commerce", "support"] {
        assert!(names.iter().any(|known| *known == name), "{name}");
    }
    assert_eq!(server.delete("/channeltypes/support").await.refused().0, 400);
    server.delete("/channels/support/one?hard_delete=true").await.ok();
    server.delete("/channeltypes/support").await.ok();
    assert_eq!(server.get("/channeltypes/support").await.refused(), (404, 16));
    assert_eq!(ada.get("/channeltypes").await.refused(), (403, 17));
}

on_both_engines!(
    a_channel_is_made_once,
    bad_names_and_types_are_refused,
    the_same_people_are_the_same_channel,
    channels_change_whole_or_in_parts,
    freezing_stops_messages,
    slow_mode_asks_for_patience,
    truncating_empties,
    hidden_channels_come_back_with_the_next_message,
    a_deleted_channel_is_gone_and_may_be_made_anew,
    channels_are_muted,
    types_have_their_own_rules,
);
