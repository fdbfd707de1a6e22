//! Who may write no more: once a removal is answered, nothing of the removed one's comes after it, and coming back undoes none of what
//! it was given.

use serde_json::{Value, json};
use sqlx::Connection;
use testkit::{App, Engine, PATIENCE, Person, on_both_engines};
use tokio::task::JoinSet;

use crate::halfway::until_wait_for_a_lock;
use crate::redis_away::behind_a_proxy;
use crate::{SEND, channel};

const ROOM: &str = "/channels/messaging/room";

/// Messages that the log has after the removal of their author.
const AFTER_REMOVAL: &str = "SELECT m.id FROM messages m JOIN events e ON e.channel_id = m.channel_id
    AND e.type = 'member.removed' AND e.subject = m.user_id AND m.created_at > e.created_at";

/// What was imposed on eve by hand, as a ban is.
async fn impose(app: &App, what: &'static str) {
    app.sql(what).await;
    app.sql("UPDATE channels SET rights = rights + 1").await;
    app.sql("UPDATE channel_heads SET rights = rights + 1").await;
}

/// Sends until it is refused; gives back how often it was not.
async fn send_while_allowed(eve: Person) -> usize {
    let mut sent = 0;
    loop {
        let reply = eve.post(SEND, json!({"message": {"text": "still here"}})).await;
        match reply.answer.status {
            201 => sent += 1,
            403 => return sent,
            status => panic!("{status}: {}", reply.message()),
        }
    }
}

/// A sender in a loop at both nodes, which do not hear each other but by the log.
#[tokio::test]
async fn nothing_is_written_after_a_removal() {
    let (app, proxy) = behind_a_proxy(2).await;
    let [_ada, _eve] = app.people(["ada", "eve"]).await;
    channel(&app, "messaging:room", &["ada", "eve"]).await;
    proxy.stall();
    for _ in 0..5 {
        let mut senders = JoinSet::new();
        for node in [0, 1] {
            app.user_at(node, "eve").say("messaging:room", "first").await;
            senders.spawn(send_while_allowed(app.user_at(node, "eve")));
        }
        app.server().post(ROOM, json!({"remove_members": ["eve"]})).await.ok();
        let counted = app.ask("SELECT count(*)::text FROM messages").await;
        tokio::time::timeout(PATIENCE, senders.join_all()).await.expect("both are refused");
        assert_eq!(app.ask("SELECT count(*)::text FROM messages").await, counted, "after the answer");
        assert!(app.ask(AFTER_REMOVAL).await.is_empty());
        app.sql("DELETE FROM messages").await;
        app.server().post(ROOM, json!({"add_members": ["eve"]})).await.ok();
        app.sql("DELETE FROM events WHERE type = 'member.removed'").await;
    }
    app.stop().await;
}

