//! `GET /api/ws-auth`: a URL for a socket, good for five minutes and usable.

use super::{Board, Ear, keys, on_both};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

async fn a_url_that_opens_a_socket(board: &Board) {
    let ada = board.guest("ada");
    let answer = ada.get("/api/ws-auth/").await.with(200);
    assert_eq!(keys(&answer), ["auth", "expires"]);
    let url = answer["auth"].as_str().unwrap();
    let (host, token) = url.split_once("/ws/?token=").unwrap();
    assert_eq!(host, board.base(0).replacen("http", "ws", 1));
    assert_eq!(token.split('.').count(), 3);
    let expires = answer["expires"].as_str().unwrap();
    assert!(expires.ends_with("+00:00"), "{expires}");
    let left = (OffsetDateTime::parse(expires, &Rfc3339).unwrap() - OffsetDateTime::now_utc()).whole_seconds();
    assert!((290..=300).contains(&left), "{left}");
    let room = board.name("general");
    let mut ear = Ear::dial(url, &[]).await;
    ear.say(serde_json::json!({"type": "channel.watch", "cid": format!("messaging:{room}")})).await;
    assert_eq!(ear.hear("initialized").await["initialized"], true);
    assert_eq!(ear.hear("user.join").await["user"], ada.id.as_str());
}

on_both!(a_url_that_opens_a_socket);
