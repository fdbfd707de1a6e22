//! Typing reaches the others in the room, and ends by itself.

use serde_json::json;

use super::{Board, on_both};

async fn typing_is_heard_by_the_others(board: &Board) {
    let room = board.name("general");
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let (mut hers, mut peer) = (ada.enter(&room).await, grace.enter(&room).await);
    peer.hear_where("user.join", |frame| frame["user"] == grace.id.as_str()).await;
    hers.say(json!({"type": "typing.start"})).await;
    let event = peer.hear("typing.start").await;
    assert_eq!(event, json!({"type": "typing.start", "user_id": ada.id, "cid": format!("messaging:{room}")}));
    hers.say(json!({"type": "typing.stop"})).await;
    assert_eq!(peer.hear("typing.stop").await["user_id"], ada.id.as_str());
    assert!(!hers.kinds().await.iter().any(|kind| kind.starts_with("typing.")));
}

async fn silence_ends_it(board: &Board) {
    let room = board.name("general");
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let (mut hers, mut peer) = (ada.enter(&room).await, grace.enter(&room).await);
    peer.hear_where("user.join", |frame| frame["user"] == grace.id.as_str()).await;
    hers.say(json!({"type": "typing.start"})).await;
    peer.hear("typing.start").await;
    peer.hear("typing.stop").await;
    // So does leaving.
    hers.say(json!({"type": "typing.start"})).await;
    peer.hear("typing.start").await;
    hers.leave().await;
    peer.hear("typing.stop").await;
    peer.hear("user.leave").await;
}

on_both!(typing_is_heard_by_the_others, silence_ends_it);
