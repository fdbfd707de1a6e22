//! Who may come in: keys, tokens, guests, anonymous visitors, revocation.

use serde_json::json;
use testkit::app::{API_KEY, API_SECRET};
use testkit::client::{Client, server_token, sign, user_token};
use testkit::{App, Person, on_both_engines};

use crate::lobby;

fn with_token(app: &App, token: &str) -> Person {
    Person::new("ada", Client::new(&app.base(0), API_KEY).with_token(token))
}

async fn an_unknown_key_is_refused(app: &App) {
    for key in ["", "wrong"] {
        let client = Client::new(&app.base(0), key).with_token(&server_token(API_SECRET));
        assert_eq!(Person::new("", client).get("/app").await.refused(), (401, 2));
    }
}

async fn tokens_are_refused_with_their_code(app: &App) {
    app.person("ada").await;
    for (token, code) in [
        (user_token("another secret of the same length...", "ada"), 43),
        ("nonsense".into(), 5),
        ("eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoiYWRhIn0.".into(), 5),
    ] {
        assert_eq!(with_token(app, &token).get("/app").await.refused(), (401, code), "{token}");
    }
    let bare = reqwest::Client::new().get(format!("{}/app?api_key={API_KEY}", app.base(0)));
    assert_eq!(app.stranger().client.send(bare).await.unwrap().code(), 5);
}

async fn a_user_needs_an_id_and_a_server_a_user(app: &App) {
    let server = app.server();
    // Acting for nobody.
    let refused = server.post("/channels/messaging/lobby/query", json!({"data": {}})).await;
    assert!(refused.message().contains("created_by"), "{}", refused.message());
    assert_eq!(refused.refused(), (400, 4));
    // A user token without a user.
    let nobody = with_token(app, &user_token(API_SECRET, ""));
    assert_eq!(nobody.get("/app").await.refused(), (401, 5));
    // A user who is not there yet.
    let ghost = app.user_at(0, "ghost");
    assert_eq!(ghost.query("/users", json!({"filter_conditions": {}})).await.refused(), (401, 5));
}

async fn a_server_token_may_be_written_as_php_does(app: &App) {
    // {"server":"true"}, signed with the secret.
    with_token(app, &sign(API_SECRET, &json!({"server": "true"}))).get("/app").await.ok();
}

async fn guests_get_a_token(app: &App) {
    let answer = app.stranger().post("/guest", json!({"user": {"id": "visitor", "name": "Visitor"}})).await.ok();
    let id = answer["user"]["id"].as_str().unwrap();
    assert!(id.contains("visitor") && answer["user"]["role"] == "guest", "{answer}");
    let guest = Person::new(id, app.stranger().client.with_token(answer["access_token"].as_str().unwrap()));
    let ear = guest.listen().await;
    assert_eq!(ear.me()["name"], "Visitor");
    // Guests may read a livestream, and not write to it.
    app.server().post("/channels/livestream/show/query", json!({"data": {"created_by_id": "ada"}})).await.ok();
    guest.post("/channels/livestream/show/query", json!({"watch": true})).await.ok();
    let refused = guest.post("/channels/livestream/show/message", json!({"message": {"text": "hi"}})).await;
    assert_eq!(refused.refused(), (403, 17));
}

async fn anonymous_visitors_read_what_is_open_to_them(app: &App) {
    app.server().post("/channels/livestream/show/query", json!({"data": {"created_by_id": "ada"}})).await.ok();
    lobby(app, &["ada"]).await;
    let visitor = Person::new("passerby", app.stranger().client);
    let mut ear = visitor.listen().await;
    assert_eq!(ear.me()["role"], "anonymous");
    visitor.post("/channels/livestream/show/query", json!({"watch": true})).await.ok();
    assert_eq!(visitor.post("/channels/messaging/lobby/query", json!({})).await.refused(), (403, 17));
    app.server()
        .post("/channels/livestream/show/message", json!({"message": {"text": "hi", "user_id": "ada"}}))
        .await
        .ok();
    ear.hear("message.new").await;
    // The name of somebody who exists makes nobody that somebody.
    let namesake = Person::new("ada", app.stranger().client).listen().await;
    assert_eq!((&namesake.me()["id"], &namesake.me()["role"]), (&json!("!anon-ada"), &json!("anonymous")));
}

async fn development_tokens_need_the_switch(app: &App) {
    let unsigned = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoiYWRhIn0.devtoken";
    app.person("ada").await;
    assert_eq!(with_token(app, unsigned).get("/app").await.refused().0, 401);
    app.server().patch("/app", json!({"disable_auth_checks": true})).await.ok();
    with_token(app, unsigned).get("/app").await.ok();
    // It opens the door for users, not for servers.
    let server = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzZXJ2ZXIiOnRydWV9.devtoken";
    assert_eq!(with_token(app, server).patch("/app", json!({})).await.refused().0, 401);
}

async fn revocation_ends_sessions_and_tokens(app: &App) {
    let now = app.clock.now().seconds();
    app.person("ada").await;
    let issued = |at: i64| with_token(app, &sign(API_SECRET, &json!({"user_id": "ada", "iat": at})));
    let (old, new) = (issued(now - 60), issued(now + 2));
    let eternal = app.user_at(0, "ada");
    let mut ear = old.listen().await;
    let revoke =
        |before: serde_json::Value| json!({"users": [{"id": "ada", "set": {"revoke_tokens_issued_before": before}}]});
    let soon = app.clock.now().to_string();
    app.server().patch("/users", revoke(json!(soon))).await.ok();
    assert_eq!(ear.closed().await, Some(1000));
    assert_eq!(old.get("/app").await.refused(), (401, 40));
    assert_eq!(eternal.get("/app").await.refused(), (401, 40));
    assert_eq!(old.refused_to_listen().await.0["code"], 40);
    new.get("/app").await.ok();
    // Null undoes it.
    app.server().patch("/users", revoke(json!(null))).await.ok();
    old.get("/app").await.ok();
    // And for the whole app: users only.
    app.server().patch("/app", json!({"revoke_tokens_issued_before": soon})).await.ok();
    assert_eq!(old.get("/app").await.refused(), (401, 40));
    app.server().patch("/app", json!({"revoke_tokens_issued_before": null})).await.ok();
    old.get("/app").await.ok();
}

async fn a_token_ends(app: &App) {
    let now = app.clock.now().seconds();
    app.person("ada").await;
    let brief = with_token(app, &sign(API_SECRET, &json!({"user_id": "ada", "exp": now + 60})));
    brief.get("/app").await.ok();
    app.clock.advance_seconds(120);
    assert_eq!(brief.get("/app").await.refused(), (401, 40));
    assert_eq!(brief.refused_to_listen().await.0["code"], 40);
}

on_both_engines!(
    an_unknown_key_is_refused,
    tokens_are_refused_with_their_code,
    a_user_needs_an_id_and_a_server_a_user,
    a_server_token_may_be_written_as_php_does,
    guests_get_a_token,
    anonymous_visitors_read_what_is_open_to_them,
    development_tokens_need_the_switch,
    revocation_ends_sessions_and_tokens,
    a_token_ends,
);
