//! `GET /api/connection-id`: a snowflake of 64 bits that says when it was made.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Board, keys, on_both};

async fn the_time_is_in_the_id(board: &Board) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let before = now();
    let answer = board.guest("ada").get("/api/connection-id/").await.with(200);
    assert_eq!(keys(&answer), ["connection_id"]);
    let id: u64 = answer["connection_id"].as_str().unwrap().parse().unwrap();
    assert!(id < 1 << 63);
    let made = (id >> 22) + 1_704_067_200_000;
    assert!((before - 2_000..=now() + 2_000).contains(&made), "{made}");
}

on_both!(the_time_is_in_the_id);
