//! A token that is tampered with, expired or not there: 403, never 401.

use serde_json::json;

use super::{Board, on_both};

async fn bad_tokens_are_forbidden(board: &Board) {
    let good = board.guest("ada").token.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let id = board.name("ada");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{head}.{flipped}{}", &signature[1..]);
    for token in [
        None,
        Some(String::new()),
        Some("nonsense".into()),
        Some(tampered),
        Some(testkit::client::sign("another secret, which is not the server's", &json!({"sub": id}))),
        Some(board.token(&json!({"sub": id, "exp": now - 60}))),
        Some(board.token(&json!({"sub": id, "nbf": now + 120}))),
        Some(board.token(&json!({"server": true}))),
        Some(board.token(&json!({"email": "ada@example.org"}))),
        Some(board.token(&json!({"sub": "a b"}))),
    ] {
        for path in ["/api/ws-auth", "/api/rooms/messaging:general/config", "/rooms/general/messages/", "/api/token/"] {
            let refused = board.stranger(token.as_deref()).get(path).await;
            assert_eq!(refused.refused(), 403, "{token:?} {path}");
        }
    }
    // Clocks differ by some seconds; both claims that name a user are good; the audience is nobody's business.
    for claims in [json!({"sub": id, "exp": now - 10}), json!({"user_id": id}), json!({"sub": id, "aud": "anything"})] {
        board.stranger(Some(&board.token(&claims))).get("/api/ws-auth").await.with(200);
    }
    // A session's cookie is no token.
    let cookie = board.guest("ada").get("/api/connection-id/").await.cookie.unwrap();
    let value = cookie.split_once('=').unwrap().1;
    assert_eq!(board.stranger(Some(value)).get("/api/ws-auth").await.refused(), 403);
}

on_both!(bad_tokens_are_forbidden);
