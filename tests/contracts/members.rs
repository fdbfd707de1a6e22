//! Members: adding, removing, inviting, changing and finding them.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{lobby, pluck, state_of, watch};

async fn members_come_and_go(app: &App) {
    let [ada, grace, _] = app.people(["ada", "grace", "alan"]).await;
    lobby(app, &["ada"]).await;
    let (mut hers, mut his) = (ada.listen().await, grace.listen().await);
    watch(&ada, "messaging:lobby").await;
    let add = json!({"add_members": ["grace", {"user_id": "alan", "nick": "al"}], "message": {"text": "welcome"}});
    let answer = ada.post("/channels/messaging/lobby", add).await.ok();
    assert_eq!(answer["channel"]["member_count"], 3);
    assert_eq!(answer["members"].as_array().unwrap().len(), 3);
    let event = hers.hear_where("member.added", |event| event["member"]["user_id"] == "alan").await;
    assert_eq!((&event["member"]["nick"], &event["user"]["id"]), (&json!("al"), &json!("alan")));
    let event = his.hear("notification.added_to_channel").await;
    assert_eq!((&event["channel"]["cid"], &event["member"]["user_id"]), (&json!("messaging:lobby"), &json!("grace")));
    // A new member hears what is said from now on.
    ada.say("messaging:lobby", "hello grace").await;
    for text in ["welcome", "hello grace"] {
        assert_eq!(his.hear("notification.message_new").await["message"]["text"], text);
    }
    // And leaves.
    grace.post("/channels/messaging/lobby", json!({"remove_members": ["grace"]})).await.ok();
    hers.hear("member.removed").await;
    his.hear("notification.removed_from_channel").await;
    ada.say("messaging:lobby", "she is gone").await;
    assert!(!his.heard_kinds(&app.server()).await.contains(&"notification.message_new".to_owned()));
    let not_hers = json!({"remove_members": ["alan"]});
    assert_eq!(
        app.user_at(0, "alan").post("/channels/messaging/lobby", json!({"add_members": ["grace"]})).await.refused(),
        (403, 17)
    );
    ada.post("/channels/messaging/lobby", not_hers).await.ok();
}

async fn who_was_thrown_out_hears_no_more_as_watcher(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    ada.say("messaging:lobby", "with grace").await;
    ear.hear("message.new").await;
    ada.post("/channels/messaging/lobby", json!({"remove_members": ["grace"]})).await.ok();
    ear.hear("member.removed").await;
    ada.say("messaging:lobby", "without grace").await;
    assert!(!ear.heard_kinds(&app.server()).await.contains(&"message.new".to_owned()));
}

async fn adding_twice_adds_once(app: &App) {
    let ada = app.person("ada").await;
    app.person("grace").await;
    lobby(app, &["ada"]).await;
    for _ in 0..2 {
        let answer = ada.post("/channels/messaging/lobby", json!({"add_members": ["grace", "grace"]})).await.ok();
        assert_eq!(answer["channel"]["member_count"], 2);
    }
    let too_many: Vec<String> = (0..101).map(|number| format!("user{number}")).collect();
    assert_eq!(ada.post("/channels/messaging/lobby", json!({"add_members": too_many})).await.refused(), (400, 4));
    assert_eq!(ada.post("/channels/messaging/lobby", json!({"add_members": ["nobody"]})).await.refused(), (400, 4));
}

async fn invited_people_decide(app: &App) {
    let [ada, grace, alan] = app.people(["ada", "grace", "alan"]).await;
    lobby(app, &["ada"]).await;
    let (mut hers, mut his) = (grace.listen().await, alan.listen().await);
    ada.post("/channels/messaging/lobby", json!({"invites": ["grace", "alan"]})).await.ok();
    assert_eq!(hers.hear("notification.invited").await["member"]["status"], "pending");
    his.hear("notification.invited").await;
    let pending = json!({"filter_conditions": {"invite": "pending"}, "watch": false});
    assert_eq!(grace.post("/channels", pending.clone()).await.ok()["channels"].as_array().unwrap().len(), 1);
    let answer = grace.post("/channels/messaging/lobby", json!({"accept_invite": true})).await.ok();
    assert!(answer["channel"].is_object());
    hers.hear("notification.invite_accepted").await;
    alan.post("/channels/messaging/lobby", json!({"reject_invite": true})).await.ok();
    his.hear("notification.invite_rejected").await;
    assert_eq!(grace.post("/channels", pending).await.ok()["channels"], json!([]));
    let members = state_of(&ada, "messaging:lobby").await["members"].clone();
    let status = |id: &str| {
        let mut members = members.as_array().unwrap().iter();
        members.find(|member| member["user_id"] == id).map_or(Value::Null, |member| member["status"].clone())
    };
    assert_eq!((status("grace"), status("alan")), (json!("member"), json!("rejected")));
    assert_eq!(ada.post("/channels/messaging/lobby", json!({"accept_invite": true})).await.refused().0, 400);
    // Whoever said no may be asked again, and say yes.
    ada.post("/channels/messaging/lobby", json!({"invites": ["alan", "grace"]})).await.ok();
    assert_eq!(his.hear("notification.invited").await["member"]["status"], "pending");
    alan.post("/channels/messaging/lobby", json!({"accept_invite": true})).await.ok();
    his.hear("notification.invite_accepted").await;
}

