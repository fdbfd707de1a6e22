//! `GET /rooms/<cid>/config`: three keys and no more.

use serde_json::json;

use super::{Board, keys, on_both};

async fn name_type_and_whether_it_is_muted(board: &Board) {
    let ada = board.guest("ada");
    let cid = format!("messaging:{}", board.name("general"));
    let path = format!("/rooms/{cid}/config/");
    let config = ada.get(&path).await.with(200);
    assert_eq!(keys(&config), ["muted", "name", "type"]);
    assert_eq!(config, json!({"name": null, "type": "messaging", "muted": false}));
    let stream = board.stream("ada");
    stream.patch(&format!("/channels/{}", cid.replace(':', "/")), json!({"set": {"name": "General"}})).await.ok();
    stream.post("/moderation/mute/channel", json!({"channel_cid": cid})).await.ok();
    assert_eq!(ada.get(&path).await.with(200), json!({"name": "General", "type": "messaging", "muted": true}));
    // Muted by one is not muted by all.
    assert_eq!(board.guest("grace").get(&path).await.with(200)["muted"], false);
    stream.post("/moderation/unmute/channel", json!({"channel_cid": cid})).await.ok();
    assert_eq!(ada.get(&path).await.with(200)["muted"], false);
}

on_both!(name_type_and_whether_it_is_muted);
