//! What one request may cost: everything that a client sends has a bound, and so has what it causes.

use millrace::store::rooms::Thing;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::{App, Engine, Person, on_both_engines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{channel, watch};

const SEND: &str = "/channels/messaging/room/message";
/// What a socket may be asked to take at once (docs/configuration.md).
const EVENT_BYTES_MAX: usize = 64 * 1024;

async fn paths_are_measured_before_they_are_walked(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let message = ada.say("messaging:room", "hello").await;
    let message = format!("/messages/{}", message["id"].as_str().unwrap());
    let dots = ".".repeat(100_000);
    for (set, unset) in
        [(json!({&dots: 1}), json!([])), (json!({}), json!([dots])), (json!({"a.a.a.a.a.a.a.a.a": 1}), json!([]))]
    {
        let change = json!({"set": set, "unset": unset});
        let user = json!({"users": [{"id": "ada", "set": set, "unset": unset}]});
        assert_eq!(ada.patch("/users", user).await.refused(), (400, 4));
        assert_eq!(ada.patch("/channels/messaging/room", change.clone()).await.refused(), (400, 4));
        assert_eq!(ada.patch("/channels/messaging/room/member/ada", change.clone()).await.refused(), (400, 4));
        assert_eq!(ada.put(&message, change).await.refused(), (400, 4));
    }
    // What can be set can be sent back.
    let deep = (0..22).fold(json!(1), |inner, _| json!({"a": inner}));
    let refused = ada.patch("/users", json!({"users": [{"id": "ada", "set": {"a.b.c.d": deep}}]})).await;
    assert_eq!(refused.refused(), (400, 4));
    let set = json!({"users": [{"id": "ada", "set": {"a.b": deep}}]});
    let ada_now = ada.patch("/users", set).await.ok()["users"]["ada"].clone();
    ada.post("/users", json!({"users": {"ada": {"id": "ada", "a": ada_now["a"]}}})).await.ok();
}

async fn lists_are_measured_before_they_are_searched(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    let many: Vec<String> = (0..60_000).map(|number| format!("user{number}")).collect();
    let long = "x".repeat(10_000);
    for message in [
        json!({"text": "x", "mentioned_users": many}),
        json!({"text": "x", "mentioned_roles": many}),
        json!({"text": "x", "mentioned_roles": [long]}),
        json!({"text": "x", "restricted_visibility": many}),
        json!({"text": "x", "parent_id": long}),
        json!({"text": "x", "quoted_message_id": long}),
        json!({"text": "x", "id": long}),
    ] {
        assert_eq!(ada.post(SEND, json!({"message": message})).await.refused().0, 400);
        assert_eq!(ada.post("/channels/messaging/room/draft", json!({"message": message})).await.refused().0, 400);
    }
    let attachments = vec![json!({"type": "image", "title": "x".repeat(5_000)}); 30];
    assert_eq!(ada.post(SEND, json!({"message": {"attachments": attachments}})).await.refused(), (400, 20));

    let server = app.server();
    let room = "/channels/messaging/room";
    let tags: Vec<String> = (0..101).map(|number| format!("tag{number}")).collect();
    for set in [
        json!({"filter_tags": tags}),
        json!({"filter_tags": [long]}),
        json!({"team": long}),
        json!({"config_overrides": {"blocklist": long}}),
    ] {
        assert_eq!(server.patch(room, json!({"set": set})).await.refused(), (400, 4), "{set}");
    }
    for mut data in [json!({"team": long}), json!({"filter_tags": [long]}), json!({"members": many})] {
        data["created_by_id"] = "ada".into();
        let data = json!({"data": data});
        assert_eq!(server.post("/channels/messaging/other/query", data.clone()).await.refused(), (400, 4));
        assert_eq!(server.post("/channels/messaging/query", data).await.refused().0, 400);
    }
    let message = ada.say("messaging:room", "hello").await;
    let reaction = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    assert_eq!(ada.post(&reaction, json!({"reaction": {"type": long}})).await.refused(), (400, 4));
    for number in 0..20 {
        ada.post(&reaction, json!({"reaction": {"type": format!("type{number}")}})).await.ok();
    }
    assert_eq!(ada.post(&reaction, json!({"reaction": {"type": "one more"}})).await.refused(), (400, 4));
    let event = json!({"event": {"type": "typing.start", "parent_id": long}});
    assert_eq!(ada.post("/channels/messaging/room/event", event).await.refused(), (400, 4));
    let roles: serde_json::Map<_, _> = (0..101).map(|number| (format!("team{number}"), "admin".into())).collect();
    let user = json!({"users": {"eve": {"id": "eve", "teams_role": roles}}});
    assert_eq!(server.post("/users", user).await.refused(), (400, 4));
    let cids: serde_json::Map<_, _> = (0..101).map(|number| (format!("messaging:{number}"), "".into())).collect();
    assert_eq!(ada.post("/channels/read", json!({"read_by_channel": cids})).await.refused(), (400, 4));
    // What is refused does not come back whole.
    let refused = ada.get(&format!("/nowhere/{long}")).await;
    assert!(refused.answer.text.len() < 2_000, "{} bytes", refused.answer.text.len());
}

async fn filters_are_measured(app: &App) {
    let ada = app.person("ada").await;
    let long = "a ".repeat(200_000);
    let word = "a".repeat(300_000);
    for value in [
        json!({"$autocomplete": long}),
        json!({"$autocomplete": word}),
        json!({"$q": long}),
        json!(word),
        json!(vec!["x"; 400]),
    ] {
        let filter = json!({"name": value});
        for refused in [
            app.server().post("/channels", json!({"filter_conditions": filter})).await,
            ada.post("/channels", json!({"filter_conditions": {"$or": vec![json!({}); 10_000]}})).await,
            ada.post("/channels", json!({"filter_conditions": filter, "sort": vec![json!({"a": 1}); 10_000]})).await,
            ada.post("/drafts/query", json!({"filter": {"parent_id": word}})).await,
        ] {
            assert_eq!(refused.refused(), (400, 4));
        }
    }
    let values: Vec<String> = (0..300).map(|number| format!("v{number}")).collect();
    let mut lists: Vec<Value> = (0..16).map(|number| json!({format!("x{number}"): {"$in": values}})).collect();
    assert_eq!(ada.post("/channels", json!({"filter_conditions": {"$or": lists}})).await.refused(), (400, 4));
    ada.post("/channels", json!({"filter_conditions": lists.remove(0), "watch": false})).await.ok();
    ada.query("/users", json!({"filter_conditions": {"name": {"$autocomplete": "ada love (x) .* \\"}}})).await.ok();
}

/// Whatever filters cost, only filters wait for them, and not for long.
async fn slow_filters_hold_up_nobody_else(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let message = format!("/messages/{}", ada.say("messaging:room", "hello").await["id"].as_str().unwrap());
    // What these ask for is locked: they would never come to an end by themselves.
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE channel_mutes IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let mut slow = JoinSet::new();
    for _ in 0..22 {
        let ada = app.user_at(0, "ada");
        slow.spawn(async move {
            ada.post("/channels", json!({"filter_conditions": {"muted": true}, "watch": false})).await.refused()
        });
    }
    let stuck = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'channel_mutes'::regclass \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while app.ask(stuck).await == ["0"] {}
    for _ in 0..20 {
        ada.get(&message).await.ok();
    }
    assert!(app.ask(stuck).await[0].parse::<usize>().unwrap() <= 2, "a fifth of ten connections");
    let refused = slow.join_all().await;
    assert!(refused.iter().all(|refused| [(408, 23), (503, -1)].contains(refused)), "{refused:?}");
    assert!(refused.contains(&(408, 23)), "{refused:?}");
}

async fn drafts_are_counted(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    app.sql(
        "INSERT INTO drafts (user_id, channel_id, parent_id, message, created_at)
         SELECT 'ada', id, 'thread' || n, '{}', now() - n * interval '1 second' FROM channels, generate_series(1, 1000) n",
    )
    .await;
    let kept =
        "SELECT format('%s %s %s', count(*), bool_or(parent_id = ''), bool_or(parent_id = 'thread1000')) FROM drafts";
    for text in ["hel", "hello"] {
        ada.post("/channels/messaging/room/draft", json!({"message": {"text": text}})).await.ok();
        assert_eq!(app.ask(kept).await, ["1000 t f"]);
    }
}

async fn small_things_are_counted(app: &App) {
    let store = &app.ctx(0).store;
    for id in 1..=5 {
        for (kind, most) in [("reminder", 3), ("user_agent", 1)] {
            let (kind, user_id) = (kind.to_owned(), "ada".to_owned());
            let (about, text, created_at) = (String::new(), String::new(), app.clock.now());
            let id = id * 10 + most;
            let thing = Thing { id, kind, user_id, about, text, due_at: None, created_at };
            store.insert_thing(&thing, most).await.unwrap();
        }
    }
    let kept = "SELECT id::text FROM room_things ORDER BY id";
    assert_eq!(app.ask(kept).await, ["33", "43", "51", "53"]);
}

/// However long a thread is, nobody waits for all of it to be deleted.
async fn a_long_thread_is_deleted_in_pieces(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let parent = ada.say("messaging:room", "parent").await["id"].as_str().unwrap().to_owned();
    ada.say("messaging:room", "other").await;
    app.sql(
        "WITH made AS (
             INSERT INTO messages (channel_id, seq, id, user_id, type, text, parent_id, show_in_channel, counts, counted,
                                   created_at, updated_at)
             SELECT m.channel_id, h.message_seq + n, 'reply' || n, 'ada', 'reply', 'x', m.id, n % 2 = 0, false, h.counted,
                    clock_timestamp(), clock_timestamp()
             FROM messages m JOIN channel_heads h ON h.channel_id = m.channel_id, generate_series(1, 2500) n
             WHERE m.text = 'parent'),
         counted AS (UPDATE messages SET reply_count = 2500 WHERE text = 'parent'),
         reacted AS (
             INSERT INTO reactions (message_id, user_id, type, score, created_at, updated_at)
             SELECT id, 'user' || n, 'like', 1, now(), now() FROM messages, generate_series(1, 1500) n WHERE text = 'parent')
         UPDATE channel_heads SET message_seq = message_seq + 2500, message_count = message_count + 2500",
    )
    .await;
    app.server().delete(&format!("/messages/{parent}?hard=true")).await.ok();
    let together = "SELECT count(*)::text FROM messages WHERE id IS NULL GROUP BY xmin::text";
    let together: Vec<usize> = app.ask(together).await.iter().map(|count| count.parse().unwrap()).collect();
    assert_eq!(together.iter().sum::<usize>(), 2_501);
    assert!(together.iter().all(|count| *count <= 1_001), "in one transaction each: {together:?}");
    for (left, count) in [
        ("SELECT count(*)::text FROM messages WHERE id IS NOT NULL", "1"),
        ("SELECT count(*)::text FROM reactions", "0"),
        ("SELECT message_count::text FROM channel_heads", "1"),
    ] {
        assert_eq!(app.ask(left).await, [count], "{left}");
    }
}

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

