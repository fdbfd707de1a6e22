//! Threads: replies and what their parents show.

use serde_json::json;
use testkit::{App, on_both_engines};

use crate::{lobby, pluck, state_of, watch};

const SEND: &str = "/channels/messaging/lobby/message";

async fn replies_hang_on_their_parent(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let parent = ada.say("messaging:lobby", "question").await;
    let reply = json!({"message": {"text": "answer", "parent_id": parent["id"]}});
    let first = grace.post(SEND, reply).await.ok()["message"].clone();
    assert_eq!((&first["type"], &first["parent_id"]), (&json!("reply"), &parent["id"]));
    let event = ear.hear_where("message.new", |event| event["message"]["parent_id"] == parent["id"]).await;
    assert_eq!(event["message"]["text"], "answer");
    let event = ear.hear("message.updated").await;
    assert_eq!((&event["message"]["reply_count"], &event["message"]["id"]), (&json!(1), &parent["id"]));
    assert_eq!(pluck(&event["message"]["thread_participants"], "id"), ["grace"]);
    let shown = json!({"message": {"text": "also here", "parent_id": parent["id"], "show_in_channel": true}});
    let second = ada.post(SEND, shown).await.ok()["message"].clone();
    // In the channel: the parent and what is shown in it.
    let state = state_of(&ada, "messaging:lobby").await;
    assert_eq!(pluck(&state["messages"], "text"), ["question", "also here"]);
    assert_eq!(state["messages"][0]["reply_count"], 2);
    let replies = format!("/messages/{}/replies", parent["id"].as_str().unwrap());
    let all = ada.get(&replies).await.ok();
    assert_eq!(pluck(&all["messages"], "text"), ["answer", "also here"]);
    let older = ada.get(&format!("{replies}?limit=1&id_lt={}", second["id"].as_str().unwrap())).await.ok();
    assert_eq!(pluck(&older["messages"], "text"), ["answer"]);
    // One level.
    let nested = json!({"message": {"text": "deeper", "parent_id": first["id"]}});
    assert_eq!(ada.post(SEND, nested).await.refused(), (400, 21));
}

async fn deleted_replies_count_no_more(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let parent = ada.say("messaging:lobby", "question").await;
    let mut replies = Vec::new();
    for text in ["one", "two", "three"] {
        let reply = json!({"message": {"text": text, "parent_id": parent["id"]}});
        replies.push(ada.post(SEND, reply).await.ok()["message"]["id"].as_str().unwrap().to_owned());
    }
    ada.delete(&format!("/messages/{}", replies[0])).await.ok();
    app.server().delete(&format!("/messages/{}?hard=true", replies[1])).await.ok();
    let path = format!("/messages/{}", parent["id"].as_str().unwrap());
    let shown = ada.get(&path).await.ok()["message"].clone();
    assert_eq!((&shown["reply_count"], &shown["deleted_reply_count"]), (&json!(1), &json!(1)));
    // The parent takes its thread with it.
    app.server().delete(&format!("{path}?hard=true")).await.ok();
    assert_eq!(ada.get(&format!("/messages/{}", replies[2])).await.refused(), (404, 16));
}

async fn replies_may_be_switched_off(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let parent = ada.say("messaging:lobby", "question").await;
    app.server().put("/channeltypes/messaging", json!({"replies": false})).await.ok();
    let reply = json!({"message": {"text": "answer", "parent_id": parent["id"]}});
    assert_eq!(ada.post(SEND, reply).await.refused(), (400, 19));
}

async fn threads_are_read_apart(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let parent = ada.say("messaging:lobby", "question").await;
    let reply = json!({"message": {"text": "answer", "parent_id": parent["id"]}});
    grace.post(SEND, reply.clone()).await.ok();
    // The author of the parent and who replied take part.
    let unread = ada.get("/unread").await.ok();
    assert_eq!(
        (&unread["total_unread_threads_count"], &unread["threads"][0]["parent_message_id"]),
        (&json!(1), &parent["id"])
    );
    assert_eq!(grace.get("/unread").await.ok()["total_unread_threads_count"], 0);
    assert_eq!(ada.listen().await.me()["unread_threads"], 1);
    let mut ear = ada.listen().await;
    ada.post("/channels/messaging/lobby/read", json!({"thread_id": parent["id"]})).await.ok();
    assert_eq!(ear.hear("notification.mark_read").await["unread_threads"], 0);
    assert_eq!(ada.get("/unread").await.ok()["total_unread_threads_count"], 0);
    // And are told of replies while they do not watch.
    grace.post(SEND, reply).await.ok();
    let event = ear.hear("notification.thread_message_new").await;
    assert_eq!((&event["message"]["parent_id"], &event["unread_threads"]), (&parent["id"], &json!(1)));
    // Marked unread again.
    ada.post("/channels/messaging/lobby/read", json!({"thread_id": parent["id"]})).await.ok();
    ada.post("/channels/messaging/lobby/unread", json!({"thread_id": parent["id"]})).await.ok();
    assert_eq!(ada.get("/unread").await.ok()["total_unread_threads_count"], 1);
}

on_both_engines!(
    replies_hang_on_their_parent,
    deleted_replies_count_no_more,
    replies_may_be_switched_off,
    threads_are_read_apart,
);
