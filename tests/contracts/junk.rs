//! What nobody should send: it is refused with the documented error, and never with a 500.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use testkit::{App, Person, on_both_engines};

use crate::lobby;

/// Values that a strategy makes, the same in each run.
fn samples(strategy: impl Strategy<Value = Value>, count: usize) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

/// Filters with every field and operator, mostly of the wrong kind.
fn filters() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "id",
        "cid",
        "type",
        "members",
        "member_count",
        "created_at",
        "updated_at",
        "last_message_at",
        "frozen",
        "hidden",
        "muted",
        "pinned",
        "archived",
        "joined",
        "invite",
        "disabled",
        "has_unread",
        "filter_tags",
        "member.user.name",
        "created_by_id",
        "team",
        "role",
        "name",
        "banned",
        "teams",
        "last_active",
        "user_id",
        "channel_role",
        "notifications_muted",
        "is_moderator",
        "a.b",
        "color",
        "x'y",
        "\u{1F600}",
    ]);
    let operator = prop::sample::select(vec![
        "$eq",
        "$ne",
        "$gt",
        "$gte",
        "$lt",
        "$lte",
        "$in",
        "$nin",
        "$exists",
        "$contains",
        "$autocomplete",
        "$q",
    ]);
    let one = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z%_' \"\\\\]{0,6}".prop_map(Value::from),
        Just(json!("2026-01-01T00:00:00Z")),
        Just(json!("-9999-01-01T00:00:00Z")),
        Just(json!({})),
    ];
    let operand = prop_oneof![one.clone(), prop::collection::vec(one, 0..3).prop_map(Value::from)];
    let condition =
        (field, prop::option::of(operator), operand).prop_map(|(field, operator, operand)| match operator {
            Some(operator) => json!({field: {operator: operand}}),
            None => json!({field: operand}),
        });
    let logic = prop::sample::select(vec!["$and", "$or", "$nor"]);
    (logic, prop::collection::vec(condition, 0..3)).prop_map(|(logic, parts)| json!({logic: parts}))
}

/// Nothing broke, whatever it says.
#[track_caller]
fn calm(reply: &testkit::Reply, asked: &Value) {
    assert!(reply.answer.status < 500, "{asked} was answered {}: {}", reply.answer.status, reply.answer.text);
}

async fn any_filter_is_answered_or_refused(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    for filter in samples(filters(), 400) {
        let sort = json!([{"field": "created_at", "direction": -1}, {"field": "color", "direction": 1}]);
        calm(&ada.post("/channels", json!({"filter_conditions": filter, "sort": sort})).await, &filter);
        calm(&app.server().post("/channels", json!({"filter_conditions": filter, "state": true})).await, &filter);
        calm(&ada.query("/users", json!({"filter_conditions": filter, "sort": sort})).await, &filter);
        let members = json!({"type": "messaging", "id": "lobby", "filter_conditions": filter});
        calm(&ada.query("/members", members).await, &filter);
    }
}

/// Bodies in which everything is there and nothing is right.
fn bodies() -> Vec<Value> {
    let nested = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let keys = [
        "message",
        "data",
        "reaction",
        "event",
        "users",
        "user",
        "set",
        "unset",
        "add_members",
        "remove_members",
        "channel_cids",
        "target_id",
        "filter_conditions",
        "sort",
        "messages",
        "members",
        "watchers",
        "limit",
        "offset",
        "text",
        "id",
        "user_id",
        "message_id",
        "read_by_channel",
        "last_sync_at",
        "type",
        "name",
        "grants",
        "config_overrides",
        "latest_delivered_messages",
        "user_ids",
        "created_by_id",
        "truncated_at",
        "timeout",
        "ids",
    ];
    let every = |value: &Value| Value::Object(keys.iter().map(|key| ((*key).to_owned(), value.clone())).collect());
    let mut bodies: Vec<Value> = vec![json!(null), json!([]), json!("x"), json!(1), json!({}), nested];
    for value in [
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!(-1),
        json!(1e300),
        json!(i64::MAX),
        json!([null]),
        json!([{}]),
        json!({"id": null}),
        json!({"type": {}}),
        json!("\u{0}"),
        json!({"id": "\u{0}", "type": "\u{0}", "text": "\u{0}"}),
        json!(["\u{0}"]),
        json!("9999-99-99"),
    ] {
        bodies.push(every(&value));
    }
    bodies
}

/// Every operation of the document, with names filled in.
async fn operations(app: &App) -> Vec<(String, String)> {
    let document = app.stranger().get("/openapi.json").await.ok();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .replace("/channels/{type}/{id}", "/channels/messaging/lobby")
                .replace("/channels/{type}", "/channels/messaging");
            operations.push((method.to_uppercase(), path));
        }
    }
    operations
}

async fn any_body_is_answered_or_refused(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let message = ada.say("messaging:lobby", "hello").await["id"].as_str().unwrap().to_owned();
    let operations = operations(app).await;
    assert!(operations.len() > 40, "{operations:?}");
    let callers: [&Person; 2] = [&ada, &app.server()];
    for (method, path) in &operations {
        // What ends the world that the others are tried in comes elsewhere.
        if method == "DELETE" || path.contains("guest") {
            continue;
        }
        for caller in callers {
            for body in bodies() {
                let path = path.replace("{name}", "messaging").replace("{user_id}", "ada").replace("{id}", &message);
                let body = Some(body).filter(|_| method != "GET");
                let reply = caller.call(method, &path, &[], body.clone()).await;
                calm(&reply, &json!({"method": method, "path": path, "body": body}));
            }
        }
    }
}

async fn any_path_and_query_is_answered_or_refused(app: &App) {
    let server = app.server();
    let strange = ["%00", "%ff", "a..b", "a%2Fb", "%F0%9F%98%80", "x'y\"z", "-1", "9223372036854775808"];
    for (method, path) in operations(app).await {
        for name in strange {
            let path = path
                .replace("{id}", name)
                .replace("{name}", name)
                .replace("{type}", name)
                .replace("{user_id}", name)
                .replace("lobby", name);
            let body = (method != "GET" && method != "DELETE").then(|| json!({}));
            let query = [
                ("limit", name),
                ("offset", name),
                ("payload", name),
                ("ids", name),
                ("url", name),
                ("hard", name),
                ("id_lt", name),
                ("created_at_before", name),
            ];
            let reply = server.call(&method, &path, &query, body).await;
            calm(&reply, &json!({"method": method, "path": path}));
        }
    }
}

on_both_engines!(
    any_filter_is_answered_or_refused,
    any_body_is_answered_or_refused,
    any_path_and_query_is_answered_or_refused
);
