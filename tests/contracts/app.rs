//! The app's settings and rate limits.

use std::time::Duration;

use serde_json::json;
use testkit::{App, Engine, on_both_engines};

async fn clients_read_what_they_need(app: &App) {
    let ada = app.person("ada").await;
    let settings = ada.get("/app").await.ok()["app"].clone();
    assert!(settings["file_upload_config"].is_object() && settings["image_upload_config"].is_object());
    assert!(!settings["name"].as_str().unwrap().is_empty());
    let text = settings.to_string();
    assert!(!text.contains(testkit::app::API_SECRET) && settings["grants"] == json!({}), "{text}");
}

async fn settings_sent_back_whole_change_nothing(app: &App) {
    let server = app.server();
    server
        .patch(
            "/app",
            json!({"guest_user_creation_disabled": true, "file_upload_config": {"allowed_file_extensions": [".txt"]}}),
        )
        .await
        .ok();
    let before = server.get("/app").await.ok();
    server.patch("/app", before["app"].clone()).await.ok();
    assert_eq!(server.get("/app").await.ok()["app"], before["app"]);
    assert_eq!(before["app"]["guest_user_creation_disabled"], true);
    assert_eq!(app.person("ada").await.patch("/app", json!({})).await.refused(), (403, 17));
}

async fn permissions_may_be_switched_off(app: &App) {
    let server = app.server();
    let ada = app.person("ada").await;
    crate::lobby(app, &["grace"]).await;
    assert_eq!(ada.post("/channels/messaging/lobby/query", json!({})).await.refused(), (403, 17));
    server.patch("/app", json!({"disable_permissions_checks": true})).await.ok();
    ada.post("/channels/messaging/lobby/query", json!({})).await.ok();
}

async fn limits_are_told(app: &App) {
    let server = app.server();
    let reply = server.get("/app").await;
    let header = |name: &str| reply.answer.header(name).unwrap().parse::<i64>().unwrap();
    assert!(header("x-ratelimit-limit") > header("x-ratelimit-remaining"));
    assert!(header("x-ratelimit-reset") >= app.clock.now().seconds());
    let limits = server.get("/rate_limits?server_side=true&endpoints=GetApp,SendMessage").await.ok();
    let names: Vec<&String> = limits["server_side"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["GetApp", "SendMessage"]);
    assert_eq!(limits.get("web"), None);
    let all = server.get("/rate_limits").await.ok();
    assert!(all["web"]["QueryChannels"]["limit"].is_i64());
}

on_both_engines!(
    clients_read_what_they_need,
    settings_sent_back_whole_change_nothing,
    permissions_may_be_switched_off,
    limits_are_told,
);

#[tokio::test]
async fn limits_are_kept_over_all_nodes() {
    // The documented number: 60 a minute for one user, half of it at each of two nodes.
    let app = App::start_with(Engine::Redis, 2, &[("MILLRACE_RATE_LIMITS__FACTOR", "1")]).await;
    let ada = app.person("ada").await;
    let there = app.user_at(1, "ada");
    for _ in 0..30 {
        ada.get("/app").await.ok();
        there.get("/app").await.ok();
    }
    // Nodes tell each other what they counted a few times a second: soon both have heard of 60.
    for person in [&ada, &there] {
        let mut reply = person.get("/app").await;
        for _ in 0..25 {
            if reply.answer.is_success() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                reply = person.get("/app").await;
            }
        }
        assert!(reply.answer.header("retry-after").is_some());
        assert_eq!(reply.answer.header("x-ratelimit-remaining"), Some("0"));
        assert_eq!(reply.refused(), (429, 9));
    }
    // Nobody makes guests without end.
    let guest = json!({"user": {"id": "visitor"}});
    for _ in 0..60 {
        app.stranger().post("/guest", guest.clone()).await.ok();
    }
    assert_eq!(app.stranger().post("/guest", guest).await.refused(), (429, 9));
    // A minute later all is forgotten; servers were never meant.
    app.server().get("/app").await.ok();
    app.clock.advance_seconds(61);
    ada.get("/app").await.ok();
    app.stop().await;
}
