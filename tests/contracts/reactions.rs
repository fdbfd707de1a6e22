//! Reactions and their sums.

use serde_json::json;
use testkit::{App, on_both_engines};

use crate::{lobby, pluck, state_of, watch};

async fn reactions_add_up(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let message = ada.say("messaging:lobby", "hello").await;
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    let answer = ada.post(&path, json!({"reaction": {"type": "like", "note": "nice"}})).await.ok();
    assert_eq!((&answer["reaction"]["type"], &answer["reaction"]["note"]), (&json!("like"), &json!("nice")));
    assert_eq!(pluck(&answer["message"]["own_reactions"], "type"), ["like"]);
    let event = ear.hear("reaction.new").await;
    assert_eq!(
        (&event["reaction"]["user"]["id"], &event["message"]["reaction_counts"]["like"]),
        (&json!("ada"), &json!(1))
    );
    // Own reactions are nobody else's.
    assert_eq!(event["message"]["own_reactions"], json!([]));
    grace.post(&path, json!({"reaction": {"type": "like", "score": 5}})).await.ok();
    let answer = grace.post(&path, json!({"reaction": {"type": "love"}})).await.ok();
    let shown = &answer["message"];
    assert_eq!(shown["reaction_counts"], json!({"like": 2, "love": 1}));
    assert_eq!(shown["reaction_scores"], json!({"like": 6, "love": 1}));
    assert_eq!(
        (&shown["reaction_groups"]["like"]["count"], &shown["reaction_groups"]["like"]["sum_scores"]),
        (&json!(2), &json!(6))
    );
    assert!(
        shown["reaction_groups"]["like"]["first_reaction_at"].as_str()
            < shown["reaction_groups"]["like"]["last_reaction_at"].as_str()
    );
    assert_eq!(pluck(&shown["latest_reactions"], "type"), ["love", "like", "like"]);
    let state = state_of(&ada, "messaging:lobby").await;
    assert_eq!(pluck(&state["messages"][0]["own_reactions"], "user_id"), ["ada"]);
}

async fn the_same_again_replaces(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    let message = ada.say("messaging:lobby", "hello").await;
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    ada.post(&path, json!({"reaction": {"type": "clap", "score": 1}})).await.ok();
    let answer = ada.post(&path, json!({"reaction": {"type": "clap", "score": 4}})).await.ok();
    assert_eq!(
        (&answer["message"]["reaction_counts"]["clap"], &answer["message"]["reaction_scores"]["clap"]),
        (&json!(1), &json!(4))
    );
    ear.hear("reaction.updated").await;
    ada.post(&path, json!({"reaction": {"type": "like"}})).await.ok();
    // Only one of a person's, if asked.
    let answer = ada.post(&path, json!({"reaction": {"type": "love"}, "enforce_unique": true})).await.ok();
    assert_eq!(answer["message"]["reaction_counts"], json!({"love": 1}));
    assert_eq!(pluck(&answer["message"]["own_reactions"], "type"), ["love"]);
}

async fn reactions_are_taken_back(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let message = ada.say("messaging:lobby", "hello").await;
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    ada.post(&path, json!({"reaction": {"type": "like"}})).await.ok();
    let answer = ada.delete(&format!("{path}/like")).await.ok();
    assert_eq!((&answer["message"]["reaction_counts"], &answer["reaction"]["type"]), (&json!({}), &json!("like")));
    let event = ear.hear("reaction.deleted").await;
    assert_eq!((&event["reaction"]["type"], &event["message"]["latest_reactions"]), (&json!("like"), &json!([])));
    assert_eq!(ada.delete(&format!("{path}/like")).await.refused(), (404, 16));
    // A server takes back for somebody.
    grace.post(&path, json!({"reaction": {"type": "like"}})).await.ok();
    app.server().delete(&format!("{path}/like?user_id=grace")).await.ok();
    let listed = ada.get(&format!("{path}s")).await.ok();
    assert_eq!(listed["reactions"], json!([]));
}

async fn reactions_are_listed(app: &App) {
    let server = app.server();
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let message = ada.say("messaging:lobby", "popular").await;
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    for number in 0..13 {
        // A server may react for somebody who does not exist yet.
        let reaction = json!({"reaction": {"type": "like", "user_id": format!("fan{number:02}")}});
        server.post(&path, reaction).await.ok();
    }
    let shown = ada.get(&format!("/messages/{}", message["id"].as_str().unwrap())).await.ok()["message"].clone();
    assert_eq!(
        (&shown["reaction_counts"]["like"], shown["latest_reactions"].as_array().unwrap().len()),
        (&json!(13), 10)
    );
    let page = ada.get(&format!("{path}s?limit=5&offset=10")).await.ok();
    assert_eq!(pluck(&page["reactions"], "user_id"), ["fan02", "fan01", "fan00"]);
    assert_eq!(ada.get(&format!("{path}s?limit=301")).await.refused(), (400, 4));
}

async fn what_cannot_be_a_reaction_is_refused(app: &App) {
    let [ada, outsider] = app.people(["ada", "outsider"]).await;
    lobby(app, &["ada"]).await;
    let message = ada.say("messaging:lobby", "hello").await;
    let path = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    for reaction in [
        json!({}),
        json!({"type": ""}),
        json!({"type": "like", "score": 2_000_000}),
        json!({"type": "like", "note": "x".repeat(2_000)}),
    ] {
        let refused = ada.post(&path, json!({"reaction": reaction})).await.refused();
        assert_eq!(refused.0 / 100, 4, "{reaction}");
    }
    assert_eq!(outsider.post(&path, json!({"reaction": {"type": "like"}})).await.refused(), (404, 16));
    assert_eq!(
        ada.post("/messages/nothing/reaction", json!({"reaction": {"type": "like"}})).await.refused(),
        (404, 16)
    );
    let shown = ada.get(&format!("/messages/{}", message["id"].as_str().unwrap())).await.ok();
    assert_eq!(shown["message"]["reaction_counts"], json!({}));
}

on_both_engines!(
    reactions_add_up,
    the_same_again_replaces,
    reactions_are_taken_back,
    reactions_are_listed,
    what_cannot_be_a_reaction_is_refused,
);
