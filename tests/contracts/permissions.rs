//! Roles, grants and what follows from them.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{channel, lobby, state_of};

async fn own_capabilities_are_the_documented_ones(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let of = |state: &Value| {
        let list = state["channel"]["own_capabilities"].as_array().unwrap().clone();
        list.into_iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let query = json!({"state": false});
    let hers = of(&ada.post("/channels/messaging/lobby/query", query.clone()).await.ok());
    for name in [
        "send-message",
        "send-reaction",
        "send-reply",
        "upload-file",
        "read-events",
        "update-channel",
        "delete-channel",
        "update-own-message",
        "delete-own-message",
        "typing-events",
        "connect-events",
        "quote-message",
        "pin-message",
        "leave-channel",
        "mute-channel",
        "flag-message",
        "update-channel-members",
        "send-links",
        "send-custom-events",
        "search-messages",
    ] {
        assert!(hers.iter().any(|known| known == name), "{name} in {hers:?}");
    }
    let member = of(&grace.post("/channels/messaging/lobby/query", query).await.ok());
    for name in
        ["update-channel", "delete-channel", "update-channel-members", "ban-channel-members", "delete-any-message"]
    {
        assert!(!member.iter().any(|known| known == name), "{name} in {member:?}");
    }
}

async fn open_and_closed_types(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:closed", &["grace"]).await;
    channel(app, "livestream:open", &["grace"]).await;
    assert_eq!(ada.post("/channels/messaging/closed/query", json!({})).await.refused(), (403, 17));
    ada.post("/channels/livestream/open/query", json!({"state": true})).await.ok();
    ada.say("livestream:open", "hello").await;
}

async fn admins_may_and_grants_change_at_once(app: &App) {
    let server = app.server();
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["grace"]).await;
    assert_eq!(ada.post("/channels/messaging/lobby/query", json!({})).await.refused(), (403, 17));
    server.patch("/users", json!({"users": [{"id": "ada", "set": {"role": "admin"}}]})).await.ok();
    ada.post("/channels/messaging/lobby/query", json!({})).await.ok();
    // Members may not speak any more, by grant; and then again by none.
    let grants = json!({"grants": {"channel_member": ["read-channel"], "user": []}});
    server.put("/channeltypes/messaging", grants).await.ok();
    let send = json!({"message": {"text": "hello"}});
    assert_eq!(grace.post("/channels/messaging/lobby/message", send.clone()).await.refused(), (403, 17));
    server.put("/channeltypes/messaging", json!({"grants": null})).await.ok();
    grace.post("/channels/messaging/lobby/message", send).await.ok();
}

async fn a_channel_may_differ_from_its_type(app: &App) {
    let server = app.server();
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let overrides = json!({"set": {"config_overrides": {"replies": false, "max_message_length": 5, "grants": {"channel_member": ["!create-reaction"]}}}});
    server.patch("/channels/messaging/lobby", overrides).await.ok();
    assert_eq!(state_of(&ada, "messaging:lobby").await["channel"]["config"]["max_message_length"], 5);
    let long = json!({"message": {"text": "too long"}});
    assert_eq!(ada.post("/channels/messaging/lobby/message", long).await.refused(), (400, 20));
    server.patch("/channels/messaging/lobby", json!({"set": {"config_overrides": {}}})).await.ok();
    assert_eq!(state_of(&ada, "messaging:lobby").await["channel"]["config"]["max_message_length"], 5_000);
}

on_both_engines!(
    own_capabilities_are_the_documented_ones,
    open_and_closed_types,
    admins_may_and_grants_change_at_once,
    a_channel_may_differ_from_its_type,
);
