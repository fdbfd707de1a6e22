//! Which rule does it go round: what somebody may do at one door and not at another.

use serde_json::{Value, json};
use testkit::{App, Person, on_both_engines};

use crate::{SEND, channel, path, watch};

const ROOM: &str = "/channels/messaging/room";

/// What clients take for a word of the server's own.
async fn events_say_nothing_in_our_name(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let forged = json!({
        "error": {"code": 40, "message": "token expired"}, "me": {"id": "ada"}, "thread": {}, "hard_delete": true,
        "total_unread_count": 9, "unread_count": 9, "spam": "eggs",
    });
    for kind in ["typing.start", "rain"] {
        let mut event = forged.clone();
        event["type"] = kind.into();
        let sent = ada.post("/channels/messaging/lobby/event", json!({"event": event})).await.ok();
        for event in [&sent["event"], &ear.hear(kind).await] {
            for key in ["error", "me", "thread", "hard_delete", "total_unread_count", "unread_count"] {
                assert_eq!(event[key], Value::Null, "{key} of {event}");
            }
            let spam = if kind == "rain" { json!("eggs") } else { Value::Null };
            assert_eq!(event["spam"], spam, "{event}");
        }
    }
}

/// A message goes along with a change; with none it is a system message, which has a grant of its own.
async fn a_message_along_needs_a_change(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    for more in [json!({}), json!({"hide_history": true}), json!({"add_members": []})] {
        let mut request = json!({"message": {"text": "grace is gone"}});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(grace.post("/channels/messaging/lobby", request).await.refused(), (403, 17), "{more}");
    }
    let by_server = json!({"message": {"text": "closing", "user_id": "ada"}});
    app.server().post("/channels/messaging/lobby", by_server).await.ok();
    ada.post("/channels/messaging/lobby", json!({"data": {"name": "Lobby"}, "message": {"text": "named"}})).await.ok();
    let leaving = json!({"remove_members": ["grace"], "message": {"text": "bye"}});
    grace.post("/channels/messaging/lobby", leaving).await.ok();
}

/// Settings that need a grant later need it at birth.
async fn a_channel_is_not_born_with_what_its_maker_may_not_set(app: &App) {
    let [ada, _grace] = app.people(["ada", "grace"]).await;
    let born = async |id: &str, settings: Value| {
        let mut data = json!({"members": ["ada", "grace"]});
        data.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        ada.post(&format!("/channels/messaging/{id}/query"), json!({"data": data})).await
    };
    for settings in [json!({"frozen": true}), json!({"cooldown": 60}), json!({"team": "red"})] {
        assert_eq!(born("odd", settings.clone()).await.refused(), (403, 17), "{settings}");
    }
    born("plain", json!({"frozen": false, "cooldown": 0, "team": ""})).await.ok();
    app.server().patch("/users", json!({"users": [{"id": "ada", "set": {"teams": ["red"]}}]})).await.ok();
    assert_eq!(born("red", json!({"team": "red"})).await.ok()["channel"]["team"], "red");
    let moved = ada.post("/channels/messaging/plain", json!({"data": {"team": "blue"}})).await;
    assert_eq!(moved.refused(), (403, 17));
}

/// Who is named by a channel's name comes back into it, and is put out by nobody but a server.
async fn nobody_is_lost_to_a_channel_of_its_own_name(app: &App) {
    let [ada, grace, _linus] = app.people(["ada", "grace", "linus"]).await;
    let ours = json!({"data": {"members": ["ada", "grace"]}});
    let state = ada.post("/channels/messaging/query", ours.clone()).await.ok();
    let id = state["channel"]["id"].as_str().unwrap().to_owned();
    let at = format!("/channels/messaging/{id}");
    assert_eq!(ada.post(&at, json!({"remove_members": ["grace"]})).await.refused(), (403, 17));
    let leave = json!({"remove_members": ["grace"]});
    grace.post(&at, leave.clone()).await.ok();
    let back = grace.post("/channels/messaging/query", ours.clone()).await.ok();
    assert_eq!(back["channel"]["id"], json!(id));
    assert_eq!(back["channel"]["member_count"], 2);
    grace.post(&at, leave.clone()).await.ok();
    assert_eq!(ada.post(&at, json!({"add_members": ["linus"]})).await.refused(), (400, 4));
    ada.post(&at, json!({"add_members": ["grace"]})).await.ok();
    app.server().post(&at, leave).await.ok();
    assert_eq!(grace.post("/channels/messaging/query", ours).await.refused(), (403, 17));
    app.server().post(&at, json!({"add_members": ["grace"]})).await.ok();
    grace.get(&format!("{at}/messages?ids=x")).await.ok();
}

