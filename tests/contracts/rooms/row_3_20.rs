//! `GET /rooms/<cid>/messages`: newest first, by cursor.

use serde_json::{Value, json};

use super::{Board, on_both, pluck};

async fn three_pages_of_forty_five(board: &Board) {
    let ada = board.guest("ada");
    let room = format!("messaging:{}", board.name("general"));
    for n in 0..45 {
        ada.say(&room, &n.to_string()).await;
    }
    let path = format!("/api/rooms/{room}/messages/");
    let mut texts = Vec::new();
    let mut sizes = Vec::new();
    let mut next = Value::Null;
    loop {
        let before = next.as_str().map(|id| format!("?before={id}")).unwrap_or_default();
        let page = ada.get(&format!("{path}{before}")).await.with(200);
        sizes.push(page["messages"].as_array().unwrap().len());
        texts.extend(pluck(&page["messages"], "text"));
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(sizes, [20, 20, 5]);
    assert_eq!(texts, (0..45).rev().map(|n| n.to_string()).collect::<Vec<_>>());
    let count =
        async |query: &str| ada.get(&format!("{path}{query}")).await.with(200)["messages"].as_array().unwrap().len();
    assert_eq!(count("?limit=3").await, 3);
    assert_eq!(count("?limit=1000").await, 45);
    assert_eq!(count("?limit=0").await, 1);
    assert_eq!(count("?limit=-5").await, 1);
    assert_eq!(count("?before=nothing").await, 0);
    assert_eq!(ada.get(&format!("{path}?limit=45")).await.with(200)["next"], Value::Null);
    assert_eq!(ada.get(&format!("{path}?limit=x")).await.with(400), json!({"detail": "Invalid limit"}));
}

on_both!(three_pages_of_forty_five);
