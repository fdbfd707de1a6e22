//! What is shown to nobody: what the shadow-banned do, who is invisible, that something is there which one may not read.

use serde_json::{Value, json};
use testkit::{App, Ear, Person, on_both_engines};

use crate::identity::heard_before;
use crate::{SEND, channel, path, watch};

const ROOM: &str = "/channels/messaging/room";

/// Ada's own socket among those who watch the room.
async fn watcher(person: &Person) -> Ear {
    let ear = person.listen().await;
    watch(person, "messaging:room").await;
    ear
}

/// Whatever a shadow-banned member does, it alone hears of it.
async fn the_shadow_banned_are_heard_by_nobody(app: &App) {
    let [ada, eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let said = ada.say("messaging:room", "hello").await["id"].as_str().unwrap().to_owned();
    let own = eve.say("messaging:room", "before").await["id"].as_str().unwrap().to_owned();
    let more = json!({"message": {"id": "thread", "text": "re", "parent_id": said}});
    ada.post(SEND, more).await.ok();
    app.sql("UPDATE members SET shadow_banned = true WHERE user_id = 'eve'").await;
    app.sql("UPDATE channels SET rights = rights + 1").await;
    app.sql("UPDATE channel_heads SET rights = rights + 1").await;
    app.ctx(0).caches.forget(millrace::events::Touched::Membership(key_of_room(app).await, "eve")).await;
    let (mut hers, mut theirs) = (watcher(&eve).await, watcher(&ada).await);

    let like = json!({"reaction": {"type": "like"}});
    let reacted = eve.post(&format!("/messages/{said}/reaction"), like).await.ok();
    assert_eq!(reacted["message"]["own_reactions"][0]["type"], "like");
    hers.hear("reaction.new").await;
    let changed = eve.put(&format!("/messages/{own}"), json!({"set": {"text": "what nobody sees"}})).await.ok();
    assert_eq!(changed["message"]["text"], "what nobody sees");
    hers.hear("message.updated").await;
    for kind in ["typing.start", "rain"] {
        eve.post(&format!("{ROOM}/event"), json!({"event": {"type": kind}})).await.ok();
        hers.hear(kind).await;
    }
    let reply = json!({"message": {"id": "reply", "text": "re", "parent_id": said}});
    eve.post(SEND, reply).await.ok();
    eve.delete("/messages/reply").await.ok();
    eve.post(&format!("{ROOM}/read"), json!({})).await.ok();
    hers.hear("message.read").await;
    eve.post(&format!("{ROOM}/read"), json!({"thread_id": said})).await.ok();
    let member = eve.patch(&format!("{ROOM}/member/eve"), json!({"set": {"motto": "look at me"}})).await.ok();
    assert_eq!(member["channel_member"]["motto"], "look at me");
    hers.hear("member.updated").await;
    assert_eq!(eve.put(&format!("/messages/{said}"), json!({"set": {"pinned": true}})).await.refused(), (403, 17));

    let heard = heard_before(&mut theirs, app, "messaging:lobby").await;
    let of_eve: Vec<&Value> = heard
        .iter()
        .filter(|event| event["cid"] == "messaging:room" && event["type"] != "user.watching.start")
        .collect();
    assert!(of_eve.is_empty(), "{of_eve:#?}");
    let state = ada.post(&format!("{ROOM}/query"), json!({"state": true})).await.ok();
    for unseen in ["what nobody sees", "look at me", "like\""] {
        let there = json!([state["messages"], state["members"]]);
        assert!(!there.to_string().contains(unseen), "{unseen}: {there:#}");
    }
    assert_eq!(state["messages"][0]["reply_count"], 1);
}

async fn key_of_room(app: &App) -> i64 {
    app.ask("SELECT id::text FROM channels WHERE cid = 'messaging:room'").await[0].parse().unwrap()
}

/// What is for some stays theirs, whatever becomes of it.
async fn what_becomes_of_a_restricted_message_is_for_the_same(app: &App) {
    let [ada, grace, linus] = app.people(["ada", "grace", "linus"]).await;
    channel(app, "messaging:room", &["ada", "grace", "linus"]).await;
    channel(app, "messaging:lobby", &["linus"]).await;
    let (mut few, mut others) = (watcher(&grace).await, watcher(&linus).await);
    let message = json!({"id": "few", "text": "for few", "user_id": "ada", "restricted_visibility": ["grace"]});
    app.server().post(SEND, json!({"message": message})).await.ok();
    ada.put("/messages/few", json!({"set": {"text": "for you"}})).await.ok();
    grace.post("/messages/few/reaction", json!({"reaction": {"type": "like"}})).await.ok();
    grace.delete("/messages/few/reaction/like").await.ok();
    ada.delete("/messages/few").await.ok();
    for kind in ["message.new", "message.updated", "reaction.new", "reaction.deleted", "message.deleted"] {
        few.hear(kind).await;
    }
    let heard = heard_before(&mut others, app, "messaging:lobby").await;
    assert!(heard.iter().all(|event| event["message"].is_null()), "{heard:#?}");
}

/// Who is banned says nothing of itself either; where it keeps the channel is its own business.
async fn the_banned_do_not_speak_by_their_membership(app: &App) {
    let [_ada, eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    app.sql("UPDATE members SET banned = true WHERE user_id = 'eve'").await;
    app.ctx(0).caches.forget(millrace::events::Touched::Membership(key_of_room(app).await, "eve")).await;
    let member = format!("{ROOM}/member/eve");
    assert_eq!(eve.patch(&member, json!({"set": {"motto": "look at me"}})).await.refused(), (403, 17));
    eve.patch(&member, json!({"set": {"archived": true}})).await.ok();
}

/// A message goes along with what changes, not with what is said again.
async fn a_change_that_changes_nothing_carries_no_message(app: &App) {
    let [ada, _grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    let along = json!({"text": "grace is gone"});
    let rename = json!({"data": {"name": "Room"}, "message": along});
    ada.post(ROOM, rename.clone()).await.ok();
    app.server()
        .put(
            "/channeltypes/messaging",
            json!({"grants": {"user": [
                "read-channel-owner", "update-channel-owner", "update-channel-members-owner", "create-message-owner"
            ]}}),
        )
        .await
        .ok();
    for nothing in [rename, json!({"remove_members": ["nobody"], "message": along})] {
        assert_eq!(ada.post(ROOM, nothing.clone()).await.refused(), (403, 17), "{nothing}");
    }
    ada.post(ROOM, json!({"remove_members": ["grace"], "message": along})).await.ok();
    app.server().patch(ROOM, json!({"set": {"frozen": true}})).await.ok();
    let again = json!({"data": {"name": "Hall"}, "message": along});
    assert_eq!(ada.post(ROOM, again).await.refused(), (403, 17));
}

/// That a message which was hidden is gone for good, `/sync` tells those who saw it.
async fn sync_tells_nothing_of_what_was_hidden(app: &App) {
    let [ada, grace, linus] = app.people(["ada", "grace", "linus"]).await;
    let since = channel(app, "messaging:room", &["ada", "linus"]).await["channel"]["created_at"].clone();
    ada.post(SEND, json!({"message": {"id": "hidden", "text": "before"}})).await.ok();
    app.server().post(ROOM, json!({"add_members": ["grace"], "hide_history": true})).await.ok();
    ada.post(SEND, json!({"message": {"id": "shown", "text": "after"}})).await.ok();
    for id in ["hidden", "shown"] {
        app.server().delete(&format!("/messages/{id}?hard=true")).await.ok();
    }
    for (person, ids) in [(&grace, vec!["shown"]), (&linus, vec!["hidden", "shown"])] {
        let missed = json!({"channel_cids": ["messaging:room"], "last_sync_at": since});
        let missed = person.post("/sync", missed).await.ok();
        let events = missed["events"].as_array().unwrap().iter();
        let gone: Vec<&Value> =
            events.filter(|event| event["type"] == "message.deleted").map(|event| &event["message"]["id"]).collect();
        assert_eq!(json!(gone), json!(ids), "{}", person.id);
    }
}

/// What is elsewhere is answered like what is nowhere.
async fn a_message_elsewhere_is_not_there(app: &App) {
    let [ada, eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    ada.post(SEND, json!({"message": {"id": "there", "text": "x"}})).await.ok();
    let like = json!({"reaction": {"type": "like"}});
    for id in ["there", "nowhere"] {
        let message = format!("/messages/{id}");
        let answers = [
            eve.get(&message).await,
            eve.put(&message, json!({"set": {"text": "y"}})).await,
            eve.delete(&message).await,
            eve.post(&format!("{message}/reaction"), like.clone()).await,
            eve.get(&format!("{message}/replies")).await,
        ];
        for answer in answers {
            assert_eq!(answer.refused(), (404, 16), "{id}");
        }
    }
}

/// Who has rejected an invite has nothing to do with the channel.
async fn who_rejects_is_no_member(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    channel(app, "messaging:lobby", &["grace"]).await;
    app.server().post(ROOM, json!({"invites": ["grace"]})).await.ok();
    let mut ear = watcher(&grace).await;
    grace.post(ROOM, json!({"reject_invite": true})).await.ok();
    assert_eq!(grace.post(&format!("{ROOM}/query"), json!({})).await.refused(), (403, 17));
    assert_eq!(grace.post(SEND, json!({"message": {"text": "x"}})).await.refused(), (403, 17));
    let realtime = &app.ctx(0).realtime;
    let watched = async { while !realtime.watched(ear.connection_id()).await.is_empty() {} };
    tokio::time::timeout(testkit::PATIENCE, watched).await.expect("the watch ends");
    ada.say("messaging:room", "among us").await;
    let heard = heard_before(&mut ear, app, "messaging:lobby").await;
    assert!(!json!(heard).to_string().contains("among us"), "{heard:#?}");
    let unread = grace.get("/unread").await.ok();
    assert!(!unread.to_string().contains("messaging:room"), "{unread:#}");
    app.server().post(ROOM, json!({"invites": ["grace"]})).await.ok();
    grace.post(ROOM, json!({"accept_invite": true})).await.ok();
    grace.say("messaging:room", "here I am").await;
}

/// Every list that leads to a channel leaves out those who have rejected an invite to it.
async fn no_list_leads_who_rejects_back(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    app.server().post(ROOM, json!({"invites": ["grace"]})).await.ok();
    ada.post(SEND, json!({"message": {"id": "parent", "text": "x"}})).await.ok();
    grace.post(SEND, json!({"message": {"text": "y", "parent_id": "parent"}})).await.ok();
    grace.post(ROOM, json!({"reject_invite": true})).await.ok();
    ada.post(SEND, json!({"message": {"text": "among us", "parent_id": "parent"}})).await.ok();
    let ear = grace.listen().await;
    for wish in [json!({"state": true}), json!({"watch": true}), json!({"state": false, "offset": 0})] {
        let mut query = json!({"filter_conditions": {"cid": "messaging:room"}});
        query.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        assert_eq!(grace.post("/channels", query).await.ok()["channels"], json!([]), "{wish}");
    }
    assert!(app.ctx(0).realtime.watched(ear.connection_id()).await.is_empty());
    assert_eq!(grace.get("/unread").await.ok()["total_unread_threads_count"], 0);
    grace.post("/channels/read", json!({})).await.ok();
    let read = app.ask("SELECT type FROM events WHERE type = 'message.read' AND subject = 'grace'").await;
    assert!(read.is_empty(), "{read:?}");
}

/// The channels that a query finds for somebody, by their ids.
async fn found(person: &Person, filter: &Value, limit: usize, offset: usize) -> Vec<String> {
    let query = json!({
        "filter_conditions": filter, "sort": [{"field": "cid", "direction": 1}], "limit": limit, "offset": offset,
    });
    let channels = person.post("/channels", query).await.ok()["channels"].clone();
    channels.as_array().unwrap().iter().map(|state| state["channel"]["id"].as_str().unwrap().to_owned()).collect()
}

/// A page has the same channels in it whatever is true of those that one may not read.
async fn no_page_tells_of_what_is_left_out(app: &App) {
    let [ada, eve] = app.people(["ada", "eve"]).await;
    let server = app.server();
    for (cid, overrides) in [
        ("livestream:a-closed", json!({"grants": {"user": ["!read-channel"]}})),
        ("livestream:b-again", json!({"grants": {"user": ["!read-channel", "read-channel"]}})),
        ("messaging:c-opened", json!({"grants": {"user": ["read-channel-any-team"]}})),
        ("messaging:d-others", json!({"grants": {"guest": ["read-channel"]}})),
        ("messaging:e-odd", json!({"grants": {"user": "read-channel", "guest": [1, null]}})),
    ] {
        let data = json!({"created_by_id": "ada", "config_overrides": overrides, "secret": "mauve"});
        server.post(&format!("{}/query", path(cid)), json!({"data": data})).await.ok();
    }
    for name in ["f-disabled", "g-own"] {
        let data = json!({"created_by_id": "ada", "members": ["eve"], "secret": "mauve"});
        server.post(&format!("/channels/messaging/{name}/query"), json!({"data": data})).await.ok();
    }
    server.patch("/channels/messaging/f-disabled", json!({"set": {"disabled": true}})).await.ok();
    let readable = ["b-again", "c-opened", "g-own"];
    assert_eq!(found(&eve, &json!({"secret": "mauve"}), 30, 0).await, readable);
    for hidden in ["livestream:a-closed", "messaging:d-others", "messaging:e-odd", "messaging:f-disabled"] {
        for secret in ["mauve", "green"] {
            let guess = json!({"$or": [{"$and": [{"cid": hidden}, {"secret": secret}]}, {"cid": "messaging:g-own"}]});
            assert_eq!(found(&eve, &guess, 1, 0).await, ["g-own"], "{hidden} {secret}");
            assert!(found(&eve, &guess, 1, 1).await.is_empty(), "{hidden} {secret}");
        }
    }
    let owned = ["b-again", "c-opened", "d-others", "e-odd", "g-own"];
    assert_eq!(found(&ada, &json!({"secret": "mauve"}), 30, 0).await, owned);
    let grants = json!({"config_overrides": {"grants": {"channel_member": ["read-disabled-channel"]}}});
    server.patch("/channels/messaging/f-disabled", json!({"set": grants})).await.ok();
    assert_eq!(found(&eve, &json!({"secret": "mauve"}), 2, 2).await, ["f-disabled", "g-own"]);
}

/// Where somebody keeps a channel in its own list, its own sockets hear.
async fn nobody_hears_where_others_keep_a_channel(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let (mut theirs, mut hers) = (watcher(&ada).await, grace.listen().await);
    for kept in [json!({"set": {"pinned": true}}), json!({"set": {"archived": true}}), json!({"unset": ["archived"]})] {
        grace.patch(&format!("{ROOM}/member/grace"), kept).await.ok();
        assert_eq!(hers.hear("member.updated").await["member"]["user_id"], "grace");
    }
    let heard = heard_before(&mut theirs, app, "messaging:lobby").await;
    assert!(heard.iter().all(|event| event["type"] != "member.updated"), "{heard:#?}");
}

/// Who is shadow-banned is not to be listed.
async fn nobody_looks_for_the_shadow_banned(app: &App) {
    let [ada, _eve] = app.people(["ada", "eve"]).await;
    let filter = json!({"$or": [{"id": "nobody"}, {"shadow_banned": true}]});
    let payloads = [
        json!({"filter_conditions": filter}),
        json!({"filter_conditions": {}, "sort": [{"field": "shadow_banned", "direction": -1}]}),
    ];
    for payload in payloads {
        assert_eq!(ada.query("/users", payload.clone()).await.refused(), (403, 17), "{payload}");
        app.server().query("/users", payload).await.ok();
    }
}

/// Nobody is told that somebody invisible watches.
async fn the_invisible_are_not_seen_watching(app: &App) {
    let [ada, eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let mut ear = watcher(&ada).await;
    let _hers = eve.listen_as(json!({"invisible": true})).await;
    watch(&eve, "messaging:room").await;
    let query = json!({"watchers": {"limit": 10}, "state": true});
    let state = ada.post(&format!("{ROOM}/query"), query).await.ok();
    let watchers: Vec<&Value> = state["watchers"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
    assert_eq!(json!(watchers), json!(["ada"]));
    eve.post(&format!("{ROOM}/stop-watching"), json!({})).await.ok();
    let heard = heard_before(&mut ear, app, "messaging:lobby").await;
    assert!(heard.iter().all(|event| event["user"]["id"] != "eve"), "{heard:#?}");
}

/// What one may not read any more is not to be read.
async fn nothing_is_unread_in_a_disabled_channel(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    grace.post(SEND, json!({"message": {"id": "parent", "text": "x"}})).await.ok();
    ada.post(SEND, json!({"message": {"text": "y", "parent_id": "parent"}})).await.ok();
    ada.say("messaging:room", "z").await;
    let unread = async || {
        let unread = grace.get("/unread").await.ok();
        ["total_unread_count", "total_unread_threads_count"].map(|key| unread[key].as_i64().unwrap())
    };
    assert_eq!(unread().await, [1, 1]);
    app.server().patch(&path("messaging:room"), json!({"set": {"disabled": true}})).await.ok();
    assert_eq!(unread().await, [0, 0]);
}

on_both_engines!(
    the_shadow_banned_are_heard_by_nobody,
    what_becomes_of_a_restricted_message_is_for_the_same,
    the_banned_do_not_speak_by_their_membership,
    a_change_that_changes_nothing_carries_no_message,
    sync_tells_nothing_of_what_was_hidden,
    a_message_elsewhere_is_not_there,
    who_rejects_is_no_member,
    no_list_leads_who_rejects_back,
    no_page_tells_of_what_is_left_out,
    nobody_hears_where_others_keep_a_channel,
    nobody_looks_for_the_shadow_banned,
    the_invisible_are_not_seen_watching,
    nothing_is_unread_in_a_disabled_channel,
);
