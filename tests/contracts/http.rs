//! What all calls have in common: paths, envelopes, CORS, limits of size, health.

use serde_json::json;
use testkit::{App, on_both_engines};

async fn with_and_without_the_slash_is_the_same(app: &App) {
    let ada = app.person("ada").await;
    crate::lobby(app, &["ada"]).await;
    for path in ["/channels/messaging/lobby/query", "/channels/messaging/lobby/query/"] {
        ada.post(path, json!({})).await.ok();
    }
    for path in ["/app", "/app/", "/healthz", "/healthz/"] {
        ada.get(path).await.ok();
    }
    for path in ["/channels/messaging/lobby", "/channels/messaging/lobby/"] {
        ada.patch(path, json!({"set": {"a": 1}})).await.ok();
    }
    let message = ada.say("messaging:lobby", "x").await["id"].as_str().unwrap().to_owned();
    ada.put(&format!("/messages/{message}/"), json!({"set": {"a": 1}})).await.ok();
    ada.delete(&format!("/messages/{message}/?hard=false")).await.ok();
}

async fn envelopes(app: &App) {
    let ada = app.person("ada").await;
    let reply = ada.get("/app").await;
    assert!(reply.answer.header("x-request-id").is_some());
    assert_eq!(reply.answer.header("content-type"), Some("application/json"));
    let body = reply.ok();
    assert!(body["duration"].as_str().unwrap().ends_with("ms"), "{body}");
    let reply = ada.get("/no/such/path").await;
    assert_eq!(reply.refused(), (404, 16));
    let reply = ada.delete("/app").await;
    assert_eq!(reply.refused().0, 405);
    let reply = ada.get("/messages/nothing").await;
    assert!(reply.message().starts_with("GetMessage failed with error: \""), "{}", reply.message());
}

async fn bad_bodies_are_told_what_is_wrong(app: &App) {
    let ada = app.person("ada").await;
    let send = async |body: Vec<u8>, kind: &str| {
        let request = ada.client.request(reqwest::Method::POST, "/channels").header("content-type", kind).body(body);
        let answer = ada.client.send(request).await.unwrap();
        (answer.status, answer.code())
    };
    assert_eq!(send(b"{".to_vec(), "application/json").await, (400, 4));
    assert_eq!(send(b"\xff\xfe".to_vec(), "application/json").await, (400, 4));
    assert_eq!(send(b"{\"filter_conditions\":{},\"watch\":false}".to_vec(), "text/plain").await, (201, 0));
    let deep = format!("{{\"filter_conditions\":{}1{}}}", "{\"a\":".repeat(100), "}".repeat(100));
    assert_eq!(send(deep.into_bytes(), "application/json").await, (400, 4));
    let big = format!("{{\"filter_conditions\":{{\"id\":\"{}\"}}}}", "x".repeat(1_100_000));
    assert_eq!(send(big.into_bytes(), "application/json").await, (413, 22));
    let request = ada.client.request(reqwest::Method::GET, "/app").header("x-long", "x".repeat(20_000));
    let answer = ada.client.send(request).await.unwrap();
    assert_eq!((answer.status, answer.code()), (431, 24));
}

async fn browsers_may_call_from_anywhere(app: &App) {
    let ada = app.person("ada").await;
    let preflight = ada
        .client
        .request(reqwest::Method::OPTIONS, "/channels/messaging/lobby/message")
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,stream-auth-type,x-stream-client,content-type,x-client-request-id",
        );
    let answer = ada.client.send(preflight).await.unwrap();
    assert!(answer.is_success(), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let allowed = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
    for name in ["authorization", "stream-auth-type", "x-stream-client", "content-type", "x-client-request-id"] {
        assert!(allowed == "*" || allowed.contains(name), "{allowed}");
    }
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PATCH"));
    // Errors too: a page must be able to read them.
    let wrong = ada
        .client
        .with_token("nonsense")
        .request(reqwest::Method::GET, "/app")
        .header("origin", "https://app.example.org");
    let answer = ada.client.send(wrong).await.unwrap();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("*")));
    assert!(answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase().contains("x-ratelimit-limit"));
}

async fn the_house_tells_how_it_is(app: &App) {
    let nobody = app.stranger();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(path).await.answer.status, 200);
    }
    app.person("ada").await.get("/app").await.ok();
    let metrics = nobody.get("/metrics").await.answer.text;
    for name in [
        "millrace_http_requests_total",
        "millrace_connections",
        "millrace_append_batch_messages",
        "millrace_append_commit_seconds",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert!(!metrics.contains("ada"), "metrics name people");
    let document = nobody.get("/openapi.json").await.ok();
    assert!(document["paths"]["/channels/{type}/{id}/message/"]["post"].is_object());
}

on_both_engines!(
    with_and_without_the_slash_is_the_same,
    envelopes,
    bad_bodies_are_told_what_is_wrong,
    browsers_may_call_from_anywhere,
    the_house_tells_how_it_is,
);
