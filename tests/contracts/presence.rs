//! Who is there.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::lobby;

async fn followers_hear_who_comes_and_goes(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    let payload = json!({"filter_conditions": {"id": "grace"}, "presence": true});
    assert_eq!(ada.query("/users", payload.clone()).await.ok()["users"][0]["online"], false);
    let hers = grace.listen().await;
    let event = ear.hear("user.presence.changed").await;
    assert_eq!((&event["user"]["id"], &event["user"]["online"]), (&json!("grace"), &json!(true)));
    assert_eq!(ada.query("/users", payload.clone()).await.ok()["users"][0]["online"], true);
    // A second socket is nothing new, and the first to go is not the end.
    let other = app.user_at(0, "grace").listen().await;
    hers.leave().await;
    assert!(!ear.heard_kinds(&app.server()).await.contains(&"user.presence.changed".to_owned()));
    other.leave().await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["online"], false);
    let user = ada.query("/users", payload).await.ok()["users"][0].clone();
    assert_eq!((&user["online"], user["last_active"].is_string()), (&json!(false), true));
}

async fn a_channel_may_be_asked_for_with_presence(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    let body = json!({"state": true, "watch": true, "presence": true});
    ada.post("/channels/messaging/lobby/query", body).await.ok();
    let hers = grace.listen().await;
    assert_eq!(ear.hear("user.presence.changed").await["user"]["id"], "grace");
    let state = ada.post("/channels/messaging/lobby/query", json!({"state": true})).await.ok();
    let online = |id: &str| {
        let mut members = state["members"].as_array().unwrap().iter();
        members.find(|member| member["user_id"] == id).map_or(Value::Null, |member| member["user"]["online"].clone())
    };
    assert_eq!((online("ada"), online("grace")), (json!(true), json!(true)));
    hers.leave().await;
    let body =
        json!({"filter_conditions": {"members": {"$in": ["grace"]}}, "presence": true, "watch": true, "state": true});
    ada.post("/channels", body).await.ok();
}

async fn the_invisible_are_not_seen(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    ada.query("/users", json!({"filter_conditions": {"id": "grace"}, "presence": true})).await.ok();
    let hers = grace.listen_as(json!({"id": "grace", "invisible": true})).await;
    let seen = ada.query("/users", json!({"filter_conditions": {"id": "grace"}})).await.ok();
    assert_eq!(seen["users"][0]["online"], false);
    hers.leave().await;
    let heard = ear.heard_kinds(&app.server()).await;
    assert!(!heard.contains(&"user.presence.changed".to_owned()), "{heard:?}");
}

on_both_engines!(
    followers_hear_who_comes_and_goes,
    a_channel_may_be_asked_for_with_presence,
    the_invisible_are_not_seen,
);
