//! Who may look: not somebody without a token, not somebody who is no member of a room that is private.

use serde_json::json;

use super::{Board, on_both};

async fn private_rooms_stay_private(board: &Board) {
    let cid = board.private("secret", &["ada"]).await;
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    for call in ["config", "messages", "members", "draft"] {
        let path = format!("/rooms/{cid}/{call}/");
        ada.get(&path).await.with(200);
        assert_eq!(grace.get(&path).await.refused(), 403, "{call}");
        assert_eq!(board.stranger(None).get(&path).await.refused(), 403, "{call}");
    }
    assert_eq!(grace.post(&format!("/rooms/{cid}/messages/"), json!({"text": "x"})).await.refused(), 403);
    let mut ear = grace.listen(&format!("/ws/{cid}/")).await;
    assert_eq!(ear.hear("error").await["code"], "forbidden");
    assert_eq!(ear.closed().await, Some(1000));
    // One that was made here to be private is, too.
    let made = ada.post("/api/rooms/", json!({"name": "Mine", "private": true})).await.with(201);
    let path = format!("/rooms/{}/config/", made["cid"].as_str().unwrap());
    assert_eq!(ada.get(&path).await.with(200)["name"], "Mine");
    assert_eq!(grace.get(&path).await.refused(), 403);
    // And a member may be added.
    board.server().post(&format!("/channels/{}", cid.replace(':', "/")), json!({"add_members": [grace.id]})).await.ok();
    grace.get(&format!("/rooms/{cid}/config/")).await.with(200);
}

async fn bad_cids_are_bad_requests(board: &Board) {
    let ada = board.guest("ada");
    for cid in ["general", "a%20b:c", "messaging:", "messaging:a:b"] {
        assert_eq!(
            ada.get(&format!("/rooms/{cid}/config/")).await.with(400),
            json!({"detail": "Invalid cid"}),
            "{cid}"
        );
    }
    assert_eq!(ada.get("/rooms/nothing:general/config/").await.refused(), 404);
}

on_both!(private_rooms_stay_private, bad_cids_are_bad_requests);
