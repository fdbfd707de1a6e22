//! A message on a socket: heard as a frame, stored, and there for calls.

use serde_json::json;

use super::{Board, on_both};

async fn a_frame_is_a_message(board: &Board) {
    let ada = board.guest("ada");
    let room = board.name("general");
    let cid = format!("messaging:{room}");
    let mut ear = ada.enter(&room).await;
    ear.say(json!({"type": "message.new", "cid": cid, "text": "hello"})).await;
    let heard = ear.hear("message.new").await;
    assert_eq!((&heard["cid"], &heard["text"], &heard["user"]), (&json!(cid), &json!("hello"), &json!(ada.id)));
    assert!(heard["created_at"].is_string());
    let listed = ada.get(&format!("/api/rooms/{cid}/messages/")).await.with(200);
    assert_eq!(listed["messages"][0], heard["message"]);
    for (frame, code) in [
        (json!({"type": "message.new", "text": ""}), "input"),
        (json!({"type": "message.new"}), "input"),
        (json!({"type": "message.new", "text": "x".repeat(5_001)}), "message_too_long"),
        (json!({"type": "message.new", "cid": "a b", "text": "x"}), "invalid_cid"),
        (json!({"type": "dance"}), "unknown_type"),
        (json!([1]), "invalid_json"),
    ] {
        ear.say(frame.clone()).await;
        assert_eq!(ear.hear("error").await["code"], code, "{frame}");
    }
}

on_both!(a_frame_is_a_message);
