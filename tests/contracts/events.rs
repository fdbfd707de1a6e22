//! Typing, custom events, and who hears what.

use serde_json::json;
use testkit::{App, on_both_engines};

use crate::{lobby, watch};

const EVENT: &str = "/channels/messaging/lobby/event";

async fn typing_is_heard_by_watchers(app: &App) {
    let [ada, grace, alan] = app.people(["ada", "grace", "alan"]).await;
    lobby(app, &["ada", "grace", "alan"]).await;
    let (mut hers, mut absent) = (grace.listen().await, alan.listen().await);
    watch(&grace, "messaging:lobby").await;
    let answer = ada.post(EVENT, json!({"event": {"type": "typing.start", "parent_id": "m1"}})).await.ok();
    assert_eq!(answer["event"]["type"], "typing.start");
    let event = hers.hear("typing.start").await;
    assert_eq!((&event["user"]["id"], &event["parent_id"]), (&json!("ada"), &json!("m1")));
    ada.post(EVENT, json!({"event": {"type": "typing.stop"}})).await.ok();
    hers.hear("typing.stop").await;
    assert!(absent.heard(&app.server()).await.is_empty());
    // Switched off by the channel's type, or by the one who types.
    let private =
        json!({"users": [{"id": "ada", "set": {"privacy_settings": {"typing_indicators": {"enabled": false}}}}]});
    ada.patch("/users", private).await.ok();
    ada.post(EVENT, json!({"event": {"type": "typing.start"}})).await.ok();
    assert!(!hers.heard_kinds(&app.server()).await.contains(&"typing.start".to_owned()));
}

async fn channels_carry_events_of_ones_own(app: &App) {
    let [ada, grace, outsider] = app.people(["ada", "grace", "outsider"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    ada.post(EVENT, json!({"event": {"type": "wave", "hand": {"which": "left"}}})).await.ok();
    let event = ear.hear("wave").await;
    assert_eq!((&event["hand"]["which"], &event["user"]["id"]), (&json!("left"), &json!("ada")));
    app.server().post(EVENT, json!({"event": {"type": "bell", "user_id": "ada"}})).await.ok();
    ear.hear("bell").await;
    // What the server says is the server's to say.
    assert_eq!(ada.post(EVENT, json!({"event": {"type": "message.new"}})).await.refused(), (400, 18));
    assert_eq!(ada.post(EVENT, json!({"event": {}})).await.refused(), (400, 4));
    assert_eq!(outsider.post(EVENT, json!({"event": {"type": "wave"}})).await.refused(), (403, 17));
}

async fn watching_is_told_and_counted(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut hers = ada.listen().await;
    assert_eq!(watch(&ada, "messaging:lobby").await["watcher_count"], 1);
    let ear = grace.listen().await;
    let state = watch(&grace, "messaging:lobby").await;
    assert_eq!(state["watcher_count"], 2);
    let event = hers.hear_where("user.watching.start", |event| event["user"]["id"] == "grace").await;
    assert_eq!(event["watcher_count"], 2);
    grace.post("/channels/messaging/lobby/stop-watching", json!({})).await.ok();
    assert_eq!(hers.hear("user.watching.stop").await["watcher_count"], 1);
    // A socket that goes takes its watching with it.
    watch(&grace, "messaging:lobby").await;
    hers.hear_where("user.watching.start", |event| event["user"]["id"] == "grace").await;
    ear.leave().await;
    assert_eq!(hers.hear("user.watching.stop").await["user"]["id"], "grace");
    let body = json!({"state": true, "watchers": {"limit": 5, "offset": 0}});
    let state = ada.post("/channels/messaging/lobby/query", body).await.ok();
    assert_eq!((&state["watcher_count"], &state["watchers"][0]["id"]), (&json!(1), &json!("ada")));
}

async fn watching_needs_a_socket(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let refused = ada.post("/channels/messaging/lobby/query", json!({"watch": true})).await;
    assert!(refused.message().contains("Watch or Presence requires an active websocket connection"));
    assert_eq!(refused.refused(), (400, 4));
    let gone = ada
        .call("POST", "/channels/messaging/lobby/query", &[("connection_id", "gone")], Some(json!({"watch": true})))
        .await;
    assert_eq!(gone.refused(), (400, 4));
    // Nobody watches through somebody else's socket.
    let ear = app.person("grace").await.listen().await;
    let stolen = [("connection_id", ear.connection_id())];
    let refused = ada.call("POST", "/channels/messaging/lobby/query", &stolen, Some(json!({"watch": true}))).await;
    assert_eq!(refused.refused(), (400, 4));
}

async fn all_sockets_of_a_person_hear(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let (first_person, second_person) = (app.user_at(0, "grace"), app.user_at(0, "grace"));
    let (mut first, mut second) = (first_person.listen().await, second_person.listen().await);
    watch(&first_person, "messaging:lobby").await;
    ada.say("messaging:lobby", "hello").await;
    first.hear("message.new").await;
    // The second does not watch: it is told as a member.
    second.hear("notification.message_new").await;
    assert!(!second.heard_kinds(&app.server()).await.contains(&"message.new".to_owned()));
    assert!(!first.heard_kinds(&app.server()).await.contains(&"notification.message_new".to_owned()));
}

on_both_engines!(
    typing_is_heard_by_watchers,
    channels_carry_events_of_ones_own,
    watching_is_told_and_counted,
    watching_needs_a_socket,
    all_sockets_of_a_person_hear,
);
