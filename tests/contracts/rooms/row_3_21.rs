//! Whoever pages back while others talk sees every message once.

use super::{Board, on_both, pluck};

async fn new_messages_do_not_move_the_pages(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let room = format!("messaging:{}", board.name("general"));
    for n in 0..25 {
        ada.say(&room, &n.to_string()).await;
    }
    let mut texts = Vec::new();
    let mut query = "?limit=10".to_owned();
    loop {
        let page = ada.get(&format!("/api/rooms/{room}/messages/{query}")).await.with(200);
        texts.extend(pluck(&page["messages"], "text"));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=10&before={next}");
        grace.say(&room, "meanwhile").await;
        grace.say(&room, "and again").await;
    }
    assert_eq!(texts, (0..25).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

on_both!(new_messages_do_not_move_the_pages);
