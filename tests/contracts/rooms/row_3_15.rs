//! Drafts: saved, read, deleted; each one's own.

use serde_json::json;

use super::{Board, on_both};

async fn a_draft_of_ones_own(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let room = board.name("general");
    let path = format!("/api/rooms/messaging:{room}/draft/");
    assert_eq!(ada.get(&path).await.with(200), json!({"text": ""}));
    assert_eq!(ada.post(&path, json!({"text": "hel"})).await.with(200), json!({"status": "ok"}));
    assert_eq!(ada.post(&path, json!({"text": "hello"})).await.with(200), json!({"status": "ok"}));
    assert_eq!(ada.get(&path).await.with(200), json!({"text": "hello"}));
    // By its short name too, and nobody else's.
    assert_eq!(ada.get(&format!("/rooms/{room}/draft")).await.with(200), json!({"text": "hello"}));
    assert_eq!(grace.get(&path).await.with(200), json!({"text": ""}));
    assert_eq!(ada.delete(&path).await.with(200), json!({"status": "ok"}));
    assert_eq!(ada.delete(&path).await.with(200), json!({"status": "ok"}));
    assert_eq!(ada.get(&path).await.with(200), json!({"text": ""}));
    // Emptied is deleted.
    ada.post(&path, json!({"text": "x"})).await.with(200);
    ada.post(&path, json!({"text": ""})).await.with(200);
    assert_eq!(ada.get(&path).await.with(200), json!({"text": ""}));
    assert_eq!(ada.put(&path, json!({"text": "x"})).await.refused(), 405);
    assert_eq!(ada.post(&path, json!({})).await.with(400), json!({"text": ["This field is required."]}));
    assert_eq!(ada.post(&path, json!({"text": "x".repeat(5_001)})).await.refused(), 400);
}

on_both!(a_draft_of_ones_own);