async fn moderators_are_made_by_servers(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    assert_eq!(
        grace.post("/channels/messaging/lobby", json!({"add_moderators": ["grace"]})).await.refused(),
        (403, 17)
    );
    let answer = app.server().post("/channels/messaging/lobby", json!({"add_moderators": ["grace"]})).await.ok();
    let roles = answer["members"].as_array().unwrap().iter();
    let role = roles.filter(|member| member["user_id"] == "grace").map(|member| &member["channel_role"]);
    assert_eq!(role.collect::<Vec<_>>(), ["channel_moderator"]);
    assert_eq!(ear.hear("member.updated").await["member"]["is_moderator"], true);
    // A moderator may delete what others wrote.
    let message = ada.say("messaging:lobby", "rude").await;
    grace.delete(&format!("/messages/{}", message["id"].as_str().unwrap())).await.ok();
    app.server().post("/channels/messaging/lobby", json!({"demote_moderators": ["grace"]})).await.ok();
    let message = ada.say("messaging:lobby", "rude again").await;
    assert_eq!(grace.delete(&format!("/messages/{}", message["id"].as_str().unwrap())).await.refused(), (403, 17));
}

async fn members_keep_something_of_their_own(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    let answer = grace.patch("/channels/messaging/lobby/member/grace", json!({"set": {"nick": "g"}})).await.ok();
    assert_eq!(answer["channel_member"]["nick"], "g");
    assert_eq!(ear.hear("member.updated").await["member"]["nick"], "g");
    let answer = grace.patch("/channels/messaging/lobby/member", json!({"set": {"pinned": true}})).await.ok();
    assert!(answer["channel_member"]["pinned_at"].is_string());
    let pinned = json!({"filter_conditions": {"pinned": true}, "watch": false});
    assert_eq!(grace.post("/channels", pinned).await.ok()["channels"].as_array().unwrap().len(), 1);
    let answer = grace
        .patch("/channels/messaging/lobby/member", json!({"unset": ["nick"], "set": {"pinned": false}}))
        .await
        .ok();
    assert_eq!((answer["channel_member"].get("nick"), answer["channel_member"].get("pinned_at")), (None, None));
    let archived = json!({"set": {"archived": true}});
    grace.patch("/channels/messaging/lobby/member/grace", archived).await.ok();
    let kept = json!({"filter_conditions": {"archived": false}, "watch": false});
    assert_eq!(grace.post("/channels", kept).await.ok()["channels"], json!([]));
    assert_eq!(
        grace.patch("/channels/messaging/lobby/member/ada", json!({"set": {"a": 1}})).await.refused(),
        (403, 17)
    );
}

async fn members_are_found(app: &App) {
    let server = app.server();
    let users = json!({"users": {
        "ada": {"id": "ada", "name": "Ada Lovelace"}, "grace": {"id": "grace", "name": "Grace Hopper"}, "alan": {"id": "alan", "name": "Alan"},
    }});
    server.post("/users", users).await.ok();
    let data = json!({"created_by_id": "ada", "members": ["ada", {"user_id": "grace", "nick": "gg"}, "alan"]});
    server.post("/channels/messaging/lobby/query", json!({"data": data})).await.ok();
    server.post("/channels/messaging/lobby", json!({"add_moderators": ["ada"]})).await.ok();
    let ada = app.user_at(0, "ada");
    let ask = async |filter: Value| {
        let payload = json!({"type": "messaging", "id": "lobby", "filter_conditions": filter, "sort": [{"field": "user_id", "direction": 1}]});
        ada.query("/members", payload).await.ok()
    };
    for (filter, ids) in [
        (json!({}), vec!["ada", "alan", "grace"]),
        (json!({"name": {"$autocomplete": "hop"}}), vec!["grace"]),
        (json!({"id": {"$in": ["ada", "alan"]}}), vec!["ada", "alan"]),
        (json!({"channel_role": "channel_moderator"}), vec!["ada"]),
        (json!({"nick": "gg"}), vec!["grace"]),
        (json!({"banned": false}), vec!["ada", "alan", "grace"]),
    ] {
        assert_eq!(pluck(&ask(filter.clone()).await["members"], "user_id"), ids, "{filter}");
    }
    let page = json!({"type": "messaging", "id": "lobby", "filter_conditions": {}, "sort": {"user_id": -1}, "limit": 1, "offset": 1});
    assert_eq!(pluck(&ada.query("/members", page).await.ok()["members"], "user_id"), ["alan"]);
    let after = json!({"type": "messaging", "id": "lobby", "filter_conditions": {}, "user_id_gt": "ada", "sort": [{"field": "user_id", "direction": 1}]});
    assert_eq!(pluck(&ada.query("/members", after).await.ok()["members"], "user_id"), ["alan", "grace"]);
    let nowhere = json!({"type": "messaging", "id": "nowhere", "filter_conditions": {}});
    assert_eq!(ada.query("/members", nowhere).await.refused(), (404, 16));
}

async fn history_may_be_kept_from_those_who_join(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada"]).await;
    ada.say("messaging:lobby", "before grace").await;
    ada.post("/channels/messaging/lobby", json!({"add_members": ["grace"], "hide_history": true})).await.ok();
    ada.say("messaging:lobby", "with grace").await;
    assert_eq!(pluck(&state_of(&grace, "messaging:lobby").await["messages"], "text"), ["with grace"]);
    assert_eq!(pluck(&state_of(&ada, "messaging:lobby").await["messages"], "text"), ["before grace", "with grace"]);
}

on_both_engines!(
    members_come_and_go,
    who_was_thrown_out_hears_no_more_as_watcher,
    adding_twice_adds_once,
    invited_people_decide,
    moderators_are_made_by_servers,
    members_keep_something_of_their_own,
    members_are_found,
    history_may_be_kept_from_those_who_join,
);
