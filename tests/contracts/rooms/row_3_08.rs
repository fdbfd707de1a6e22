//! The heartbeat: `cid:{id}` is the user for a minute after each sign of life.

use testkit::services;

use super::{Board, Guest, on_two_nodes};

fn redis(command: &str) -> String {
    services::redis(command)
}

fn life(key: &str) -> i64 {
    redis(&format!("TTL {key}")).trim().trim_start_matches(':').parse().unwrap()
}

async fn redis_knows_who_is_there(board: &Board) {
    if board.app().is_none() {
        return;
    }
    let mut ada = board.guest("ada");
    let said = ada.get("/api/connection-id/").await;
    ada.cookie.clone_from(&said.cookie);
    let id = said.with(200)["connection_id"].as_str().unwrap().to_owned();
    let key = format!("cid:{id}");
    assert!((1..=60).contains(&life(&key)));
    assert!(redis(&format!("GET {key}")).contains(&ada.id));
    assert_eq!(ada.get("/api/initialized/").await.ok()["initialized"], true);
    // Gone, and there again with the next call, or with a socket of the session, on any node.
    redis(&format!("DEL {key}"));
    assert_eq!(ada.get("/api/disconnected/").await.ok()["disconnected"], true);
    ada.get("/api/connection-id/").await.ok();
    assert!(life(&key) > 0);
    redis(&format!("DEL {key}"));
    let there = Guest { base: board.base(1).into(), ..ada.clone() };
    let room = board.name("general");
    let mut ear = there.enter(&room).await;
    ear.hear("user.join").await;
    assert!((1..=60).contains(&life(&key)));
    assert_eq!(ada.get("/api/disconnected/").await.ok()["disconnected"], false);
    // The end of a session is told at once.
    ada.delete("/api/session/").await.with(204);
    assert_eq!(ada.get("/api/disconnected/").await.ok()["disconnected"], true);
}

on_two_nodes!(redis_knows_who_is_there);
