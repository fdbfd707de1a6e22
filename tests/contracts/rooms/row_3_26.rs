//! A socket: the room hears who comes and goes; a bad token is closed with 4401.

use super::{Board, Ear, on_both, on_two_nodes, run_with};
use testkit::client::Socket;
use testkit::{Engine, Refused};

async fn coming_and_going_is_heard(board: &Board) {
    let room = board.name("general");
    let (ada, grace) = (board.guest_at(0, "ada"), board.guest_at(1, "grace"));
    let mut hers = ada.enter(&room).await;
    assert_eq!(hers.hear("user.join").await["user"], ada.id.as_str());
    let his = grace.enter(&format!("messaging%3A{room}")).await;
    assert_eq!(hers.hear("user.join").await["user"], grace.id.as_str());
    // A second tab is nobody new, and the first to go is not the end.
    let second = grace.enter(&room).await;
    his.leave().await;
    assert!(!hers.kinds().await.iter().any(|kind| kind.starts_with("user.")));
    second.leave().await;
    let left = hers.hear("user.leave").await;
    assert_eq!(
        (left["user"].as_str(), left["cid"].as_str()),
        (Some(grace.id.as_str()), Some(&*format!("messaging:{room}")))
    );
}

async fn a_bad_token_is_told_so(board: &Board) {
    if board.app().is_none() {
        return;
    }
    for token in [None, Some("nonsense")] {
        for path in ["/ws/general/", "/ws/"] {
            assert_eq!(board.stranger(token).listen(path).await.closed().await, Some(4401));
        }
    }
    let mut ear = board.guest("ada").listen("/ws/a%20b/").await;
    assert_eq!(ear.hear("error").await["code"], "invalid_cid");
}

#[tokio::test]
async fn development_lets_anybody_in() {
    let secret = millrace::config::DEVELOPMENT_API_SECRET;
    let settings = [("MILLRACE_API_SECRET", secret), ("MILLRACE_DEMO", "false")];
    run_with(Engine::Memory, 1, &settings, async |board| {
        let mut ear = board.stranger(None).enter("general").await;
        assert_eq!(ear.hear("user.join").await["user"], "anonymous");
        // But no foreign page: a browser says where it comes from.
        let url = format!("{}/ws/general/", board.base(0).replacen("http", "ws", 1));
        let foreign = Socket::dial(&url, &[("origin", "https://evil.example")]).await;
        assert!(matches!(foreign, Err(Refused::Unreachable(reason)) if reason.contains("403")));
        let mut own = Ear::dial(&url, &[("origin", "http://localhost:3000")]).await;
        own.say(serde_json::json!({"type": "ping"})).await;
        own.hear("pong").await;
    })
    .await;
}

on_both!(a_bad_token_is_told_so);
on_two_nodes!(coming_and_going_is_heard);
