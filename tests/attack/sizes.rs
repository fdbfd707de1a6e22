//! What one request may cause: the largest event and the largest answer, and how often a thing is told.

use serde_json::{Value, json};
use testkit::{App, Engine, Person, on_both_engines};

use crate::{SEND, channel, watch};

/// What a socket may be asked to take at once (docs/configuration.md).
const EVENT_BYTES_MAX: usize = 64 * 1024;

async fn little_text_does_not_become_much_html(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:room").await;
    let table = format!("|{}\n|{}\n{}", "a|".repeat(900), "-|".repeat(900), "|\n".repeat(690));
    let link = format!("[a]: /{}\n\n{}", "x".repeat(2_000), "[a]".repeat(900));
    for text in [table, link, "* ".repeat(2_500), "\u{1}".repeat(2_000)] {
        ada.say("messaging:room", &text).await;
        let heard = ear.hear("message.new").await;
        assert!(heard.to_string().len() <= EVENT_BYTES_MAX);
        assert!(heard["message"]["html"].as_str().unwrap().len() <= 16 * 1024);
    }
}

/// A user with as much to show as one can have.
async fn fill(app: &App, id: &str) {
    let teams: Vec<String> = (0..250).map(|number| format!("{number:0>100}")).collect();
    let roles: serde_json::Map<_, _> = teams.iter().take(100).map(|team| (team.clone(), "admin".into())).collect();
    let user = json!({"id": id, "name": "n".repeat(1_000), "image": "i".repeat(1_000), "teams": teams, "teams_role": roles,
                      "data": "d".repeat(5_000)});
    app.server().post("/users", json!({"users": {id: user}})).await.ok();
}

/// Whatever is the most that one can do: everybody who watches hears of it, in frames that a socket takes.
async fn every_event_fits(app: &App) {
    let ids: Vec<String> = (0..30).map(|number| format!("{number:0>40}")).collect();
    for id in &ids {
        fill(app, id).await;
    }
    let people: Vec<Person> = ids.iter().map(|id| app.user_at(0, id)).collect();
    let server = app.server();
    let tags: Vec<String> = (0..100).map(|number| format!("{number:0>100}")).collect();
    let data = json!({"created_by_id": ids[0], "members": ids, "data": "d".repeat(5_000), "filter_tags": tags, "team": "t".repeat(100)});
    server.post("/channels/messaging/room/query", json!({"data": data})).await.ok();
    let ada = &people[0];
    let mut ear = people[1].listen().await;
    watch(&people[1], "messaging:room").await;
    let mut absent = people[2].listen().await;

    let attachment = json!({"type": "image", "title": "x".repeat(1_000)});
    let most = json!({"text": "語".repeat(5_000), "attachments": vec![attachment; 10], "mentioned_users": &ids[..25],
                      "data": "d".repeat(5_000)});
    let parent = ada.post(SEND, json!({"message": most})).await.ok()["message"]["id"].clone();
    let with = |key: &str, value: &Value| {
        let mut message = most.clone();
        message[key] = value.clone();
        json!({"message": message})
    };
    let path = format!("/messages/{}", parent.as_str().unwrap());
    for (number, person) in people.iter().enumerate().take(12) {
        let kind = format!("{number:0>255}");
        let reaction = json!({"reaction": {"type": kind, "data": "d".repeat(1_000)}});
        person.post(&format!("{path}/reaction"), reaction).await.ok();
        person.post(SEND, with("parent_id", &parent)).await.ok();
    }
    ada.put(&path, json!({"set": {"pinned": true}})).await.ok();
    ada.post(SEND, with("quoted_message_id", &parent)).await.ok();
    ada.post("/channels/messaging/room/draft", with("quoted_message_id", &parent)).await.ok();
    ada.post("/channels/messaging/room/event", json!({"event": {"type": "wave", "data": "d".repeat(5_000)}}))
        .await
        .ok();
    let member = json!({"set": {"data": "d".repeat(5_000)}});
    server.patch(&format!("/channels/messaging/room/member/{}", ids[3]), member).await.ok();
    let update = json!({"add_moderators": &ids[..25], "message": {"text": "語".repeat(5_000), "user_id": ids[0]}});
    server.post("/channels/messaging/room", update).await.ok();
    ada.delete(&path).await.ok();

    // Nobody was closed, and everything was heard.
    for ear in [&mut ear, &mut absent] {
        for event in ear.heard(&server).await {
            let size = event.to_string().len();
            // Those who do not watch hear of the channel beside the message.
            let most = if event["type"] == "notification.message_new" { 2 * EVENT_BYTES_MAX } else { EVENT_BYTES_MAX };
            assert!(size <= most + 200, "{} has {size} bytes", event["type"]);
        }
    }
}

