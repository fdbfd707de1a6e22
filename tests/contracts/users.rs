//! Users: writing them, finding them, muting them.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::pluck;

async fn users_are_replaced_whole_or_changed_in_parts(app: &App) {
    let server = app.server();
    let ada = json!({"id": "ada", "name": "Ada", "role": "admin", "teams": ["red"], "city": "London", "tags": {"a": {"b": 1}}});
    let answer = server.post("/users", json!({"users": {"ada": ada}})).await.ok();
    assert_eq!((&answer["users"]["ada"]["city"], &answer["users"]["ada"]["role"]), (&json!("London"), &json!("admin")));
    let patch = json!({"id": "ada", "set": {"tags.a.c": 2, "name": "Countess"}, "unset": ["city", "tags.a.b"]});
    let answer = server.patch("/users", json!({"users": [patch]})).await.ok();
    let user = &answer["users"]["ada"];
    assert_eq!(
        (&user["name"], &user["tags"], &user["city"]),
        (&json!("Countess"), &json!({"a": {"c": 2}}), &Value::Null)
    );
    // A full answer may be sent back as it is.
    let answer = server.post("/users", json!({"users": {"ada": user}})).await.ok();
    assert_eq!(answer["users"]["ada"]["tags"], json!({"a": {"c": 2}}));
    // Replacing leaves nothing of what was not said.
    let answer = server.post("/users", json!({"users": {"ada": {"id": "ada"}}})).await.ok();
    assert_eq!((&answer["users"]["ada"]["tags"], &answer["users"]["ada"]["name"]), (&Value::Null, &Value::Null));
}

async fn one_wrong_user_refuses_all(app: &App) {
    let server = app.server();
    let users = json!({"users": {"ada": {"id": "ada"}, "bad id!": {"id": "bad id!"}}});
    assert_eq!(server.post("/users", users).await.refused(), (400, 4));
    let found = server.query("/users", json!({"filter_conditions": {"id": "ada"}})).await.ok();
    assert_eq!(found["users"], json!([]));
    for users in [json!({}), json!([]), json!(null)] {
        assert_eq!(server.post("/users", json!({"users": users})).await.refused(), (400, 4));
    }
    let big = json!({"users": {"ada": {"id": "ada", "note": "x".repeat(6_000)}}});
    assert_eq!(server.post("/users", big).await.refused(), (400, 4));
    let unknown = json!({"users": [{"id": "nobody", "set": {"a": 1}}]});
    assert_eq!(server.patch("/users", unknown).await.refused(), (404, 16));
}

async fn a_client_changes_itself_and_nobody_else(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    let answer = ada.patch("/users", json!({"users": [{"id": "ada", "set": {"name": "Ada"}}]})).await.ok();
    assert_eq!(answer["users"]["ada"]["name"], "Ada");
    assert_eq!(ada.post("/users", json!({"users": {"grace": {"id": "grace"}}})).await.refused(), (403, 17));
    let promote = json!({"users": [{"id": "ada", "set": {"role": "admin"}}]});
    assert_eq!(ada.patch("/users", promote).await.refused(), (403, 17));
}

async fn users_are_found(app: &App) {
    let server = app.server();
    let users = json!({"users": {
        "ada": {"id": "ada", "name": "Ada Lovelace", "age": 36, "langs": ["en", "fr"]},
        "grace": {"id": "grace", "name": "Grace Hopper", "age": 85},
        "alan": {"id": "alan", "name": "Alan Turing", "age": 41, "address": {"city": "London"}},
    }});
    server.post("/users", users).await.ok();
    let ask = async |filter: Value| {
        let payload = json!({"filter_conditions": filter, "sort": [{"field": "id", "direction": 1}]});
        server.query("/users", payload).await.ok()
    };
    for (filter, ids) in [
        (json!({"id": {"$in": ["ada", "grace"]}}), vec!["ada", "grace"]),
        (json!({"name": {"$autocomplete": "lov"}}), vec!["ada"]),
        (json!({"id": {"$autocomplete": "a"}}), vec!["ada", "alan"]),
        (json!({"age": {"$gt": 40, "$lt": 80}}), vec!["alan"]),
        (json!({"address.city": "London"}), vec!["alan"]),
        (json!({"langs": {"$contains": "fr"}}), vec!["ada"]),
        (json!({"age": {"$exists": true}, "id": {"$nin": ["ada"]}}), vec!["alan", "grace"]),
        (json!({"$or": [{"id": "ada"}, {"id": "alan"}]}), vec!["ada", "alan"]),
        (json!({"$nor": [{"id": "ada"}, {"id": "alan"}]}), vec!["grace"]),
        (json!({"$and": [{"role": "user"}, {"id": {"$ne": "ada"}}]}), vec!["alan", "grace"]),
        (json!({}), vec!["ada", "alan", "grace"]),
    ] {
        assert_eq!(pluck(&ask(filter.clone()).await["users"], "id"), ids, "{filter}");
    }
    let page = json!({"filter_conditions": {}, "sort": {"age": -1}, "limit": 2, "offset": 1});
    assert_eq!(pluck(&server.query("/users", page).await.ok()["users"], "id"), ["alan", "ada"]);
    for wrong in [
        json!({"filter_conditions": {"id": {"$near": 1}}}),
        json!({"filter_conditions": {"$or": {}}}),
        json!({"filter_conditions": {}, "limit": 101}),
        json!({"filter_conditions": {}, "offset": -1}),
        json!({"filter_conditions": {"created_at": {"$gt": "yesterday"}}}),
    ] {
        assert_eq!(server.query("/users", wrong.clone()).await.refused(), (400, 4), "{wrong}");
    }
}