/// A removal that another node commits while writers wait for the channel's lock, and nobody has told this node of.
async fn who_waits_for_the_lock_is_asked_again(app: &App) {
    let [ada, _eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    let said = ada.say("messaging:room", "first").await["id"].clone();
    let message = format!("/messages/{}", said.as_str().unwrap());
    let mut database = app.connect().await;
    let mut removal = database.begin().await.unwrap();
    sqlx::query("UPDATE channel_heads SET rights = rights + 1").execute(&mut *removal).await.unwrap();
    let mut writers = JoinSet::new();
    let mut write = |who: &str, path: &str, body: Value| {
        let (person, path) = (app.user_at(0, who), path.to_owned());
        writers.spawn(async move { (person.id.clone(), person.post(&path, body).await.answer.status) });
    };
    write("eve", SEND, json!({"message": {"text": "plain"}}));
    write("ada", SEND, json!({"message": {"text": "plain"}}));
    write("eve", SEND, json!({"message": {"text": "reply", "parent_id": said}}));
    until_wait_for_a_lock(app, "2").await;
    write("eve", &format!("{message}/reaction"), json!({"reaction": {"type": "like"}}));
    sqlx::query("UPDATE channels SET rights = rights + 1").execute(&mut *removal).await.unwrap();
    sqlx::query("DELETE FROM members WHERE user_id = 'eve'").execute(&mut *removal).await.unwrap();
    removal.commit().await.unwrap();
    while let Some(done) = writers.join_next().await {
        let (who, status) = done.unwrap();
        // Whoever asks only after the removal does not find the message any more.
        assert!(if who == "ada" { status == 201 } else { matches!(status, 403 | 404) }, "{who}: {status}");
    }
    assert_eq!(app.ask("SELECT user_id FROM messages").await, ["ada", "ada"]);
}

/// Each way of taking a right in a channel is noticed by those who have begun to write.
async fn every_way_of_taking_rights_counts(app: &App) {
    let server = app.server();
    let [_ada, _eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:room", &["ada", "eve"]).await;
    let mut before = String::from("0");
    for taken in [
        json!({"demote_moderators": ["eve"], "assign_roles": [{"user_id": "eve", "channel_role": "reader"}]}),
        json!({"data": {"frozen": true}}),
        json!({"remove_members": ["eve"]}),
    ] {
        server.post(ROOM, taken.clone()).await.ok();
        let rights = app.ask("SELECT DISTINCT rights::text FROM (SELECT rights FROM channels UNION ALL SELECT rights FROM channel_heads) r").await;
        assert!(rights.len() == 1 && rights[0] != before, "{taken}: {rights:?} after {before}");
        before.clone_from(&rights[0]);
    }
    for taken in [json!({"disabled": true}), json!({"config_overrides": {"grants": {"user": ["!read-channel"]}}})] {
        server.patch(ROOM, json!({"set": taken})).await.ok();
        let rights = app.ask("SELECT rights::text FROM channels").await;
        assert_ne!(rights[0], before, "{taken}");
        before.clone_from(&rights[0]);
    }
    server.delete(ROOM).await.ok();
    assert_ne!(app.ask("SELECT rights::text FROM channels").await[0], before);
}

/// Whose name a channel has comes and goes as it likes: removed, it is removed all the same, also if it was just outside.
#[tokio::test]
async fn a_revolving_door_keeps_nobody_in() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    let [ada, _eve] = app.people(["ada", "eve"]).await;
    let ours = json!({"data": {"members": ["ada", "eve"]}});
    let made = ada.post("/channels/messaging/query", ours.clone()).await.ok();
    let room = format!("/channels/messaging/{}", made["channel"]["id"].as_str().unwrap());
    for _ in 0..3 {
        let mut doors = JoinSet::new();
        for node in [0, 1] {
            let (eve, room, ours) = (app.user_at(node, "eve"), room.clone(), ours.clone());
            doors.spawn(async move {
                while eve.post("/channels/messaging/query", ours.clone()).await.answer.status == 201 {
                    eve.post(&format!("{room}/message"), json!({"message": {"text": "still here"}})).await;
                    eve.post(&room, json!({"remove_members": ["eve"]})).await;
                }
            });
        }
        while app.ask("SELECT id FROM messages").await.is_empty() {}
        app.server().post(&room, json!({"remove_members": ["eve"]})).await.ok();
        let counted = app.ask("SELECT count(*)::text FROM messages").await;
        tokio::time::timeout(PATIENCE, doors.join_all()).await.expect("both are shut out");
        assert_eq!(app.ask("SELECT count(*)::text FROM messages").await, counted, "after the answer");
        assert!(app.ask("SELECT user_id FROM members WHERE user_id = 'eve'").await.is_empty());
        app.server().post(&room, json!({"add_members": ["eve"]})).await.ok();
    }
    app.stop().await;
}

/// What was imposed on somebody is there again with it, whoever brings it back, until it is lifted.
async fn what_was_imposed_comes_back_too(app: &App) {
    let server = app.server();
    let [ada, eve] = app.people(["ada", "eve"]).await;
    let readers = json!({"grants": {"reader": ["read-channel", "remove-own-channel-membership"]}});
    let ours = json!({"data": {"members": ["ada", "eve"]}});
    let made = ada.post("/channels/messaging/query", ours.clone()).await.ok();
    let room = format!("/channels/messaging/{}", made["channel"]["id"].as_str().unwrap());
    let (send, still) = (format!("{room}/message"), json!({"message": {"text": "still here"}}));
    server.put("/channeltypes/messaging", readers).await.ok();
    server.post(&room, json!({"assign_roles": [{"user_id": "eve", "channel_role": "reader"}]})).await.ok();
    let leave = json!({"remove_members": ["eve"]});
    let role = async || app.ask("SELECT channel_role FROM members WHERE user_id = 'eve'").await;

    eve.post(&room, leave.clone()).await.ok();
    eve.post("/channels/messaging/query", ours).await.ok();
    assert_eq!((role().await, eve.post(&send, still.clone()).await.refused()), (vec!["reader".into()], (403, 17)));
    server.post(&room, leave.clone()).await.ok();
    // What clients say of a role is no choice.
    ada.post(&room, json!({"add_members": [{"user_id": "eve", "channel_role": "channel_member"}]})).await.ok();
    assert_eq!((role().await, eve.post(&send, still.clone()).await.refused()), (vec!["reader".into()], (403, 17)));
    server.post(&room, leave.clone()).await.ok();
    server.post(&room, json!({"add_members": [{"user_id": "eve", "channel_role": "channel_member"}]})).await.ok();
    eve.post(&send, still.clone()).await.ok();
    // A role that may more is given anew.
    server.post(&room, json!({"add_moderators": ["eve"]})).await.ok();
    eve.post(&room, leave).await.ok();
    server.post(&room, json!({"add_members": ["eve"]})).await.ok();
    assert_eq!(role().await, ["channel_member"]);
}

/// Where everybody writes, leaving ends no ban, and coming back by oneself shows nothing.
async fn a_ban_is_no_matter_of_membership(app: &App) {
    let server = app.server();
    let [_ada, eve] = app.people(["ada", "eve"]).await;
    let (stage, leave) = ("/channels/livestream/stage", json!({"remove_members": ["eve"]}));
    let (send, still) = (format!("{stage}/message"), json!({"message": {"text": "still here"}}));
    channel(app, "livestream:stage", &["ada", "eve"]).await;
    server.post(&send, json!({"message": {"id": "before", "text": "the secret text", "user_id": "ada"}})).await.ok();
    server.post(stage, leave.clone()).await.ok();
    eve.post(&send, still.clone()).await.ok();
    server.post(stage, json!({"add_members": ["eve"], "hide_history": true})).await.ok();
    impose(app, "UPDATE members SET banned = true WHERE user_id = 'eve'").await;
    server.post(stage, leave.clone()).await.ok();
    let rain = json!({"event": {"type": "rain"}});
    for (path, body) in [(&send, &still), (&format!("{stage}/event"), &rain)] {
        assert_eq!(eve.post(path, body.clone()).await.refused(), (403, 17), "{path}");
    }
    server.post(stage, json!({"add_members": ["eve"]})).await.ok();
    assert_eq!(eve.post(&send, still).await.refused(), (403, 17));
    assert_eq!(eve.get("/messages/before").await.refused(), (404, 16), "nobody has shown it");
    server.post(stage, leave).await.ok();
    server.post(stage, json!({"add_members": ["eve"], "hide_history": false})).await.ok();
    eve.get("/messages/before").await.ok();
}

on_both_engines!(
    who_waits_for_the_lock_is_asked_again,
    every_way_of_taking_rights_counts,
    what_was_imposed_comes_back_too,
    a_ban_is_no_matter_of_membership,
);
