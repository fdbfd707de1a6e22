//! The rooms surface: the nine endpoints of founding document 003 and every other call that its UI adapter makes.
//!
//! Thin projections of chat: a room is a channel of type `messaging`, what is said here is a Stream message and the other way
//! round. Answers are plain JSON without `duration`; errors are `{"detail": …}`, and whoever cannot say who it is hears 403.
//! Every path stands in router.rs once, under `/api`; those of rooms are also served without it. The sockets are in ws/rooms.rs.

pub mod auth;
pub mod channels;
pub mod composer;
pub mod config;
pub mod drafts;
pub mod editing;
pub mod messages;
pub mod mutes;
pub mod page;
pub mod room;

pub mod session;
pub mod shape;
pub mod subscriptions;
pub mod things;

use axum::Json;
use serde_json::{Value, json};

/// What calls without anything to tell answer.
fn ok() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Which part of the surface a path belongs to: what `[rooms] off` names.
pub fn part_of(path: &str) -> &'static str {
    let path = path.strip_prefix("/api").unwrap_or(path);
    match path {
        "/ws-auth/" => "ws-auth",
        "/connection-id/" => "connection-id",
        "/register-subscriptions/" | "/vapid-public-key/" => "register-subscriptions",
        "/editing-audit-state/" => "editing-audit-state",
        "/rooms/{room}/draft/" => "draft",
        "/rooms/{room}/config/" => "config",
        "/rooms/{room}/messages/" => "messages",
        "/rooms/{room}/members/" => "members",
        path if path.starts_with("/ws/") => "ws",
        _ => "adapter",
    }
}
