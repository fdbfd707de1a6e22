//! Who has read what, and what is left to read.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{channel, lobby, state_of, watch};

fn read_of<'a>(state: &'a Value, user: &str) -> &'a Value {
    let reads = state["read"].as_array().expect("a list");
    reads.iter().find(|read| read["user"]["id"] == user).unwrap_or(&Value::Null)
}

async fn reading_counts_down(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    channel(app, "messaging:other", &["ada", "grace"]).await;
    for text in ["1", "2", "3"] {
        ada.say("messaging:lobby", text).await;
    }
    ada.say("messaging:other", "4").await;
    let mut ear = grace.listen().await;
    let me = ear.me().clone();
    assert_eq!(
        (&me["total_unread_count"], &me["unread_count"], &me["unread_channels"]),
        (&json!(4), &json!(4), &json!(2))
    );
    let mut watcher = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    let state = state_of(&grace, "messaging:lobby").await;
    assert_eq!(read_of(&state, "grace")["unread_messages"], 3);
    assert_eq!(read_of(&state, "ada")["unread_messages"], 0);
    let answer = grace.post("/channels/messaging/lobby/read", json!({})).await.ok();
    assert_eq!(answer["event"]["type"], "message.read");
    let event = watcher.hear("message.read").await;
    assert_eq!((&event["user"]["id"], &event["cid"]), (&json!("grace"), &json!("messaging:lobby")));
    assert_eq!(event["last_read_message_id"], state["messages"][2]["id"]);
    let event = ear.hear("notification.mark_read").await;
    assert_eq!((&event["total_unread_count"], &event["unread_channels"]), (&json!(1), &json!(1)));
    let state = state_of(&ada, "messaging:lobby").await;
    assert_eq!(read_of(&state, "grace")["unread_messages"], 0);
    assert_eq!(read_of(&state, "grace")["last_read_message_id"], state["messages"][2]["id"]);
}

async fn reading_up_to_a_message(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut sent = Vec::new();
    for text in ["1", "2", "3", "4"] {
        sent.push(ada.say("messaging:lobby", text).await);
    }
    grace.post("/channels/messaging/lobby/read", json!({"message_id": sent[1]["id"]})).await.ok();
    let state = state_of(&ada, "messaging:lobby").await;
    assert_eq!(read_of(&state, "grace")["unread_messages"], 2);
    assert_eq!(read_of(&state, "grace")["last_read_message_id"], sent[1]["id"]);
    // Reading less does not unread more.
    grace.post("/channels/messaging/lobby/read", json!({"message_id": sent[0]["id"]})).await.ok();
    assert_eq!(read_of(&state_of(&ada, "messaging:lobby").await, "grace")["unread_messages"], 2);
    assert_eq!(
        grace.post("/channels/messaging/lobby/read", json!({"message_id": "nothing"})).await.refused().0 / 100,
        4
    );
}

async fn unreading(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut sent = Vec::new();
    for text in ["1", "2", "3"] {
        sent.push(ada.say("messaging:lobby", text).await);
    }
    let mut ear = grace.listen().await;
    grace.post("/channels/messaging/lobby/read", json!({})).await.ok();
    grace.post("/channels/messaging/lobby/unread", json!({"message_id": sent[1]["id"]})).await.ok();
    let event = ear.hear("notification.mark_unread").await;
    assert_eq!((&event["first_unread_message_id"], &event["unread_messages"]), (&sent[1]["id"], &json!(2)));
    assert_eq!((&event["last_read_message_id"], &event["total_unread_count"]), (&sent[0]["id"], &json!(2)));
    assert_eq!(read_of(&state_of(&ada, "messaging:lobby").await, "grace")["unread_messages"], 2);
    assert_eq!(grace.get("/unread").await.ok()["total_unread_count"], 2);
}

