//! The cache in front of drafts: in Redis under the documented name, for a day; and nothing is lost with it.

use serde_json::json;
use testkit::services;

use super::{Board, on_two_nodes};

async fn a_note_for_a_day(board: &Board) {
    if board.app().is_none() {
        return;
    }
    let ada = board.guest("ada");
    let cid = format!("messaging:{}", board.name("general"));
    let path = format!("/api/rooms/{cid}/draft/");
    ada.post(&path, json!({"text": "hello"})).await.with(200);
    let key = format!("draft:{}:{cid}", ada.id);
    let life: i64 = services::redis(&format!("TTL {key}")).trim().trim_start_matches(':').parse().unwrap();
    assert!((86_000..=86_400).contains(&life), "{life}");
    services::redis(&format!("DEL {key}"));
    assert_eq!(board.guest_at(1, "ada").get(&path).await.with(200), json!({"text": "hello"}));
}

on_two_nodes!(a_note_for_a_day);