/// Beside the largest event, the largest channel: also then those who do not watch hear of it.
async fn a_twin_fits(app: &App) {
    for id in ["ada", "grace"] {
        fill(app, id).await;
    }
    let server = app.server();
    // Custom data is counted as it is, and shown as JSON.
    let tags: Vec<String> = (0..100).map(|number| format!("{number}{}", "\"".repeat(90))).collect();
    let teams: Vec<String> = (0..250).map(|number| format!("{number}{}", "\"".repeat(90))).collect();
    server.post("/users", json!({"users": {"ada": {"id": "ada", "teams": teams}}})).await.ok();
    let data =
        json!({"created_by_id": "ada", "members": ["ada", "grace"], "filter_tags": tags, "data": "d".repeat(5_000)});
    server.post("/channels/messaging/room/query", json!({"data": data})).await.ok();
    server.post("/channels/messaging/room/truncate", json!({"user_id": "ada"})).await.ok();
    let [ada, grace] = ["ada", "grace"].map(|id| app.user_at(0, id));
    let mut absent = grace.listen().await;
    let attachment = json!({"type": "image", "title": "x".repeat(1_000)});
    let most = json!({"text": "語".repeat(5_000), "attachments": vec![attachment; 10], "data": "d".repeat(5_000)});
    ada.post(SEND, json!({"message": most})).await.ok();
    let told = absent.hear("notification.message_new").await;
    assert!(told.to_string().len() <= 2 * EVENT_BYTES_MAX, "{} bytes", told.to_string().len());
    assert_eq!((&told["channel"]["cid"], &told["unread_count"]), (&json!("messaging:room"), &json!(1)));
    assert_eq!(told["channel"]["created_by"]["id"], "ada");
}

/// Little is stored, and each message shows much of others: an answer has a size all the same.
async fn an_answer_has_a_size(app: &App) {
    let ids: Vec<String> = (0..26).map(|number| format!("user{number}")).collect();
    for id in &ids {
        fill(app, id).await;
    }
    let members: Vec<&str> = ids.iter().map(String::as_str).collect();
    channel(app, "messaging:room", &members).await;
    let ada = app.user_at(0, &ids[0]);
    let long = json!({"text": "x".repeat(5_000), "data": "d".repeat(5_000), "mentioned_users": &ids[1..],
                      "attachments": vec![json!({"type": "image", "title": "x".repeat(1_000)}); 12]});
    let quoted = ada.post(SEND, json!({"message": long})).await.ok()["message"]["id"].clone();
    let mut sent = Vec::new();
    for number in 0..80 {
        let message = json!({"text": format!("{number}"), "quoted_message_id": quoted, "mentioned_users": &ids[1..]});
        let answer = ada.post(SEND, json!({"message": message})).await;
        assert!(answer.answer.text.len() <= 256 * 1024, "{} bytes", answer.answer.text.len());
        let answer = answer.ok();
        sent.push(answer["message"]["id"].as_str().unwrap().to_owned());
    }
    let page = json!({"state": true, "messages": {"limit": 100}});
    let many = json!({"filter_conditions": {"cid": "messaging:room"}, "message_limit": 100});
    for answer in [
        ada.post("/channels/messaging/room/query", page).await,
        ada.post("/channels", many).await,
        ada.get(&format!("/channels/messaging/room/messages?ids={}", sent.join(","))).await,
    ] {
        assert!(answer.answer.text.len() <= 24 * 1024 * 1024, "{} bytes", answer.answer.text.len());
        let body = answer.ok();
        let messages = body.pointer("/channels/0/messages").unwrap_or(&body["messages"]).as_array().unwrap().clone();
        let last = messages.last().unwrap();
        assert_eq!((messages.len() >= 80, &last["text"]), (true, &json!("79")));
        assert_eq!(last["quoted_message"]["id"], quoted);
        assert_eq!(last["mentioned_users"].as_array().unwrap().len(), 25);
    }
}

async fn a_user_who_muted_many_can_connect(app: &App) {
    let ids: Vec<String> = (0..150).map(|number| format!("{number:0>200}")).collect();
    let server = app.server();
    for some in ids.chunks(50) {
        let users: serde_json::Map<_, _> = some
            .iter()
            .map(|id| (id.clone(), json!({"id": id, "name": "n".repeat(1_000), "data": "d".repeat(5_000)})))
            .collect();
        server.post("/users", json!({"users": users})).await.ok();
    }
    let ada = app.person("ada").await;
    for some in ids.chunks(50) {
        ada.post("/moderation/mute", json!({"target_ids": some})).await.ok();
    }
    let mut ear = ada.listen().await;
    assert!(ear.me()["mutes"].as_array().unwrap().len() > 20);
    assert!(ear.greeting().to_string().len() <= 130 * 1024, "{}", ear.greeting().to_string().len());
    ada.post("/moderation/unmute", json!({"target_id": ids[0]})).await.ok();
    ear.hear("notification.mutes_updated").await;
}

