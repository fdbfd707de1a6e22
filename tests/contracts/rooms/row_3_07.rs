//! The connection id is the same in a session and another one in every other.

use std::collections::HashSet;

use super::{Board, Guest, on_both, on_two_nodes};

async fn connection_id(guest: &Guest) -> (String, Option<String>) {
    let said = guest.get("/api/connection-id/").await;
    let cookie = said.cookie.clone();
    (said.with(200)["connection_id"].as_str().unwrap().to_owned(), cookie)
}

async fn stable_in_a_session_and_unique_across(board: &Board) {
    let mut ada = board.guest("ada");
    let (first, cookie) = connection_id(&ada).await;
    ada.cookie = Some(format!("other=1; {}", cookie.unwrap()));
    // A session that is there is not begun again.
    assert_eq!(connection_id(&ada).await, (first.clone(), None));
    // Somebody else in the same browser is another session, and so is a cookie that was written by hand.
    let grace = Guest { cookie: ada.cookie.clone(), ..board.guest("grace") };
    assert_ne!(connection_id(&grace).await.0, first);
    ada.cookie = Some(format!("millrace_session={first}"));
    assert_ne!(connection_id(&ada).await.0, first);
}

async fn a_thousand_sessions_have_a_thousand_ids(board: &Board) {
    let guests: Vec<Guest> = (0..1_000).map(|n| board.guest_at(n, "ada")).collect();
    let mut ids = HashSet::new();
    for part in guests.chunks(50) {
        let calls = part.iter().map(|guest| async move { connection_id(guest).await.0 });
        ids.extend(futures_util::future::join_all(calls).await);
    }
    assert_eq!(ids.len(), 1_000);
}

async fn any_node_knows_the_session(board: &Board) {
    let ada = board.guest_at(0, "ada");
    let (id, cookie) = connection_id(&ada).await;
    let there = Guest { cookie, ..board.guest_at(1, "ada") };
    assert_eq!(connection_id(&there).await.0, id);
}

on_both!(stable_in_a_session_and_unique_across);
on_two_nodes!(a_thousand_sessions_have_a_thousand_ids, any_node_knows_the_session);
