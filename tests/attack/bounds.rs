//! What one request may cost: everything that a client sends has a bound, and so has what it causes.

use millrace::store::rooms::Thing;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::{App, Engine, on_both_engines};
use tokio::task::JoinSet;

use crate::{SEND, channel};

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

/// Whatever filters cost, only filters wait for them, and not for long. Of one asker's, only that asker's.
async fn slow_filters_hold_up_nobody_else(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
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
    // A fifth of ten connections are for filters, and she has one of them.
    assert_eq!(app.ask(stuck).await, ["1"]);
    grace.query("/users", json!({"filter_conditions": {"id": "ada"}})).await.ok();
    let refused = slow.join_all().await;
    assert!(refused.iter().all(|refused| [(408, 23), (429, 9)].contains(refused)), "{refused:?}");
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

/// However many channels there are, and however much the reader says of itself.
async fn everything_is_marked_as_read_in_pieces(app: &App) {
    let ada = app.person("ada").await;
    let about = json!({"users": [{"id": "ada", "set": {"about": "x".repeat(4_000)}}]});
    app.server().patch("/users", about).await.ok();
    channel(app, "messaging:room", &["ada"]).await;
    app.sql(
        "WITH made AS (
             INSERT INTO channels (cid, type) SELECT 'messaging:room-' || n, 'messaging' FROM generate_series(1, 1200) n
             RETURNING id),
         headed AS (INSERT INTO channel_heads (channel_id, message_seq, counted) SELECT id, 1, 1 FROM made)
         INSERT INTO members (channel_id, user_id) SELECT id, 'ada' FROM made",
    )
    .await;
    let mut ear = ada.listen().await;
    assert_eq!(ear.me()["total_unread_count"], 1_200);
    ada.post("/channels/read", json!({})).await.ok();
    assert_eq!(ear.hear("notification.mark_read").await["total_unread_count"], 0);
    let pieces = app.ask("SELECT count(*)::text FROM events WHERE type = 'message.read' GROUP BY tx").await;
    let pieces: Vec<usize> = pieces.iter().map(|count| count.parse().unwrap()).collect();
    assert_eq!(pieces.iter().sum::<usize>(), 1_200);
    assert!(pieces.iter().all(|count| *count <= 500), "in one transaction each: {pieces:?}");
    let largest = app.ask("SELECT max(length(body))::text FROM events WHERE type = 'message.read'").await;
    assert!(largest[0].parse::<usize>().unwrap() < 1_000, "{largest:?}");
    // Few are shown with all that the reader says of itself.
    app.sql("UPDATE channel_heads SET counted = 2 WHERE channel_id = (SELECT min(channel_id) FROM channel_heads WHERE counted = 1)").await;
    ada.post("/channels/read", json!({})).await.ok();
    let last = app.ask("SELECT body FROM events WHERE type = 'message.read' ORDER BY id DESC LIMIT 1").await;
    assert!(last[0].contains("xxxx"));
}

on_both_engines!(
    everything_is_marked_as_read_in_pieces,
    paths_are_measured_before_they_are_walked,
    lists_are_measured_before_they_are_searched,
    filters_are_measured,
    slow_filters_hold_up_nobody_else,
    drafts_are_counted,
    small_things_are_counted,
    a_long_thread_is_deleted_in_pieces,
    names_have_no_control_characters,
    odd_bytes_are_bad_input,
    anonymous_names_cost_nothing,
);
