//! Tokens and users: without these two calls the UI does not begin.

use serde_json::json;
use testkit::Person;
use testkit::client::Client;

use super::{Board, keys, on_both};

async fn a_token_for_the_stream_surface(board: &Board) {
    let ada = board.guest("ada");
    let synced = ada.post("/api/sync-user/", json!({"username": "Ada"})).await.ok();
    assert_eq!(synced, json!({"id": ada.id, "username": "Ada"}));
    // Without a body it is as it was.
    assert_eq!(ada.call("POST", "/api/sync-user/", &[], None).await.ok(), synced);
    let token = ada.get("/api/token/").await.with(200);
    assert_eq!(keys(&token), ["userID", "userToken"]);
    assert_eq!(token["userID"], ada.id.as_str());
    let client = Client::new(board.base(0), &board.api.0).with_token(token["userToken"].as_str().unwrap());
    let ear = Person::new(&ada.id, client).listen().await;
    assert_eq!(ear.me()["name"], "Ada");
    // What the issuer knows somebody by is not told to others.
    let id = board.name("grace");
    let grace = board.stranger(Some(&board.token(&json!({"sub": id, "email": "grace@example.org"}))));
    assert_eq!(grace.get("/api/user/").await.ok(), json!({"id": id, "username": id}));
    let fresh = ada.get("/api/refresh-token/").await.with(200)["token"].as_str().unwrap().to_owned();
    board.stranger(Some(&fresh)).get("/api/user/").await.with(200);
}

on_both!(a_token_for_the_stream_surface);
