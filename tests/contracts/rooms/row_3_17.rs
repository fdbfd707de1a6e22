//! A draft is gone when its author sends: by a call, on a socket, or as a Stream client; on whichever node.

use serde_json::json;

use super::{Board, on_both, on_two_nodes};

async fn sending_ends_it(board: &Board) {
    let room = board.name("general");
    let path = format!("/api/rooms/{room}/draft/");
    let (ada, grace) = (board.guest("ada"), board.guest_at(1, "grace"));
    let there = board.guest_at(1, "ada");
    let save = async || ada.post(&path, json!({"text": "hello"})).await.with(200);
    let drafted = async || ada.get(&path).await.with(200)["text"] == "hello";
    save().await;
    grace.say(&room, "somebody else's").await;
    assert!(drafted().await);
    there.say(&room, "by a call").await;
    assert!(!drafted().await);

    save().await;
    let mut ear = there.enter(&room).await;
    ear.say(json!({"type": "message.new", "text": "on a socket"})).await;
    ear.hear("message.new").await;
    assert!(!drafted().await);

    save().await;
    board.stream("ada").say(&format!("messaging:{room}"), "as a Stream client").await;
    assert!(!drafted().await);
    assert_eq!(there.get(&path).await.with(200), json!({"text": ""}));
}

on_both!(sending_ends_it);
on_two_nodes!(sending_ends_it);