/// Links by any spelling, roles as mentions.
async fn what_a_message_carries_is_asked_for(app: &App) {
    let [ada, _grace] = app.people(["ada", "grace"]).await;
    let lobby = "/channels/messaging/lobby";
    channel(app, "messaging:lobby", &["grace", "ada"]).await;
    let modifiers = json!({"channel_member": ["!add-links", "!create-mention"]});
    let set = json!({"set": {"config_overrides": {"grants": modifiers}}});
    app.server().patch(lobby, set).await.ok();
    let messages = [
        json!({"text": "HTTPS://e.com"}),
        json!({"text": "<mailto:a@e.com>"}),
        json!({"text": "[x](//e.com)"}),
        json!({"text": "x", "attachments": [{"type": "link", "title_link": "//e.com"}]}),
        json!({"text": "x", "attachments": [{"og_scrape_url": "HTTP://e.com"}]}),
        json!({"text": "x", "mentioned_roles": ["admin"]}),
    ];
    for message in messages {
        let sent = ada.post(&format!("{lobby}/message"), json!({"message": message})).await;
        assert_eq!(sent.refused(), (403, 17), "{message}");
    }
    let plain = json!({"text": "x < y", "attachments": [{"type": "image", "image_url": "https://e.com/a.png"}]});
    ada.post(&format!("{lobby}/message"), json!({"message": plain})).await.ok();
}

/// Verbs beside sending for somebody who may not send, and lists for somebody who may not list.
async fn rules_hold_beside_sending(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let lobby = "/channels/messaging/lobby";
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let id = ada.say("messaging:lobby", "hello").await["id"].as_str().unwrap().to_owned();
    app.server().patch(lobby, json!({"set": {"frozen": true}})).await.ok();
    let pin = json!({"set": {"pinned": true}});
    assert_eq!(grace.put(&format!("/messages/{id}"), pin).await.refused(), (403, 17));
    let rain = json!({"event": {"type": "rain"}});
    assert_eq!(grace.post(&format!("{lobby}/event"), rain).await.refused(), (403, 17));
    let archive = json!({"set": {"archived": true}});
    assert_eq!(ada.patch(&format!("{lobby}/member/grace"), archive).await.refused(), (403, 17));
    let set = json!({"set": {"config_overrides": {"grants": {"channel_member": ["!read-channel-members"]}}}});
    app.server().patch(lobby, set).await.ok();
    let state = grace.post(&format!("{lobby}/query"), json!({"state": true})).await.ok();
    let members = &state["members"];
    assert_eq!((members.as_array().unwrap().len(), &members[0]["user_id"]), (1, &json!("grace")));
    ada.patch("/users", json!({"users": [{"id": "ada", "set": {"name": "Ada"}}]})).await.ok();
    app.server().patch("/app", json!({"grants": {"user": []}})).await.ok();
    let renamed = ada.patch("/users", json!({"users": [{"id": "ada", "set": {"name": "A"}}]})).await;
    assert_eq!(renamed.refused(), (403, 17));
}

