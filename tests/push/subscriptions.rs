//! Registering browsers.

use millrace::chat::push::{subscribe, unsubscribe};
use serde_json::json;
use testkit::Engine;
use wire::push::RegisterSubscriptionsRequest;

use crate::{caller, lobby, say, start, subscribed};

#[tokio::test]
async fn only_what_can_be_pushed_to_is_registered() {
    let (app, service) = start(Engine::Memory).await;
    let grace = caller(&app, "grace").await;
    let good = serde_json::to_value(service.browser("grace").registration()).unwrap();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let point = good["subscriptions"][0]["keys"]["p256dh"].as_str().unwrap();
    for wrong in [
        with("/subscriptions/0/endpoint", json!("http://push.example.org/x")),
        with("/subscriptions/0/endpoint", json!("https://10.0.0.1/x")),
        with("/subscriptions/0/endpoint", json!("https://[fd00::1]/x")),
        with("/subscriptions/0/endpoint", json!("https://169.254.169.254/latest/meta-data")),
        with("/subscriptions/0/endpoint", json!(format!("https://push.example.org/{}", "x".repeat(2_000)))),
        with("/subscriptions/0/endpoint", json!("")),
        with("/subscriptions/0/keys/p256dh", json!("")),
        with("/subscriptions/0/keys/p256dh", json!(&point[..point.len() - 4])),
        with("/subscriptions/0/keys/p256dh", json!("B".repeat(87))),
        with("/subscriptions/0/keys/auth", json!("c2hvcnQ")),
        with("/subscriptions/0/keys/auth", json!("not base64!")),
        with("/platform", json!("x".repeat(256))),
        json!({"subscriptions": vec![good["subscriptions"][0].clone(); 26]}),
    ] {
        let request = serde_json::from_value(wrong.clone()).unwrap();
        let refused = subscribe(app.ctx(0), &grace, request).await.expect_err("a refusal");
        assert_eq!(refused.kind, millrace::error::Kind::Input, "{wrong}");
    }
    // Clients that pad, and lists of nothing.
    let padded = with("/subscriptions/0/keys/p256dh", json!(format!("{point}=")));
    subscribe(app.ctx(0), &grace, serde_json::from_value(padded).unwrap()).await.unwrap();
    subscribe(app.ctx(0), &grace, RegisterSubscriptionsRequest::default()).await.unwrap();
    let kept = app.ask("SELECT user_id || ' ' || client_id || ' ' || platform FROM push_subscriptions").await;
    assert_eq!(kept, ["grace client test"]);
    app.stop().await;
}

#[tokio::test]
async fn a_browser_belongs_to_whoever_registered_it_last() {
    let (app, mut service) = start(Engine::Memory).await;
    let shared = subscribed(&app, &service, "grace").await;
    let alan = caller(&app, "alan").await;
    lobby(&app, &["ada", "grace", "alan"]).await;
    service.will_answer("grace", &[crate::service::Answer::Status(503)]);
    say(&app, "ada", "for grace").await;
    service.next().await;
    subscribe(app.ctx(0), &alan, shared.registration()).await.unwrap();
    // What waited for grace is not for alan.
    app.clock.advance_seconds(3_600);
    say(&app, "ada", "for both").await;
    let said = shared.read(&service.next().await);
    assert_eq!((&said["receiver_id"], &said["body"]), (&json!("alan"), &json!("for both")));
    assert!(app.ask("SELECT user_id FROM push_subscriptions WHERE user_id = 'grace'").await.is_empty());
    // Nobody takes away what is not theirs.
    let grace = caller(&app, "grace").await;
    assert!(!unsubscribe(app.ctx(0), &grace, &shared.endpoint).await.unwrap());
    assert!(unsubscribe(app.ctx(0), &alan, &shared.endpoint).await.unwrap());
    assert!(app.ask("SELECT endpoint FROM push_subscriptions").await.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_user_has_twenty_five_browsers_and_the_oldest_go() {
    let (app, service) = start(Engine::Memory).await;
    let grace = caller(&app, "grace").await;
    for number in 0..27 {
        let browser = service.browser(&number.to_string());
        subscribe(app.ctx(0), &grace, browser.registration()).await.unwrap();
    }
    let kept = app.ask("SELECT substring(endpoint from '[0-9]+$') FROM push_subscriptions ORDER BY id").await;
    assert_eq!(kept, (2..27).map(|number: i32| number.to_string()).collect::<Vec<_>>());
    app.stop().await;
}
