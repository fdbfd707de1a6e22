//! Sending, changing and deleting messages.

use serde_json::json;
use testkit::{App, on_both_engines};

async fn a_message_is_sent_and_heard(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    app.server()
        .post("/channels/messaging/lobby/query", json!({"data": {"created_by_id": "ada", "members": ["ada", "grace"]}}))
        .await
        .ok();
    grace.post("/channels/messaging/lobby/query", json!({"watch": true, "state": true})).await.ok();
    let message = ada.say("messaging:lobby", "hello").await;
    let event = ear.hear("message.new").await;
    assert_eq!(event["message"]["id"], message["id"]);
}

on_both_engines!(a_message_is_sent_and_heard);
