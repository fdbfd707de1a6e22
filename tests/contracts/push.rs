//! Devices and push preferences.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{lobby, pluck};

async fn a_user_has_devices(app: &App) {
    let ada = app.person("ada").await;
    for provider in ["apn", "firebase", "huawei", "xiaomi"] {
        ada.post("/devices", json!({"id": provider, "push_provider": provider})).await.ok();
    }
    // Again: nothing changes.
    ada.post("/devices", json!({"id": "apn", "push_provider": "firebase"})).await.ok();
    let devices = ada.get("/devices").await.ok()["devices"].clone();
    assert_eq!(pluck(&devices, "id"), ["apn", "firebase", "huawei", "xiaomi"]);
    assert_eq!((&devices[0]["push_provider"], &devices[0]["user_id"]), (&json!("apn"), &json!("ada")));
    ada.delete("/devices?id=huawei").await.ok();
    ada.delete("/devices?id=huawei").await.ok();
    let ear = ada.listen().await;
    assert_eq!(pluck(&ear.me()["devices"], "id"), ["apn", "firebase", "xiaomi"]);
    // Others see nothing of it, servers do.
    let grace = app.person("grace").await;
    let who = json!({"filter_conditions": {"id": "ada"}});
    assert_eq!(grace.query("/users", who.clone()).await.ok()["users"][0]["devices"], json!([]));
    assert_eq!(app.server().query("/users", who).await.ok()["users"][0]["devices"].as_array().unwrap().len(), 3);
}

async fn servers_manage_the_devices_of_users(app: &App) {
    let server = app.server();
    server
        .post("/devices", json!({"id": "d", "push_provider": "apn", "user_id": "ada", "voip_token": true}))
        .await
        .ok();
    server.post("/devices", json!({"id": "d", "push_provider": "apn", "user": {"id": "grace"}})).await.ok();
    let devices = server.get("/devices?user_id=ada").await.ok();
    assert_eq!((pluck(&devices["devices"], "user_id"), &devices["devices"][0]["voip"]), (vec!["ada"], &json!(true)));
    server.delete("/devices?id=d&user_id=ada").await.ok();
    assert_eq!(server.get("/devices?user_id=ada").await.ok()["devices"], json!([]));
    assert_eq!(server.get("/devices?user_id=grace").await.ok()["devices"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/devices").await.refused(), (400, 4));
}

async fn the_oldest_device_goes_when_there_are_too_many(app: &App) {
    let ada = app.person("ada").await;
    for number in 0..27 {
        ada.post("/devices", json!({"id": number.to_string(), "push_provider": "apn"})).await.ok();
    }
    let devices = ada.get("/devices").await.ok();
    let ids = pluck(&devices["devices"], "id");
    assert_eq!((ids.len(), ids[0], ids[24]), (25, "2", "26"));
}

async fn what_is_no_device_is_refused(app: &App) {
    let ada = app.person("ada").await;
    for wrong in [
        json!({}),
        json!({"id": "d"}),
        json!({"id": "", "push_provider": "apn"}),
        json!({"id": "d", "push_provider": "pigeon"}),
        json!({"id": "d", "push_provider": "apn", "push_provider_name": "mine"}),
        json!({"id": "x".repeat(1_025), "push_provider": "apn"}),
        json!({"id": "a\0b", "push_provider": "apn"}),
        json!({"id": "d", "push_provider": "apn", "hardware_id": "x".repeat(256)}),
    ] {
        assert_eq!(ada.post("/devices", wrong.clone()).await.refused(), (400, 4), "{wrong}");
    }
    let of_others = json!({"id": "d", "push_provider": "apn", "user_id": "grace"});
    assert_eq!(ada.post("/devices", of_others).await.refused(), (403, 17));
    assert_eq!(ada.delete("/devices").await.refused(), (400, 4));
    assert_eq!(ada.get("/devices").await.ok()["devices"], json!([]));
}

async fn users_say_what_they_want_to_be_pushed(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let until = "2030-01-01T00:00:00.000000Z";
    let changes = json!({"preferences": [
        {"chat_level": "mentions", "disabled_until": until, "call_level": "none"},
        {"channel_cid": "messaging:lobby", "chat_level": "none"},
    ]});
    let answer = ada.post("/push_preferences", changes).await.ok();
    let mine = json!({"chat_level": "mentions", "disabled_until": until});
    assert_eq!(answer["user_preferences"], json!({"ada": mine}));
    assert_eq!(answer["user_channel_preferences"], json!({"ada": {"messaging:lobby": {"chat_level": "none"}}}));
    assert_eq!(ada.listen().await.me()["push_preferences"], mine);
    // What is not said stays.
    let answer = ada.post("/push_preferences", json!({"preferences": [{"remove_disable": true}]})).await.ok();
    assert_eq!(answer["user_preferences"]["ada"], json!({"chat_level": "mentions"}));
    let answer = ada.post("/push_preferences", json!({"preferences": [{"chat_level": "default"}]})).await.ok();
    assert_eq!((&answer["user_preferences"]["ada"], &answer["user_channel_preferences"]), (&json!({}), &json!({})));
}

async fn preferences_that_mean_nothing_are_refused(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    let refused = async |preferences: Value| {
        let answer = ada.post("/push_preferences", json!({"preferences": preferences})).await;
        answer.refused()
    };
    assert_eq!(refused(json!([])).await, (400, 4));
    assert_eq!(refused(json!([{"chat_level": "some"}])).await, (400, 4));
    assert_eq!(refused(json!([{"chat_preferences": {"direct_mentions": "all"}}])).await, (400, 4));
    assert_eq!(refused(json!([{"disabled_until": "soon"}])).await, (400, 4));
    assert_eq!(refused(json!([{"channel_cid": "lobby"}])).await, (400, 4));
    assert_eq!(refused(json!([{"channel_cid": "messaging:nowhere"}])).await, (404, 16));
    assert_eq!(refused(json!([{"chat_level": "all"}, {"user_id": "grace"}])).await, (403, 17));
    assert_eq!(refused(json!(vec![json!({}); 101])).await, (400, 4));
    let nobody = json!({"preferences": [{"chat_level": "all"}]});
    assert_eq!(app.server().post("/push_preferences", nobody).await.refused(), (400, 4));
}

on_both_engines!(
    a_user_has_devices,
    servers_manage_the_devices_of_users,
    the_oldest_device_goes_when_there_are_too_many,
    what_is_no_device_is_refused,
    users_say_what_they_want_to_be_pushed,
    preferences_that_mean_nothing_are_refused,
);
