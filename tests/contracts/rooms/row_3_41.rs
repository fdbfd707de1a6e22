//! One conversation: what a Stream client says is heard here, and the other way round.

use serde_json::json;

use super::{Board, on_both, on_two_nodes, pluck};

async fn both_surfaces_tell_one_story(board: &Board) {
    let room = board.name("general");
    let cid = format!("messaging:{room}");
    let (guest, there) = (board.guest_at(0, "ada"), board.guest_at(1, "grace"));
    guest.say(&room, "from the room").await;
    let mut here = there.enter(&room).await;
    here.hear("user.join").await;
    let stream = board.stream("ada");
    let mut ear = stream.listen().await;
    let path = format!("/channels/messaging/{room}/query");
    let state = stream.post(&path, json!({"watch": true, "state": true})).await.ok();
    assert_eq!(pluck(&state["messages"], "text"), ["from the room"]);
    let sent = stream.say(&cid, "from a Stream client").await;
    let heard = here.hear("message.new").await;
    assert_eq!((&heard["text"], &heard["id"], &heard["user"]), (&sent["text"], &sent["id"], &json!(guest.id)));
    here.say(json!({"type": "message.new", "text": "from the socket"})).await;
    let heard = ear.hear_where("message.new", |event| event["message"]["text"] == "from the socket").await;
    assert_eq!(heard["user"]["id"], there.id.as_str());
    // Changes, reactions and typing too.
    let id = sent["id"].as_str().unwrap();
    stream.post(&format!("/messages/{id}/reaction"), json!({"reaction": {"type": "love"}})).await.ok();
    assert_eq!(here.hear("reaction.new").await["reaction"]["type"], "love");
    guest.put(&format!("/api/messages/{id}/"), json!({"text": "changed"})).await.ok();
    assert_eq!(here.hear("message.updated").await["message"]["text"], "changed");
    assert_eq!(ear.hear("message.updated").await["message"]["text"], "changed");
    here.say(json!({"type": "typing.start"})).await;
    assert_eq!(ear.hear("typing.start").await["user"]["id"], there.id.as_str());
    guest.delete(&format!("/api/messages/{id}/")).await.ok();
    assert_eq!(here.hear("message.deleted").await["id"], id);
    assert_eq!(ear.hear("message.deleted").await["message"]["id"], id);
    let listed = guest.get(&format!("/api/rooms/{cid}/messages/")).await.ok();
    assert_eq!(pluck(&listed["messages"], "text"), ["from the socket", "", "from the room"]);
}

on_both!(both_surfaces_tell_one_story);
on_two_nodes!(both_surfaces_tell_one_story);
