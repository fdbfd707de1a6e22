//! `general` is `messaging:general`: one room.

use serde_json::json;

use super::{Board, on_both};

async fn two_names_one_room(board: &Board) {
    let room = board.name("general");
    let mut short = board.guest("ada").enter(&room).await;
    let mut long = board.guest("grace").enter(&format!("messaging:{room}")).await;
    short.say(json!({"type": "message.new", "text": "hello"})).await;
    assert_eq!(long.hear("message.new").await["text"], "hello");
    long.say(json!({"type": "message.new", "cid": room, "text": "hi"})).await;
    assert_eq!(
        short.hear_where("message.new", |frame| frame["text"] == "hi").await["cid"],
        format!("messaging:{room}")
    );
}

on_both!(two_names_one_room);