/// A mute outlives what its owner may read of the channel; it shows nothing of it then.
async fn mutes_show_what_may_be_read(app: &App) {
    let [_ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    grace.post("/moderation/mute/channel", json!({"channel_cids": ["messaging:lobby"]})).await.ok();
    assert_eq!(grace.listen().await.me()["channel_mutes"].as_array().unwrap().len(), 1);
    let set = json!({"set": {"disabled": true}});
    app.server().patch("/channels/messaging/lobby", set).await.ok();
    assert_eq!(grace.listen().await.me()["channel_mutes"], json!([]));
}

/// Whoever leaves and comes back is bound by what bound it before.
async fn leaving_lifts_nothing(app: &App) {
    let [ada, eve] = app.people(["ada", "eve"]).await;
    let data = json!({"data": {"members": ["ada", "eve"]}});
    let made = ada.post("/channels/messaging/query", data.clone()).await.ok();
    let room = format!("/channels/messaging/{}", made["channel"]["id"].as_str().unwrap());
    let server = app.server();
    ada.post(&format!("{room}/message"), json!({"message": {"id": "before", "text": "the secret text"}})).await.ok();
    let leave = json!({"remove_members": ["eve"]});
    eve.post(&room, leave.clone()).await.ok();
    server.post(&room, json!({"add_members": ["eve"], "hide_history": true})).await.ok();
    app.sql("UPDATE members SET banned = true WHERE user_id = 'eve'").await;
    eve.post(&room, leave).await.ok();

    let state = eve.post("/channels/messaging/query", data).await.ok();
    assert!(!state.to_string().contains("the secret text"), "{state:#}");
    assert_eq!(eve.get("/messages/before").await.refused(), (404, 16));
    let still = json!({"message": {"text": "still here"}});
    assert_eq!(eve.post(&format!("{room}/message"), still.clone()).await.refused(), (403, 17));
    // Others show it the history by saying so; the ban stays.
    server.post(&room, json!({"remove_members": ["eve"]})).await.ok();
    server.post(&room, json!({"add_members": ["eve"], "hide_history": false})).await.ok();
    eve.get("/messages/before").await.ok();
    assert_eq!(eve.post(&format!("{room}/message"), still).await.refused(), (403, 17));
}

/// Hidden is the history from whoever comes with the call, as what and how often it may be.
async fn history_is_hidden_from_moderators_and_from_those_who_come_back(app: &App) {
    let [ada, grace, linus] = app.people(["ada", "grace", "linus"]).await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let at = "/channels/messaging/lobby";
    app.server().post(at, json!({"invites": ["linus"]})).await.ok();
    linus.post(at, json!({"reject_invite": true})).await.ok();
    ada.say("messaging:lobby", "before").await;
    app.server().post(at, json!({"add_moderators": ["grace"], "hide_history": true})).await.ok();
    app.server().post(at, json!({"invites": ["linus"], "hide_history": true})).await.ok();
    linus.post(at, json!({"accept_invite": true})).await.ok();
    ada.say("messaging:lobby", "after").await;
    for (person, texts) in [(&grace, json!(["after"])), (&linus, json!(["after"])), (&ada, json!(["before", "after"]))]
    {
        let state = state_for(person).await;
        let seen: Vec<&Value> = state["messages"].as_array().unwrap().iter().map(|message| &message["text"]).collect();
        assert_eq!(json!(seen), texts, "{}", person.id);
    }
}

async fn state_for(person: &Person) -> Value {
    person.post("/channels/messaging/lobby/query", json!({"state": true})).await.ok()
}

/// Postgres's clock was ahead once: nobody waits until it is that late.
async fn slow_mode_does_not_wait_for_the_future(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:lobby", &["ada"]).await;
    app.server().post("/channels/messaging/lobby", json!({"cooldown": 30})).await.ok();
    ada.say("messaging:lobby", "early").await;
    let again = json!({"message": {"text": "again"}});
    assert_eq!(ada.post("/channels/messaging/lobby/message", again.clone()).await.refused(), (403, 60));
    app.sql("UPDATE messages SET created_at = created_at + interval '1 hour'").await;
    app.sql("UPDATE channel_heads SET event_at = event_at + interval '1 hour'").await;
    ada.post("/channels/messaging/lobby/message", again).await.ok();
}

/// What is for some is told to them, also where it goes along with a change.
async fn a_restricted_message_along_is_restricted(app: &App) {
    let [_ada, grace, _linus] = app.people(["ada", "grace", "linus"]).await;
    channel(app, "messaging:lobby", &["ada", "grace", "linus"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let message = json!({"text": "the secret text", "user_id": "ada", "restricted_visibility": ["linus"]});
    let change = json!({"data": {"name": "Lobby"}, "message": message});
    app.server().post("/channels/messaging/lobby", change).await.ok();
    let updated = ear.hear("channel.updated").await;
    assert!(!updated.to_string().contains("the secret text"), "{updated:#}");
}

/// Whom one removes has a name that can be one.
async fn names_of_the_removed_are_names(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:lobby", &["ada"]).await;
    for odd in ["x".repeat(3_000), "a\u{1}".to_owned()] {
        let remove = json!({"remove_members": [odd]});
        assert_eq!(app.server().post("/channels/messaging/lobby", remove).await.refused(), (400, 4));
    }
    app.server().post("/channels/messaging/lobby", json!({"remove_members": ["nobody"]})).await.ok();
    ada.get("/unread").await.ok();
    assert!(app.ask("SELECT user_id FROM shut_out").await.is_empty());
}

/// Who has rejected an invite comes in again as everybody else does: added by others, made a moderator, invited anew.
async fn who_rejects_may_come_in_again(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:room").await;
    let count = channel_count(app).await;
    for again in [
        json!({"add_members": ["grace"]}),
        json!({"add_members": [{"user_id": "grace", "channel_role": "channel_moderator"}]}),
        json!({"add_moderators": ["grace"]}),
        json!({"invites": ["grace"]}),
    ] {
        app.server().post(ROOM, json!({"remove_members": ["grace"]})).await.ok();
        app.server().post(ROOM, json!({"invites": ["grace"]})).await.ok();
        ear.hear("member.added").await;
        grace.post(ROOM, json!({"reject_invite": true})).await.ok();
        assert_eq!(grace.post(&format!("{ROOM}/query"), json!({})).await.refused(), (403, 17));
        app.server().post(ROOM, again.clone()).await.ok();
        let told = ear.hear("member.added").await;
        assert_eq!(told["member"].get("invite_rejected_at"), None, "{told:#}");
        grace.say("messaging:room", &again.to_string()).await;
        assert_eq!(channel_count(app).await, count + 1, "{again}");
    }
}

async fn channel_count(app: &App) -> i64 {
    app.ask("SELECT member_count::text FROM channels WHERE cid = 'messaging:room'").await[0].parse().unwrap()
}

/// A conversation that is named by its members stays open to them.
async fn who_rejects_a_conversation_may_come_back(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let both = json!({"data": {"members": ["ada", "grace"], "invites": ["grace"]}});
    let made = ada.post("/channels/messaging/query", both).await.ok();
    let cid = made["channel"]["cid"].as_str().unwrap().to_owned();
    grace.post(&path(&cid), json!({"reject_invite": true})).await.ok();
    let named = json!({"data": {"members": ["ada", "grace"]}});
    assert_eq!(grace.post("/channels/messaging/query", named).await.ok()["channel"]["cid"], cid.as_str());
    grace.say(&cid, "here I am").await;
}

/// Ways to speak to others without a message, for who owns a channel.
async fn is_silent(eve: &Person, why: &str) {
    let ways = [
        json!({"data": {"name": "look at me"}}),
        json!({"invites": ["linus"]}),
        json!({"add_members": ["linus"]}),
        json!({"remove_members": ["ada"]}),
    ];
    for way in ways {
        assert_eq!(eve.post(ROOM, way.clone()).await.refused(), (403, 17), "{why}: {way}");
    }
    assert_eq!(eve.patch(ROOM, json!({"set": {"name": "look at me"}})).await.refused(), (403, 17), "{why}");
    assert_eq!(eve.post(&format!("{ROOM}/truncate"), json!({})).await.refused(), (403, 17), "{why}");
    assert_eq!(eve.delete(ROOM).await.refused(), (403, 17), "{why}");
}

/// Whoever is banned, or shadow-banned, says nothing by what it owns. It may go.
async fn banned_owners_do_not_speak(app: &App) {
    let [eve, ada, _linus] = app.people(["eve", "ada", "linus"]).await;
    channel(app, "messaging:room", &["eve", "ada"]).await;
    let moderator = json!({"assign_roles": [{"user_id": "eve", "channel_role": "channel_moderator"}]});
    app.server().post(ROOM, moderator).await.ok();
    ada.post(SEND, json!({"message": {"id": "hers", "text": "mine"}})).await.ok();
    for (ban, lift, why) in [
        ("UPDATE members SET banned = true WHERE user_id = 'eve'", "UPDATE members SET banned = false", "banned here"),
        (
            "UPDATE members SET shadow_banned = true WHERE user_id = 'eve'",
            "UPDATE members SET shadow_banned = false",
            "shadow-banned here",
        ),
        ("UPDATE users SET banned = true WHERE id = 'eve'", "UPDATE users SET banned = false", "banned"),
        (
            "UPDATE users SET shadow_banned = true WHERE id = 'eve'",
            "UPDATE users SET shadow_banned = false",
            "shadow-banned",
        ),
    ] {
        app.sql(ban).await;
        forget_eve(app).await;
        is_silent(&eve, why).await;
        // A moderator as well, and what others wrote is theirs.
        for path in ["/messages/hers", "/messages/hers?hard=true"] {
            assert_eq!(eve.delete(path).await.refused(), (403, 17), "{why}: {path}");
        }
        if ban.contains("UPDATE users") {
            let mine = json!({"data": {"name": "look at me", "members": ["eve", "ada", "linus"]}});
            let made = eve.post("/channels/messaging/stage/query", mine).await;
            assert_eq!(made.refused(), (403, 17), "{why}");
            eve.post(ROOM, json!({"remove_members": ["eve"]})).await.ok();
            app.server().post(ROOM, json!({"add_members": ["eve"]})).await.ok();
        }
        app.sql(lift).await;
        forget_eve(app).await;
    }
    eve.patch(ROOM, json!({"set": {"name": "Room"}})).await.ok();
    app.server()
        .post(ROOM, json!({"assign_roles": [{"user_id": "eve", "channel_role": "channel_moderator"}]}))
        .await
        .ok();
    eve.delete("/messages/hers").await.ok();
}

async fn forget_eve(app: &App) {
    let key = app.ask("SELECT id::text FROM channels WHERE cid = 'messaging:room'").await[0].parse().unwrap();
    app.ctx(0).caches.doubt(key, "eve").await;
}

/// What we say of a message is ours to say.
async fn a_message_has_no_channel_of_its_own(app: &App) {
    let [ada] = app.people(["ada"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    let message = json!({"id": "mine", "text": "x", "channel": {"cid": "messaging:elsewhere"}});
    ada.post(SEND, json!({"message": message})).await.ok();
    let shown = ada.get("/messages/mine").await;
    assert_eq!(shown.answer.text.matches("\"channel\":").count(), 1, "{}", shown.answer.text);
    assert_eq!(shown.ok()["message"]["channel"]["cid"], "messaging:room");
}

on_both_engines!(
    a_restricted_message_along_is_restricted,
    names_of_the_removed_are_names,
    leaving_lifts_nothing,
    history_is_hidden_from_moderators_and_from_those_who_come_back,
    slow_mode_does_not_wait_for_the_future,
    events_say_nothing_in_our_name,
    a_message_along_needs_a_change,
    a_channel_is_not_born_with_what_its_maker_may_not_set,
    nobody_is_lost_to_a_channel_of_its_own_name,
    what_a_message_carries_is_asked_for,
    rules_hold_beside_sending,
    mutes_show_what_may_be_read,
    who_rejects_may_come_in_again,
    who_rejects_a_conversation_may_come_back,
    banned_owners_do_not_speak,
    a_message_has_no_channel_of_its_own,
);
