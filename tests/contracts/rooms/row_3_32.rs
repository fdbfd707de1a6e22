//! Who says too much at once is closed with 4408.

use serde_json::json;

use super::{Board, on_both};

async fn a_flood_is_ended(board: &Board) {
    let mut ear = board.guest("ada").enter(&board.name("general")).await;
    for _ in 0..25 {
        ear.say(json!({"type": "ping"})).await;
    }
    for _ in 0..25 {
        ear.hear("pong").await;
    }
    for _ in 0..200 {
        if !ear.try_to_say(json!({"type": "ping"})).await {
            break;
        }
    }
    assert_eq!(ear.closed().await, Some(4408));
}

on_both!(a_flood_is_ended);
