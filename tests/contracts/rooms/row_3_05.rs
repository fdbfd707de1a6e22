//! A method that a path does not take: 405, with the sentence that clients know.

use serde_json::json;

use super::{Board, on_both};

async fn wrong_methods_are_named(board: &Board) {
    let ada = board.guest("ada");
    for (method, path) in [
        ("POST", "/api/ws-auth/"),
        ("DELETE", "/api/connection-id"),
        ("GET", "/api/editing-audit-state/"),
        ("PUT", "/api/rooms/messaging:general/draft/"),
        ("POST", "/rooms/messaging:general/config/"),
    ] {
        let refused = ada.call(method, path, &[], None).await;
        assert_eq!(refused.with(405), json!({"detail": format!("Method \"{method}\" not allowed.")}));
    }
    assert_eq!(ada.get("/api/nothing/").await.refused(), 404);
}

on_both!(wrong_methods_are_named);
