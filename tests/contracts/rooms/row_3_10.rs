//! `GET /api/vapid-public-key`: one key, the same at every node. That it outlives a restart is tested in tests/push/nodes.rs.

use super::{Board, on_two_nodes};

async fn all_nodes_have_one_key(board: &Board) {
    let key = board.guest("ada").get("/api/vapid-public-key/").await.with(200)["public_key"].clone();
    // An uncompressed point of P-256 in base64url.
    assert_eq!(key.as_str().map(|key| (key.len(), key.starts_with('B'))), Some((87, true)), "{key}");
    assert_eq!(board.guest_at(1, "grace").get("/api/vapid-public-key").await.with(200)["public_key"], key);
}

on_two_nodes!(all_nodes_have_one_key);
