//! The WebSocket: greeting, refusal, heartbeats, what clients say.

use serde_json::json;
use testkit::client::Refused;
use testkit::{App, on_both_engines};

async fn the_first_frame_tells_who_one_is(app: &App) {
    let ada = app.user_at(0, "ada");
    // Connecting creates the user.
    let ear = ada.listen_as(json!({"id": "ada", "name": "Ada", "city": "London", "image": "http://a/b.png"})).await;
    assert_eq!(ear.greeting()["type"], "health.check");
    assert!(!ear.connection_id().is_empty());
    let me = ear.me();
    assert_eq!((&me["id"], &me["name"], &me["city"]), (&json!("ada"), &json!("Ada"), &json!("London")));
    assert_eq!((&me["online"], &me["role"]), (&json!(true), &json!("user")));
    assert_eq!(me["total_unread_count"], 0);
    // What a client does not say is not removed.
    let again = ada.listen_as(json!({"id": "ada", "age": 36})).await;
    assert_eq!((&again.me()["city"], &again.me()["age"]), (&json!("London"), &json!(36)));
    // Its role is not its own to choose.
    let promoted = ada.client.connect(&json!({"id": "ada", "role": "admin"})).await;
    assert!(matches!(promoted, Err(Refused::Error { error, .. }) if error["code"] == 17));
}

async fn a_refusal_is_one_frame_and_a_close(app: &App) {
    let stranger = app.user_at(0, "ada").client.with_token("nonsense");
    let (error, close_code) = testkit::Person::new("ada", stranger).refused_to_listen().await;
    assert_eq!((&error["code"], &error["StatusCode"]), (&json!(5), &json!(401)));
    assert!(error["message"].as_str().unwrap().starts_with("Connect failed with error: "), "{error}");
    assert_eq!(close_code, Some(1000));
    // A token for somebody else.
    let other = testkit::Person::new("grace", app.user_at(0, "ada").client);
    assert_eq!(other.refused_to_listen().await.0["code"], 5);
    // A server has no presence.
    let server = testkit::Person::new("ada", app.server().client);
    assert_eq!(server.refused_to_listen().await.0["code"], 5);
}

async fn older_clients_say_it_differently(app: &App) {
    let ada = app.user_at(0, "ada");
    let token = testkit::client::user_token(testkit::app::API_SECRET, "ada");
    let key = testkit::app::API_KEY;
    for json in [
        json!({"user_details": {"id": "ada"}}).to_string(),
        json!({"user_id": "ada", "user_details": []}).to_string(),
        json!({"user_id": "ada", "user_details": null, "server_determines_connection_id": true}).to_string(),
        "{}".to_owned(),
    ] {
        let query = [("json", json.as_str()), ("api_key", key), ("authorization", &token), ("stream-auth-type", "jwt")];
        ada.client.connect_with(&query).await.unwrap_or_else(|refused| panic!("{json}: {refused:?}"));
    }
    let json = json!({"user_id": "ada", "user_token": token}).to_string();
    ada.client.connect_with(&[("json", &json), ("api_key", key)]).await.unwrap();
}

async fn what_clients_say_is_taken_in_silence(app: &App) {
    let ada = app.person("ada").await;
    let mut ear = ada.listen().await;
    ear.say_bytes(b"ping").await;
    ear.say(&json!([{"type": "health.check", "client_id": "x"}]).to_string()).await;
    ear.say("not even JSON").await;
    assert!(ear.heard(&app.server()).await.is_empty());
}

async fn a_plain_get_is_told_what_to_do(app: &App) {
    let reply = app.person("ada").await.get("/connect").await;
    assert!(reply.message().contains("WebSocket"), "{}", reply.message());
    assert_eq!(reply.refused(), (400, 4));
}

on_both_engines!(
    the_first_frame_tells_who_one_is,
    a_refusal_is_one_frame_and_a_close,
    older_clients_say_it_differently,
    what_clients_say_is_taken_in_silence,
    a_plain_get_is_told_what_to_do,
);
