//! `GET /rooms/<cid>/members`: a plain list in pages, with real roles and bans.

use serde_json::json;

use super::{Board, keys, on_both, pluck};

async fn pages_of_forty_five(board: &Board) {
    let names: Vec<String> = (0..45).map(|n| format!("m{n:02}")).collect();
    let everybody: Vec<&str> = names.iter().map(String::as_str).collect();
    let cid = board.private("crowd", &everybody).await;
    let ada = board.guest("m00");
    let path = format!("/rooms/{cid}/members/");
    let first = ada.get(&path).await.with(200);
    assert_eq!(first.as_array().unwrap().len(), 20);
    let second = ada.get(&format!("{path}?limit=20&offset=20")).await.with(200);
    assert_eq!(second.as_array().unwrap().len(), 20);
    let third = ada.get(&format!("{path}?limit=20&offset=40")).await.with(200);
    let mut ids = [pluck(&first, "id"), pluck(&second, "id"), pluck(&third, "id")].concat();
    assert_eq!(ids.len(), 45);
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), 45);
    assert_eq!(keys(&first[0]), ["banned", "id", "role"]);
    assert_eq!((&first[0]["role"], &first[1]["role"]), (&json!("owner"), &json!("member")));
    let channel = format!("/channels/{}", cid.replace(':', "/"));
    let change = json!({"add_moderators": [board.name("m01")]});
    board.server().post(&channel, change).await.ok();
    let page = ada.get(&format!("{path}?limit=2")).await.with(200);
    assert_eq!(page[1]["role"], "moderator");
    assert_eq!(ada.get(&format!("{path}?limit=1000")).await.with(200).as_array().unwrap().len(), 45);
    for wrong in ["?limit=x", "?offset=x", "?offset=-1"] {
        assert_eq!(ada.get(&format!("{path}{wrong}")).await.refused(), 400, "{wrong}");
    }
    // Bans are of the membership, wherever they were made.
    if let Some(app) = board.app() {
        app.sql("UPDATE members SET banned = true WHERE user_id LIKE 'm02-%'").await;
        let page = ada.get(&format!("{path}?limit=3")).await.with(200);
        assert_eq!((&page[1]["banned"], &page[2]["banned"]), (&json!(false), &json!(true)));
    }
}

on_both!(pages_of_forty_five);
