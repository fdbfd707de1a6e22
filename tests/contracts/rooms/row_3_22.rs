//! A room named by its id alone answers messages as a plain list, oldest first: older adapters take the last of it.

use super::{Board, on_both, pluck};

async fn a_plain_list_oldest_first(board: &Board) {
    let ada = board.guest("ada");
    let room = board.name("general");
    for text in ["1", "2", "3"] {
        ada.say(&room, text).await;
    }
    let list = ada.get(&format!("/api/rooms/{room}/messages/")).await.with(200);
    assert_eq!(pluck(&list, "text"), ["1", "2", "3"]);
    let list = ada.get(&format!("/rooms/{room}/messages?limit=2")).await.with(200);
    assert_eq!(pluck(&list, "text"), ["2", "3"]);
}

on_both!(a_plain_list_oldest_first);
