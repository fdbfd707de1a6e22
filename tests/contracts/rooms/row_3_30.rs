//! The older frame of a message, for everybody but its author.

use serde_json::json;

use super::{Board, on_both};

async fn others_hear_the_older_frame_too(board: &Board) {
    let room = board.name("general");
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let (mut hers, mut his) = (ada.enter(&room).await, grace.enter(&room).await);
    his.hear_where("user.join", |frame| frame["user"] == grace.id.as_str()).await;
    hers.say(json!({"type": "message.new", "text": "hello"})).await;
    let new = his.hear("message.new").await;
    let older = his.hear("message").await;
    assert_eq!(older["data"], new["message"]);
    assert_eq!((&older["data"]["text"], &older["data"]["sent_by"]), (&json!("hello"), &json!(ada.id)));
    hers.hear("message.new").await;
    assert!(!hers.kinds().await.contains(&"message".to_owned()));
}

on_both!(others_hear_the_older_frame_too);