/// A reply is one entry of the log, however many take part, and each of them hears of it with its own numbers.
async fn a_reply_is_told_once(app: &App) {
    let ids: Vec<String> = (0..60).map(|number| format!("user{number}")).collect();
    let server = app.server();
    let users: serde_json::Map<_, _> = ids.iter().map(|id| (id.clone(), json!({"id": id}))).collect();
    server.post("/users", json!({"users": users})).await.ok();
    let members: Vec<&str> = ids.iter().map(String::as_str).collect();
    channel(app, "messaging:room", &members).await;
    let people: Vec<Person> = ids.iter().map(|id| app.user_at(0, id)).collect();
    let mut parents = Vec::new();
    let parent_sent = people[0].say("messaging:room", "first").await["created_at"].clone();
    for text in ["one", "two"] {
        parents.push(people[0].say("messaging:room", text).await["id"].clone());
    }
    let reply = |parent: &Value| json!({"message": {"text": "reply", "parent_id": parent}});
    for person in &people {
        person.post(SEND, reply(&parents[0])).await.ok();
    }
    people[1].post(SEND, reply(&parents[1])).await.ok();
    people[2].post(SEND, reply(&parents[1])).await.ok();
    let mut absent = people[1].listen().await;
    let mut watcher = people[2].listen().await;
    watch(&people[2], "messaging:room").await;
    let before = log_rows(app).await;
    people[59].post(SEND, reply(&parents[0])).await.ok();
    let told = absent.hear("notification.thread_message_new").await;
    assert_eq!((&told["thread_id"], &told["unread_threads"]), (&parents[0], &json!(2)), "{told:#}");
    assert_eq!((&told["message"]["text"], &told["cid"]), (&json!("reply"), &json!("messaging:room")));
    assert_eq!(log_rows(app).await - before, 3, "the message, its parent, and the word to the participants");
    let heard = watcher.heard_kinds(&server).await;
    assert!(
        heard.contains(&"message.new".to_owned()) && !heard.iter().any(|kind| kind.contains("thread")),
        "{heard:?}"
    );
    // It does not change how many watch.
    people[0].say("messaging:room", "more").await;
    assert_eq!(watcher.hear("message.new").await["watcher_count"], 1);
    // Who was away catches up on it.
    let missed = json!({"channel_cids": ["messaging:room"], "last_sync_at": parent_sent});
    let missed = people[1].post("/sync", missed).await.ok();
    let missed = missed["events"].as_array().unwrap();
    assert!(
        missed
            .iter()
            .any(|event| event["type"] == "notification.thread_message_new" && event["thread_id"] == parents[0])
    );
}

async fn log_rows(app: &App) -> i64 {
    app.ask("SELECT count(*)::text FROM events").await[0].parse().unwrap()
}

/// The same over nodes, also for somebody who does not belong to the channel.
#[tokio::test(flavor = "multi_thread")]
async fn participants_hear_of_replies_on_other_nodes() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    let [ada, _, _] = app.people(["ada", "grace", "guest"]).await;
    app.server()
        .put("/channeltypes/messaging", json!({"grants": {"user": ["read-channel", "create-message"]}}))
        .await
        .ok();
    channel(&app, "messaging:room", &["ada", "grace"]).await;
    let parent = ada.say("messaging:room", "parent").await["id"].clone();
    let reply = json!({"message": {"text": "reply", "parent_id": parent}});
    let (grace, guest) = (app.user_at(1, "grace"), app.user_at(1, "guest"));
    grace.post(SEND, reply.clone()).await.ok();
    guest.post(SEND, reply.clone()).await.ok();
    let (mut of_grace, mut of_guest) = (grace.listen().await, guest.listen().await);
    ada.post(SEND, reply).await.ok();
    for ear in [&mut of_grace, &mut of_guest] {
        let told = ear.hear("notification.thread_message_new").await;
        assert_eq!((&told["thread_id"], &told["unread_threads"]), (&parent, &json!(1)));
    }
    app.stop().await;
}

on_both_engines!(
    little_text_does_not_become_much_html,
    every_event_fits,
    a_twin_fits,
    an_answer_has_a_size,
    a_user_who_muted_many_can_connect,
    a_reply_is_told_once,
);