async fn what_is_private_is_shown_to_oneself(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    grace.post("/moderation/mute", json!({"target_ids": ["ada"]})).await.ok();
    let both = json!({"filter_conditions": {"id": {"$in": ["ada", "grace"]}}, "sort": [{"field": "id"}]});
    let seen = ada.query("/users", both.clone()).await.ok();
    assert_eq!(seen["users"][1]["mutes"], json!([]));
    let seen = grace.query("/users", both).await.ok();
    assert_eq!(seen["users"][1]["mutes"][0]["target"]["id"], "ada");
}

async fn users_mute_each_other(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    let answer = ada.post("/moderation/mute", json!({"target_ids": ["grace"], "timeout": 10})).await.ok();
    assert_eq!(answer["mute"]["target"]["id"], "grace");
    assert!(answer["mute"]["expires"].is_string());
    let event = ear.hear("notification.mutes_updated").await;
    assert_eq!(event["me"]["mutes"][0]["target"]["id"], "grace");
    ada.post("/moderation/unmute", json!({"target_id": "grace"})).await.ok();
    assert_eq!(ear.hear("notification.mutes_updated").await["me"]["mutes"], json!([]));
    for wrong in [json!({"target_ids": ["nobody"]}), json!({"target_ids": ["ada"]}), json!({"target_ids": []})] {
        let refused = ada.post("/moderation/mute", wrong).await;
        assert!(refused.answer.header("x-ratelimit-limit").is_some());
        assert_eq!(refused.refused(), (400, 4));
    }
}

async fn followers_hear_of_changes(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    ada.query("/users", json!({"filter_conditions": {"id": "grace"}, "presence": true})).await.ok();
    app.server().patch("/users", json!({"users": [{"id": "grace", "set": {"name": "Grace"}}]})).await.ok();
    assert_eq!(ear.hear("user.updated").await["user"]["name"], "Grace");
    // Oneself hears too, on every own socket.
    let mut own = grace.listen().await;
    app.server().patch("/users", json!({"users": [{"id": "grace", "set": {"name": "G"}}]})).await.ok();
    assert_eq!(own.hear("user.updated").await["user"]["name"], "G");
}

async fn a_server_talks_to_one_user(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let (mut hers, mut other) = (ada.listen().await, grace.listen().await);
    let server = app.server();
    server.post("/users/ada/event", json!({"event": {"type": "lottery", "prize": 5}})).await.ok();
    assert_eq!(hers.hear("lottery").await["prize"], 5);
    assert!(!other.heard_kinds(&server).await.contains(&"lottery".to_owned()));
    assert_eq!(server.post("/users/ada/event", json!({"event": {"type": "a.b"}})).await.refused(), (400, 4));
    assert_eq!(server.post("/users/nobody/event", json!({"event": {"type": "ab"}})).await.refused(), (404, 16));
    assert_eq!(ada.post("/users/ada/event", json!({"event": {"type": "ab"}})).await.refused(), (403, 17));
}

on_both_engines!(
    users_are_replaced_whole_or_changed_in_parts,
    one_wrong_user_refuses_all,
    a_client_changes_itself_and_nobody_else,
    users_are_found,
    what_is_private_is_shown_to_oneself,
    users_mute_each_other,
    followers_hear_of_changes,
    a_server_talks_to_one_user,
);