async fn everything_read_at_once(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    for cid in ["messaging:one", "messaging:two", "messaging:three"] {
        channel(app, cid, &["ada", "grace"]).await;
        ada.say(cid, "hello").await;
    }
    grace.post("/channels/read", json!({"read_by_channel": {"messaging:one": "", "messaging:two": ""}})).await.ok();
    let unread = grace.get("/unread").await.ok();
    assert_eq!(
        (&unread["total_unread_count"], &unread["channels"][0]["channel_id"]),
        (&json!(1), &json!("messaging:three"))
    );
    grace.post("/channels/read", json!({})).await.ok();
    assert_eq!(grace.get("/unread").await.ok()["total_unread_count"], 0);
}

async fn unread_is_what_a_recount_says(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let unread = async || grace.get("/unread").await.ok()["total_unread_count"].as_i64().unwrap();
    let (one, two) = (ada.say("messaging:lobby", "1").await, ada.say("messaging:lobby", "2").await);
    assert_eq!(unread().await, 2);
    // Deleted messages count no more, in either way.
    ada.delete(&format!("/messages/{}", one["id"].as_str().unwrap())).await.ok();
    assert_eq!(unread().await, 1);
    app.server().delete(&format!("/messages/{}?hard=true", two["id"].as_str().unwrap())).await.ok();
    assert_eq!(unread().await, 0);
    // Silent ones, replies and system messages never did.
    let send = "/channels/messaging/lobby/message";
    ada.post(send, json!({"message": {"text": "sh", "silent": true}})).await.ok();
    let parent = ada.say("messaging:lobby", "3").await;
    ada.post(send, json!({"message": {"text": "reply", "parent_id": parent["id"]}})).await.ok();
    app.server().post(send, json!({"message": {"text": "sys", "type": "system", "user_id": "ada"}})).await.ok();
    assert_eq!(unread().await, 1);
    // Speaking is reading.
    grace.say("messaging:lobby", "hi").await;
    assert_eq!(unread().await, 0);
    assert_eq!(ada.get("/unread").await.ok()["total_unread_count"], 1);
}

async fn servers_ask_for_many(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    ada.say("messaging:lobby", "1").await;
    let counts = app.server().post("/unread_batch", json!({"user_ids": ["ada", "grace", "nobody"]})).await.ok();
    let counts = &counts["counts_by_user"];
    assert_eq!((&counts["grace"]["total_unread_count"], counts.get("nobody")), (&json!(1), None));
    assert_eq!(counts["grace"]["channel_type"][0]["channel_type"], "messaging");
    assert_eq!(ada.post("/unread_batch", json!({"user_ids": ["grace"]})).await.refused(), (403, 17));
}

async fn privacy_hides_reading(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let private =
        json!({"users": [{"id": "grace", "set": {"privacy_settings": {"read_receipts": {"enabled": false}}}}]});
    grace.patch("/users", private).await.ok();
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    ada.say("messaging:lobby", "1").await;
    grace.post("/channels/messaging/lobby/read", json!({})).await.ok();
    assert!(!ear.heard_kinds(&app.server()).await.contains(&"message.read".to_owned()));
    assert_eq!(*read_of(&state_of(&ada, "messaging:lobby").await, "grace"), Value::Null);
    assert_eq!(read_of(&state_of(&grace, "messaging:lobby").await, "grace")["unread_messages"], 0);
}

async fn deliveries_are_confirmed(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    app.server().put("/channeltypes/messaging", json!({"delivery_events": true})).await.ok();
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    let message = ada.say("messaging:lobby", "1").await;
    let delivered = json!({"latest_delivered_messages": [{"cid": "messaging:lobby", "id": message["id"]}]});
    grace.post("/channels/delivered", delivered).await.ok();
    let event = ear.hear("message.delivered").await;
    assert_eq!((&event["user"]["id"], &event["last_delivered_message_id"]), (&json!("grace"), &message["id"]));
    let state = state_of(&ada, "messaging:lobby").await;
    assert_eq!(read_of(&state, "grace")["last_delivered_message_id"], message["id"]);
}

on_both_engines!(
    reading_counts_down,
    reading_up_to_a_message,
    unreading,
    everything_read_at_once,
    unread_is_what_a_recount_says,
    servers_ask_for_many,
    privacy_hides_reading,
    deliveries_are_confirmed,
);
