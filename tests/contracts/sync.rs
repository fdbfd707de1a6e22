//! Catching up after a time away.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{channel, lobby};

async fn what_was_missed_is_told(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    channel(app, "messaging:other", &["ada"]).await;
    let seen = ada.say("messaging:lobby", "seen").await["created_at"].clone();
    let missed = ada.say("messaging:lobby", "missed").await;
    let path = format!("/messages/{}", missed["id"].as_str().unwrap());
    ada.put(&path, json!({"set": {"text": "changed"}})).await.ok();
    ada.say("messaging:other", "not hers").await;
    let body = json!({"channel_cids": ["messaging:lobby", "messaging:other", "messaging:nowhere"], "last_sync_at": seen, "with_inaccessible_cids": true});
    let answer = grace.post("/sync", body).await.ok();
    let heard: Vec<(&str, &str)> = answer["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["message"]["text"].as_str().unwrap()))
        .collect();
    assert_eq!(heard, [("message.new", "missed"), ("message.updated", "changed")]);
    assert_eq!(answer["inaccessible_cids"], json!(["messaging:other", "messaging:nowhere"]));
}

async fn applied_events_make_the_state_that_a_query_gives(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let first = ada.say("messaging:lobby", "first").await;
    let state = async || -> Vec<Value> {
        let body = json!({"state": true, "messages": {"limit": 100}});
        let state = grace.post("/channels/messaging/lobby/query", body).await.ok();
        state["messages"].as_array().unwrap().clone()
    };
    let mut held = state().await;
    let since = first["created_at"].clone();
    // A lot happens.
    let path = |message: &Value| format!("/messages/{}", message["id"].as_str().unwrap());
    let second = ada.say("messaging:lobby", "second").await;
    let third = grace.say("messaging:lobby", "third").await;
    ada.post(&format!("{}/reaction", path(&third)), json!({"reaction": {"type": "like"}})).await.ok();
    ada.put(&path(&second), json!({"set": {"text": "2"}})).await.ok();
    app.server().delete(&format!("{}?hard=true", path(&first))).await.ok();
    ada.delete(&path(&second)).await.ok();
    ada.post("/channels/messaging/lobby/message", json!({"message": {"text": "re", "parent_id": third["id"]}}))
        .await
        .ok();
    let answer = grace.post("/sync", json!({"channel_cids": ["messaging:lobby"], "last_sync_at": since})).await.ok();
    for event in answer["events"].as_array().unwrap() {
        let message = &event["message"];
        let place = held.iter().position(|known| known["id"] == message["id"]);
        let gone = event["hard_delete"] == true;
        match (event["type"].as_str().unwrap(), place) {
            ("message.deleted", Some(place)) if gone => drop(held.remove(place)),
            ("message.new", None) if message["parent_id"].is_null() => held.push(message.clone()),
            (_, Some(place)) => held[place] = message.clone(),
            _ => {}
        }
    }
    let queried = state().await;
    // What differs from viewer to viewer is not in events.
    let same = |message: &Value| {
        let mut message = message.clone();
        for own in ["own_reactions", "user", "member", "thread_participants", "latest_reactions"] {
            message[own] = Value::Null;
        }
        message
    };
    assert_eq!(held.iter().map(same).collect::<Vec<_>>(), queried.iter().map(same).collect::<Vec<_>>());
}

async fn too_long_ago_is_said(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let body = json!({"channel_cids": ["messaging:lobby"], "last_sync_at": "2020-01-01T00:00:00Z"});
    assert_eq!(ada.post("/sync", body).await.refused(), (400, 4));
    for wrong in [
        json!({"channel_cids": [], "last_sync_at": "2020-01-01T00:00:00Z"}),
        json!({"channel_cids": ["messaging:lobby"]}),
    ] {
        assert_eq!(ada.post("/sync", wrong).await.refused(), (400, 4));
    }
}

on_both_engines!(what_was_missed_is_told, applied_events_make_the_state_that_a_query_gives, too_long_ago_is_said);