/// In JSON a control character has six bytes: names in which it means nothing have none.
async fn names_have_no_control_characters(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let server = app.server();
    let odd = "\u{1}";
    for user in [json!({"teams": [odd]}), json!({"teams_role": {odd: "admin"}}), json!({"teams_role": {"red": odd}})] {
        let mut user = user;
        user["id"] = json!("eve");
        assert_eq!(server.post("/users", json!({"users": {"eve": user}})).await.refused(), (400, 4));
    }
    for set in [json!({"team": odd}), json!({"filter_tags": [odd]})] {
        assert_eq!(server.patch("/channels/messaging/room", json!({"set": set})).await.refused(), (400, 4));
    }
    for device in [json!({"id": odd}), json!({"id": "x", "hardware_id": odd})] {
        let mut device = device;
        device["push_provider"] = json!("apn");
        assert_eq!(ada.post("/devices", device).await.refused(), (400, 4));
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
        let answer = ada.post(SEND, json!({"message": message})).await.ok();
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

/// Bytes that no id has, in every place of a path.
async fn odd_bytes_are_bad_input(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let room = app.server();
    for odd in ["%00", "a%00b", "%0a", "a%0d%0ab", "%1b", "%7f"] {
        for (method, path) in [
            ("GET", format!("/messages/{odd}")),
            ("DELETE", format!("/messages/x/reaction/{odd}")),
            ("POST", format!("/channels/messaging/{odd}/query")),
            ("PATCH", format!("/channels/messaging/room/member/{odd}")),
            ("GET", format!("/channeltypes/{odd}")),
            ("POST", format!("/users/{odd}/event")),
            ("GET", format!("/files/{odd}/name")),
            ("GET", format!("/files/key/{odd}")),
            ("GET", format!("/demo/{odd}")),
            ("GET", format!("/{odd}")),
        ] {
            let body = (method != "GET").then(|| json!({"event": {"type": "x"}}));
            let refused = room.call(method, &path, &[], body).await;
            assert_eq!(refused.refused(), (400, 4), "{method} {path}");
        }
        for path in [
            format!("/api/rooms/{odd}/messages/"),
            format!("/api/messages/{odd}/"),
            format!("/api/messages/x/reactions/{odd}/"),
            format!("/ws/{odd}/"),
        ] {
            let answer = ada.client.send(ada.client.request(reqwest::Method::GET, &path)).await.unwrap();
            assert!((400..500).contains(&answer.status), "{path} was answered {}", answer.status);
        }
    }
    for path in [
        "/devices?id=%00",
        "/members?payload=%00",
        "/app?user_id=%00",
        "/channels/messaging/room/draft?parent_id=a%00",
        "/channels/messaging/room/file?url=/files/a%2500/b",
        "/channels/messaging/room/messages?ids=%00",
    ] {
        for method in ["GET", "DELETE"] {
            let answer = ada.call(method, path, &[], None).await.answer;
            assert!((400..500).contains(&answer.status), "{method} {path} was answered {}", answer.status);
        }
    }
}

async fn uploads_are_as_large_as_documented(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let path = "/channels/messaging/room/file";
    let content: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|number| number as u8).collect();
    let url = ada.upload(path, "large.bin", "application/octet-stream", &content).await.ok()["file"].clone();
    let served = reqwest::get(url.as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    assert!(served == content, "it comes back as it was");

    app.server().patch("/app", json!({"file_upload_config": {"size_limit": 3 * 1024 * 1024}})).await.ok();
    assert_eq!(ada.upload(path, "large.bin", "application/octet-stream", &content).await.refused(), (413, 22));
    // What is refused leaves nothing; the first one is there.
    while files(&app.data_dir().join("uploads")) > 1 {
        tokio::task::yield_now().await;
    }
}

/// A client that hangs up in the middle leaves nothing.
async fn an_upload_that_breaks_off_leaves_nothing(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let request = ada.client.request(reqwest::Method::POST, "/channels/messaging/room/file").build().unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let (token, kind) = (header("authorization"), header("stream-auth-type"));
    let path = format!("{}?{}", request.url().path(), request.url().query().unwrap());
    let mut stream = TcpStream::connect(app.base(0).strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\nstream-auth-type: {kind}\r\n\
         content-type: multipart/form-data; boundary=b\r\ncontent-length: 50000000\r\n\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x.bin\"\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let uploads = app.data_dir().join("uploads");
    while files(&uploads) == 0 {
        stream.write_all(&vec![0; 1024 * 1024]).await.unwrap();
    }
    drop(stream);
    while files(&uploads) > 0 {
        tokio::task::yield_now().await;
    }
}

/// Whoever may not upload is told before it sends anything, and what is around the parts of a form has a bound.
async fn an_upload_is_refused_before_it_is_kept(app: &App) {
    let [ada, outsider] = app.people(["ada", "outsider"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    let preamble = "x".repeat(1024 * 1024);
    let header = format!("--b\r\nx-long: {preamble}");
    for (person, body, status) in [(&outsider, "", 403), (&ada, &*preamble, 400), (&ada, &*header, 400)] {
        let request = person.client.request(reqwest::Method::POST, "/channels/messaging/room/file").build().unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let (token, kind) = (header("authorization"), header("stream-auth-type"));
        let path = format!("{}?{}", request.url().path(), request.url().query().unwrap());
        let mut stream = TcpStream::connect(app.base(0).strip_prefix("http://").unwrap()).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\nstream-auth-type: {kind}\r\n\
             content-type: multipart/form-data; boundary=b\r\ncontent-length: 50000000\r\n\r\n"
        );
        let (mut reader, mut writer) = stream.split();
        let mut answer = [0; 12];
        // The answer comes though the form goes on.
        let write = async {
            writer.write_all(head.as_bytes()).await.unwrap();
            let _ = writer.write_all(body.as_bytes()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = reader.read_exact(&mut answer) => drop(read.unwrap()),
            () = write => {}
        }
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
    }
    // An empty part, one that nobody knows, and then a file.
    let form = reqwest::multipart::Form::new()
        .text("empty", "")
        .text("other", "x".repeat(100_000))
        .part("file", reqwest::multipart::Part::bytes(vec![0; 1024 * 1024]).file_name("x.bin"));
    let request = ada.client.request(reqwest::Method::POST, "/channels/messaging/room/file").multipart(form);
    assert_eq!(ada.client.send(request).await.unwrap().status, 201);
}

/// Files in a directory and below.
fn files(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

async fn ranges_at_the_end_are_not_faults(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let answer = ada.upload("/channels/messaging/room/file", "five.txt", "text/plain", b"12345").await.ok();
    let url = answer["file"].as_str().unwrap();
    for (range, status, content_range, text) in [
        ("bytes=4-", 206, Some("bytes 4-4/5"), "5"),
        ("bytes=-2", 206, Some("bytes 3-4/5"), "45"),
        ("bytes=-9", 206, Some("bytes 0-4/5"), "12345"),
        ("bytes=1-99999999999999999999999", 206, Some("bytes 1-4/5"), "2345"),
        ("bytes=0-1,3-4", 200, None, "12345"),
        ("bytes=x", 200, None, "12345"),
    ] {
        let served = ada.client.send(reqwest::Client::new().get(url).header("range", range)).await.unwrap();
        assert_eq!(
            (served.status, served.header("content-range"), served.text.as_str()),
            (status, content_range, text),
            "{range}"
        );
    }
    for range in ["bytes=5-", "bytes=9-10", "bytes=-0", "bytes=99999999999999999999999-"] {
        let served = ada.client.send(reqwest::Client::new().get(url).header("range", range)).await.unwrap();
        assert_eq!((served.status, served.header("content-range")), (416, Some("bytes */5")), "{range}");
        assert_eq!(served.code(), 4);
    }
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

/// More rows than a statement has room for parameters.
#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_read_at_once() {
    let app = App::start(Engine::Memory).await;
    let ada = app.person("ada").await;
    channel(&app, "messaging:room", &["ada"]).await;
    app.sql(
        "WITH made AS (INSERT INTO channels (cid, type, created_by) SELECT 'messaging:c' || n, 'messaging', 'ada'
                       FROM generate_series(1, 8300) n RETURNING id),
              heads AS (INSERT INTO channel_heads (channel_id, message_seq, counted) SELECT id, 1, 1 FROM made)
         INSERT INTO members (channel_id, user_id, channel_role) SELECT id, 'ada', 'channel_member' FROM made",
    )
    .await;
    ada.post("/channels/read", json!({})).await.ok();
    assert_eq!(ada.get("/unread").await.ok()["total_unread_count"], 0);
    app.stop().await;
}

async fn anonymous_names_cost_nothing(app: &App) {
    let stranger = app.stranger();
    for number in 0..50 {
        let name = format!("{number}{}", "x".repeat(5_000));
        let request = stranger.client.request(reqwest::Method::GET, "/app");
        let request = request.query(&[("user_id", &name)]).header("stream-auth-type", "anonymous");
        assert!(stranger.client.send(request).await.unwrap().status < 500);
    }
}

on_both_engines!(
    paths_are_measured_before_they_are_walked,
    lists_are_measured_before_they_are_searched,
    filters_are_measured,
    slow_filters_hold_up_nobody_else,
    drafts_are_counted,
    small_things_are_counted,
    a_long_thread_is_deleted_in_pieces,
    little_text_does_not_become_much_html,
    every_event_fits,
    names_have_no_control_characters,
    a_twin_fits,
    an_answer_has_a_size,
    a_user_who_muted_many_can_connect,
    odd_bytes_are_bad_input,
    uploads_are_as_large_as_documented,
    an_upload_that_breaks_off_leaves_nothing,
    an_upload_is_refused_before_it_is_kept,
    ranges_at_the_end_are_not_faults,
    a_reply_is_told_once,
    anonymous_names_cost_nothing,
);
