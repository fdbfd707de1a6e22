//! Two people hear each other within half a second, on one node and across two.

use std::time::{Duration, Instant};

use super::{Board, on_both, on_two_nodes};

async fn they_hear_each_other(board: &Board) {
    let room = board.name("general");
    let (ada, grace) = (board.guest_at(0, "ada"), board.guest_at(1, "grace"));
    let (mut hers, mut his) = (ada.enter(&room).await, grace.enter(&room).await);
    his.hear_where("user.join", |frame| frame["user"] == grace.id.as_str()).await;
    for (from, to, name) in [(0, 1, "first"), (1, 0, "second"), (0, 1, "third")] {
        let ears = [&mut hers, &mut his];
        let sent = Instant::now();
        ears[from].say(serde_json::json!({"type": "message.new", "text": name})).await;
        let heard = ears[to].hear_where("message.new", |frame| frame["text"] == name).await;
        let took = sent.elapsed();
        assert!(took < Duration::from_millis(500), "{name} took {took:?}");
        assert_eq!(heard["user"], [&ada, &grace][from].id.as_str());
        ears[from].hear_where("message.new", |frame| frame["text"] == name).await;
    }
}

on_both!(they_hear_each_other);
on_two_nodes!(they_hear_each_other);
