//! `POST /api/editing-audit-state`: the keys come back, and those in the same rooms hear of it.

use serde_json::{Value, json};

use super::{Board, on_both, on_two_nodes};

async fn peers_hear_who_edits(board: &Board) {
    let room = board.name("general");
    // The call may come to another node than the sockets.
    let (ada, grace) = (board.guest_at(1, "ada"), board.guest_at(0, "grace"));
    let mut hers = board.guest_at(0, "ada").enter(&room).await;
    let mut peer = grace.enter(&room).await;
    peer.hear_where("user.join", |frame| frame["user"] == grace.id.as_str()).await;
    let state = json!({"draft_update": 1_750_000_000_000_i64, "state_update": null});
    assert_eq!(ada.post("/api/editing-audit-state/", state.clone()).await.with(200), state);
    let event = peer.hear("editing.state").await;
    assert_eq!((&event["draft_update"], &event["state_update"]), (&state["draft_update"], &Value::Null));
    assert_eq!((&event["user_id"], &event["cid"]), (&json!(ada.id), &json!(format!("messaging:{room}"))));
    // Where, said; and a cursor.
    let cursor = json!({"cid": format!("messaging:{room}"), "cursor": {"at": 3}, "state_update": 5});
    let echo = ada.post("/api/editing-audit-state", cursor).await.with(200);
    assert_eq!(echo, json!({"draft_update": null, "state_update": 5}));
    assert_eq!(peer.hear("editing.state").await["cursor"], json!({"at": 3}));
    assert!(!hers.kinds().await.contains(&"editing.state".to_owned()), "who edits knows");
}

async fn nothing_said_is_nothing_changed(board: &Board) {
    let ada = board.guest("ada");
    let nothing = json!({"draft_update": null, "state_update": null});
    assert_eq!(ada.post("/api/editing-audit-state/", json!({})).await.with(200), nothing);
    assert_eq!(ada.post("/api/editing-audit-state/", json!({"draft_update": "soon"})).await.refused(), 400);
    assert_eq!(ada.post("/api/editing-audit-state/", json!({"cid": "a b"})).await.refused(), 400);
}

on_both!(nothing_said_is_nothing_changed);
on_two_nodes!(peers_hear_who_edits);
