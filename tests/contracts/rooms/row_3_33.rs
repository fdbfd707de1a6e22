//! Somebody is online for as long as one socket is open, however many there are.

use serde_json::json;

use super::{Board, on_both, on_two_nodes};

async fn tabs_count_once(board: &Board) {
    let (ada, room) = (board.guest("ada"), board.name("general"));
    ada.post("/api/sync-user/", json!({})).await.ok();
    board.guest("grace").post("/api/sync-user/", json!({})).await.ok();
    let grace = board.stream("grace");
    let mut ear = grace.listen().await;
    let query = json!({"filter_conditions": {"id": ada.id}, "presence": true});
    let online = async || grace.query("/users", query.clone()).await.ok()["users"][0]["online"].clone();
    assert_eq!(online().await, false);
    let first = ada.enter(&room).await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], true);
    let mut second = board.guest_at(1, "ada").listen("/ws/").await;
    second.be_in().await;
    assert_eq!(online().await, true);
    first.leave().await;
    assert_eq!(online().await, true);
    second.leave().await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], false);
    assert_eq!(online().await, false);
}

on_both!(tabs_count_once);
on_two_nodes!(tabs_count_once);
