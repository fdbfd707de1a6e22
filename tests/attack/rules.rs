//! Which rule does it go round: what somebody may do at one door and not at another.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{channel, watch};

/// What clients take for a word of the server's own.
async fn events_say_nothing_in_our_name(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let forged = json!({
        "error": {"code": 40, "message": "token expired"}, "me": {"id": "ada"}, "thread": {}, "hard_delete": true,
        "total_unread_count": 9, "unread_count": 9, "spam": "eggs",
    });
    for kind in ["typing.start", "rain"] {
        let mut event = forged.clone();
        event["type"] = kind.into();
        let sent = ada.post("/channels/messaging/lobby/event", json!({"event": event})).await.ok();
        for event in [&sent["event"], &ear.hear(kind).await] {
            for key in ["error", "me", "thread", "hard_delete", "total_unread_count", "unread_count"] {
                assert_eq!(event[key], Value::Null, "{key} of {event}");
            }
            let spam = if kind == "rain" { json!("eggs") } else { Value::Null };
            assert_eq!(event["spam"], spam, "{event}");
        }
    }
}

on_both_engines!(events_say_nothing_in_our_name);
