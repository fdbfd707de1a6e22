//! Behind TLS the URL of the socket is `wss://`.

use super::{Board, on_both};

async fn tls_shows_in_the_url(board: &Board) {
    let ada = board.guest("ada");
    let headers = [("x-forwarded-proto", "https")];
    let answer = ada.call("GET", "/api/ws-auth/", &headers, None).await.with(200);
    assert!(answer["auth"].as_str().unwrap().starts_with("wss://"), "{answer}");
    let answer = ada.get("/api/ws-auth/").await.with(200);
    assert!(answer["auth"].as_str().unwrap().starts_with("ws://"), "{answer}");
}

on_both!(tls_shows_in_the_url);
