//! `POST /api/register-subscriptions`: knocked on with nothing, and told of browsers, each once.

use serde_json::json;

use super::{Board, on_both};

/// A browser's keys: the point and the secret of RFC 8291, section 5.
const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

async fn nothing_is_fine(board: &Board) {
    let ada = board.guest("ada");
    let answer = ada.post("/api/register-subscriptions/", json!(null)).await.with(201);
    assert_eq!(answer["subscriptions"], json!([]));
    let refused = ada.get("/api/register-subscriptions/").await.with(405);
    assert_eq!(refused, json!({"detail": "Method \"GET\" not allowed."}));
}

async fn a_browser_is_echoed_and_its_owner_told(board: &Board) {
    let ada = board.guest("ada");
    let mut ear = ada.enter(&board.name("general")).await;
    let browser = json!({"endpoint": format!("https://push.example.com/{}", board.name("x")), "expirationTime": null,
        "keys": {"p256dh": P256DH, "auth": AUTH}});
    let body = json!({"subscriptions": [browser], "client_id": "c1", "platform": "web"});
    for _ in 0..2 {
        assert_eq!(ada.post("/api/register-subscriptions", body.clone()).await.with(201), body);
        assert_eq!(ear.hear("push.subscription.registered").await["client_id"], "c1");
    }
}

async fn what_is_no_browser_is_refused(board: &Board) {
    let ada = board.guest("ada");
    for (endpoint, auth) in
        [("http://push.example.com/x", AUTH), ("https://10.0.0.1/x", AUTH), ("https://push.example.com/x", "short")]
    {
        let browser = json!({"endpoint": endpoint, "keys": {"p256dh": P256DH, "auth": auth}});
        let refused = ada.post("/api/register-subscriptions/", json!({"subscriptions": [browser]})).await.with(400);
        assert!(refused["detail"].is_string(), "{refused}");
    }
}

on_both!(nothing_is_fine, a_browser_is_echoed_and_its_owner_told, what_is_no_browser_is_refused);
