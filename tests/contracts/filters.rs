//! Finding channels: the whole filter and sort language.

use serde_json::{Value, json};
use testkit::{App, Person, on_both_engines};

use crate::pluck;

/// Five channels, each a little different; made in this order.
async fn stage(app: &App) -> Person {
    let server = app.server();
    let users = json!({"users": {
        "ada": {"id": "ada", "name": "Ada Lovelace"}, "grace": {"id": "grace", "name": "Grace Hopper"}, "alan": {"id": "alan", "name": "Alan Turing"},
    }});
    server.post("/users", users).await.ok();
    for (cid, data) in [
        ("messaging:a", json!({"members": ["ada", "grace"], "name": "Garden", "size": 3, "tags": ["green", "open"]})),
        ("messaging:b", json!({"members": ["ada"], "name": "Basement", "size": 10, "spot": {"floor": -1}})),
        ("team:c", json!({"members": ["ada", "alan", "grace"], "name": "Grand hall", "frozen": true})),
        ("messaging:d", json!({"members": ["grace", "alan"], "name": "Den", "size": 3})),
        ("livestream:e", json!({"members": ["ada"], "name": "Élan", "filter_tags": ["live"]})),
    ] {
        let mut data = data;
        data["created_by_id"] = if cid == "messaging:d" { json!("grace") } else { json!("ada") };
        server.post(&format!("/channels/{}/query", cid.replace(':', "/")), json!({"data": data})).await.ok();
    }
    app.user_at(0, "ada")
}

