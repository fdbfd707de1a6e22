//! No redirect: every path answers with and without the slash at its end, with and without `/api`, in both spellings of a cid.

use super::{Board, on_both};

async fn both_forms_answer_directly(board: &Board) {
    let ada = board.guest("ada");
    for path in ["/api/ws-auth", "/api/connection-id", "/api/token", "/api/rooms", "/rooms", "/api/rooms/active"] {
        for slash in ["", "/", "?x=1", "/?x=1"] {
            ada.get(&format!("{path}{slash}")).await.with(200);
        }
    }
    let room = board.name("general");
    for prefix in ["/api/rooms", "/rooms"] {
        for cid in [format!("messaging:{room}"), format!("messaging%3A{room}"), format!("messaging%3a{room}")] {
            for call in ["config", "messages", "members", "draft", "config-state", "count_unread"] {
                for slash in ["", "/"] {
                    ada.get(&format!("{prefix}/{cid}/{call}{slash}")).await.with(200);
                }
            }
        }
    }
}

on_both!(both_forms_answer_directly);
