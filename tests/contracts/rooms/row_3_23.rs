//! `POST /rooms/<cid>/messages`: 201 with the message, and the room hears it.

use serde_json::{Value, json};

use super::{Board, on_both};

async fn a_message_is_made(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let room = board.name("general");
    let path = format!("/api/rooms/messaging:{room}/messages/");
    let mut peer = grace.enter(&room).await;
    let sent = ada.post(&path, json!({"text": "hello", "custom_data": {"color": "red"}})).await.with(201);
    assert_eq!((&sent["text"], &sent["body"], &sent["sent_by"]), (&json!("hello"), &json!("hello"), &json!(ada.id)));
    assert!(sent["id"].is_string() && sent["created_at"].is_string() && sent["updated_at"].is_string());
    assert_eq!((&sent["deleted_at"], &sent["custom_data"]), (&Value::Null, &json!({"color": "red"})));
    let heard = peer.hear("message.new").await;
    assert_eq!((&heard["id"], &heard["text"], &heard["user"]), (&sent["id"], &json!("hello"), &json!(ada.id)));
    assert_eq!(heard["message"], sent);
    // A reply belongs to its thread, and is shown in the room only if that is asked for.
    let reply = ada.post(&path, json!({"text": "reply", "reply_to": sent["id"]})).await.with(201);
    assert_eq!(reply["reply_to"], sent["id"]);
    let shown = json!({"text": "shown", "reply_to": sent["id"], "show_in_channel": true});
    ada.post(&path, shown).await.with(201);
    let listed = ada.get(&path).await.with(200);
    assert_eq!(super::pluck(&listed["messages"], "text"), ["shown", "hello"]);
    // What cannot be is said in the words that forms understand.
    assert_eq!(ada.post(&path, json!({})).await.with(400), json!({"text": ["This field is required."]}));
    assert_eq!(ada.post(&path, json!({"text": "  "})).await.refused(), 400);
    assert_eq!(ada.post(&path, json!({"text": 5})).await.refused(), 400);
    assert_eq!(ada.post(&path, json!({"text": "x", "reply_to": "nothing"})).await.refused(), 400);
}

on_both!(a_message_is_made);