async fn ask(person: &Person, filter: &Value, sort: &Value) -> Vec<String> {
    let body = json!({"filter_conditions": filter, "sort": sort, "watch": false, "state": true});
    let found = person.post("/channels", body).await.ok();
    found["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|state| state["channel"]["cid"].as_str().unwrap().to_owned())
        .collect()
}

async fn every_operator_and_field(app: &App) {
    let ada = stage(app).await;
    let server = app.server();
    let by_age = json!([{"field": "created_at", "direction": 1}]);
    let made_c = server.post("/channels/team/c/query", json!({})).await.ok()["channel"]["created_at"].clone();
    for (filter, cids) in [
        (json!({}), "messaging:a messaging:b team:c messaging:d livestream:e"),
        (json!({"type": "messaging"}), "messaging:a messaging:b messaging:d"),
        (json!({"cid": {"$in": ["messaging:a", "team:c"]}}), "messaging:a team:c"),
        (json!({"id": "b"}), "messaging:b"),
        (json!({"members": {"$in": ["alan"]}}), "team:c messaging:d"),
        (json!({"members": {"$in": ["ada", "alan"]}}), "messaging:a messaging:b team:c messaging:d livestream:e"),
        (json!({"members": {"$eq": ["grace", "ada"]}}), "messaging:a"),
        (json!({"member.user.name": "Alan Turing"}), "team:c messaging:d"),
        (json!({"member.user.name": {"$autocomplete": "tur"}}), "team:c messaging:d"),
        (json!({"name": {"$autocomplete": "gar"}}), "messaging:a"),
        (json!({"name": {"$q": "hall"}}), "team:c"),
        (json!({"size": 3}), "messaging:a messaging:d"),
        (json!({"size": {"$gte": 3, "$lt": 10}}), "messaging:a messaging:d"),
        (json!({"size": {"$in": [10, 11]}}), "messaging:b"),
        (json!({"size": {"$nin": [3]}}), "messaging:b team:c livestream:e"),
        (json!({"size": {"$in": []}}), ""),
        (json!({"size": {"$nin": []}, "type": "team"}), "team:c"),
        (json!({"name": {"$in": ["Garden", "Den", 3, null]}}), "messaging:a messaging:d"),
        (json!({"name": {"$nin": ["Garden", "Den"]}}), "messaging:b team:c livestream:e"),
        (json!({"spot.floor": {"$in": [-1, 2]}}), "messaging:b"),
        (json!({"size": {"$ne": 3}}), "messaging:b team:c livestream:e"),
        (json!({"size": {"$exists": false}}), "team:c livestream:e"),
        (json!({"spot.floor": -1}), "messaging:b"),
        (json!({"tags": {"$contains": "green"}}), "messaging:a"),
        (json!({"frozen": true}), "team:c"),
        (json!({"disabled": false, "type": "team"}), "team:c"),
        (json!({"created_by_id": "grace"}), "messaging:d"),
        (json!({"created_by_id": {"$in": ["grace", "alan"]}}), "messaging:d"),
        (json!({"member_count": {"$gt": 2}}), "team:c"),
        (json!({"filter_tags": {"$in": ["live"]}}), "livestream:e"),
        (json!({"created_at": {"$gt": made_c}}), "messaging:d livestream:e"),
        (json!({"last_message_at": {"$exists": false}, "type": "team"}), "team:c"),
        (json!({"$and": [{"type": "messaging"}, {"size": 3}]}), "messaging:a messaging:d"),
        (json!({"$or": [{"type": "team"}, {"name": "Den"}]}), "team:c messaging:d"),
        (json!({"$nor": [{"type": "messaging"}, {"type": "team"}]}), "livestream:e"),
        (json!({"type": "messaging", "$or": [{"id": "a"}, {"id": "c"}]}), "messaging:a"),
    ] {
        let found = ask(&server, &filter, &by_age).await.join(" ");
        assert_eq!(found, cids, "{filter}");
    }
    // Joined and muted are of the one who asks.
    for (filter, cids) in [
        (json!({"joined": true}), "messaging:a messaging:b team:c livestream:e"),
        (json!({"joined": true, "muted": false, "type": "messaging"}), "messaging:a messaging:b"),
        (json!({"has_unread": true, "joined": true}), ""),
        (json!({"hidden": true}), ""),
        (json!({"pinned": false, "joined": true, "type": "messaging"}), "messaging:a messaging:b"),
        (json!({"invite": "pending"}), ""),
    ] {
        assert_eq!(ask(&ada, &filter, &by_age).await.join(" "), cids, "{filter}");
    }
}

async fn sorting(app: &App) {
    let ada = stage(app).await;
    app.user_at(0, "grace").say("messaging:a", "newest").await;
    app.user_at(0, "grace").say("messaging:d", "newer").await;
    let server = app.server();
    let messaging = json!({"type": "messaging"});
    for (sort, cids) in [
        (json!([]), "messaging:d messaging:a messaging:b"),
        (json!([{"field": "last_message_at", "direction": -1}]), "messaging:d messaging:a messaging:b"),
        (json!({"created_at": 1}), "messaging:a messaging:b messaging:d"),
        (json!([{"created_at": -1}]), "messaging:d messaging:b messaging:a"),
        (
            json!([{"field": "member_count", "direction": -1}, {"field": "created_at", "direction": 1}]),
            "messaging:a messaging:d messaging:b",
        ),
        (
            json!([{"field": "size", "direction": 1}, {"field": "cid", "direction": -1}]),
            "messaging:d messaging:a messaging:b",
        ),
        (json!([{"field": "name"}]), "messaging:b messaging:d messaging:a"),
    ] {
        assert_eq!(ask(&server, &messaging, &sort).await.join(" "), cids, "{sort}");
    }
    let mine = json!({"type": "messaging", "members": {"$in": ["ada"]}});
    let unread = json!([{"field": "unread_count", "direction": -1}]);
    assert_eq!(ask(&ada, &mine, &unread).await.join(" "), "messaging:a messaging:b");
    let has_unread = json!({"has_unread": true, "members": {"$in": ["ada"]}});
    assert_eq!(ask(&ada, &has_unread, &json!([])).await.join(" "), "messaging:a");
}

async fn pages_and_states(app: &App) {
    let ada = stage(app).await;
    let mut ear = ada.listen().await;
    ada.say("messaging:a", "one").await;
    ada.say("messaging:a", "two").await;
    let body = json!({"filter_conditions": {"type": "messaging", "members": {"$in": ["ada"]}}, "sort": [{"field": "created_at", "direction": 1}],
        "state": true, "watch": true, "presence": false, "limit": 1, "offset": 0, "message_limit": 1, "member_limit": 1});
    let found = ada.post("/channels", body).await.ok();
    let states = found["channels"].as_array().unwrap();
    assert_eq!(states.len(), 1);
    assert_eq!(pluck(&states[0]["messages"], "text"), ["two"]);
    assert_eq!(states[0]["members"].as_array().unwrap().len(), 1);
    assert_eq!(states[0]["channel"]["member_count"], 2);
    // Found is watched.
    app.user_at(0, "grace").say("messaging:a", "three").await;
    assert_eq!(ear.hear_where("message.new", |event| event["user"]["id"] == "grace").await["message"]["text"], "three");
    for wrong in [
        json!({"filter_conditions": {}, "limit": 31}),
        json!({"filter_conditions": {}, "offset": 1_001}),
        json!({"filter_conditions": {}, "message_limit": 301}),
        json!({"filter_conditions": {"type": {"$frob": 1}}}),
        json!({"filter_conditions": {"members": {"$gt": 5}}}),
        json!({"filter_conditions": {"a": {"b": {"$eq": 1}, "$eq": 2}}}),
        json!({"filter_conditions": "type = messaging"}),
        json!({"filter_conditions": {}, "sort": [{"field": "created_at", "direction": 7}]}),
    ] {
        let mut body = wrong.clone();
        body["watch"] = json!(false);
        assert_eq!(ada.post("/channels", body).await.refused(), (400, 4), "{wrong}");
    }
    // PHP's way of writing nothing.
    for empty in [json!([]), json!(null)] {
        ada.post("/channels", json!({"filter_conditions": empty, "sort": empty, "watch": false})).await.ok();
    }
}

async fn clients_find_what_they_may_read(app: &App) {
    stage(app).await;
    let alan = app.user_at(0, "alan");
    let everything = ask(&alan, &json!({}), &json!({"created_at": 1})).await;
    // Members see theirs, and a livestream is open to every user.
    assert_eq!(everything.join(" "), "team:c messaging:d livestream:e");
}

on_both_engines!(every_operator_and_field, sorting, pages_and_states, clients_find_what_they_may_read);
