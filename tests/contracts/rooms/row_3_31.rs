//! Watching, reading and unreading on a socket; and what is wrong has a code.

use serde_json::{Value, json};

use super::{Board, on_both, pluck};

async fn rooms_are_watched_on_one_socket(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let rooms = [board.name("one"), board.name("two")].map(|room| format!("messaging:{room}"));
    for n in 0..25 {
        grace.say(&rooms[0], &n.to_string()).await;
    }
    let mut ear = ada.listen("/ws/").await;
    ear.say(json!({"type": "message.new", "text": "where?"})).await;
    assert_eq!(ear.hear("error").await["code"], "not_watched");
    ear.say(json!({"type": "channel.watch", "cid": rooms[0]})).await;
    let first = ear.hear("initialized").await;
    assert_eq!((&first["cid"], &first["initialized"]), (&json!(rooms[0]), &json!(true)));
    let texts = pluck(&first["messages"], "text");
    assert_eq!((texts.len(), texts[0].as_str()), (20, "24"));
    assert_eq!(first["next"], first["messages"][19]["id"]);
    assert_eq!(pluck(&first["members"], "id").len(), 2);
    ear.say(json!({"type": "channel.watch", "cid": rooms[1]})).await;
    assert_eq!(ear.hear("initialized").await["next"], Value::Null);
    grace.say(&rooms[0], "to one").await;
    grace.say(&rooms[1], "to two").await;
    assert_eq!(ear.hear_where("message.new", |frame| frame["text"] == "to one").await["cid"], rooms[0].as_str());
    assert_eq!(ear.hear_where("message.new", |frame| frame["text"] == "to two").await["cid"], rooms[1].as_str());
    // Two rooms: which one has to be said.
    ear.say(json!({"type": "typing.start"})).await;
    assert_eq!(ear.hear("error").await["code"], "invalid_cid");
}

async fn reading_is_told(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let room = board.name("general");
    let mut hers = ada.enter(&room).await;
    let mut his = grace.enter(&room).await;
    his.hear_where("user.join", |frame| frame["user"] == grace.id.as_str()).await;
    let sent = grace.say(&room, "hello").await;
    let unread = async || ada.get(&format!("/api/rooms/{room}/count_unread/")).await.ok()["unread"].as_i64();
    assert_eq!(unread().await, Some(1));
    hers.say(json!({"type": "mark.read"})).await;
    assert_eq!(hers.hear("read").await["user"], ada.id.as_str());
    assert_eq!(his.hear("read").await["user"], ada.id.as_str());
    assert_eq!(unread().await, Some(0));
    hers.say(json!({"type": "mark.unread", "message_id": sent["id"]})).await;
    hers.hear("unread").await;
    assert_eq!(unread().await, Some(1));
    for (frame, code) in [
        (json!({"type": "channel.watch", "cid": "messaging:other"}), "cid_mismatch"),
        (json!({"type": "mark.read", "cid": "messaging:other"}), "cid_mismatch"),
        (json!({"type": "channel.watch", "cid": "a b"}), "invalid_cid"),
        (json!({"type": "channel.watch"}), "invalid_cid"),
        (json!({"type": "mark.read", "message_id": "nothing"}), "input"),
    ] {
        hers.say(frame.clone()).await;
        assert_eq!(hers.hear("error").await["code"], code, "{frame}");
    }
}

on_both!(rooms_are_watched_on_one_socket, reading_is_told);
