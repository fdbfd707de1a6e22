//! What may it still: content that is hidden, and rights that are gone, on every path and every node.

use millrace::events::Event;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::app::{API_KEY, API_SECRET};
use testkit::client::{Socket, sign};
use testkit::{App, Engine, PATIENCE, Person, on_both_engines};
use tokio::time::timeout;

use crate::halfway::until_wait_for_a_lock;
use crate::{channel, path, watch};

/// What nobody is to read who may not.
const SECRET: &str = "the secret text";

/// Ways in which a message is hidden from grace.
const HIDDEN: &[&str] = &["cleared", "hidden-history", "truncated", "restricted", "shadowed", "wiped", "deleted"];

/// Hides the message that is named after the way.
async fn hide(app: &App, ada: &Person, grace: &Person, way: &str, cid: &str) {
    let secret = format!("/messages/secret-{way}");
    let server = app.server();
    match way {
        "cleared" => drop(grace.post(&format!("{}/hide", path(cid)), json!({"clear_history": true})).await.ok()),
        "hidden-history" => {
            server.post(&path(cid), json!({"remove_members": ["grace"]})).await.ok();
            server.post(&path(cid), json!({"add_members": ["grace"], "hide_history": true})).await.ok();
        }
        "truncated" => drop(server.post(&format!("{}/truncate", path(cid)), json!({})).await.ok()),
        "restricted" => {
            app.sql(
                r#"UPDATE messages SET data = '{"restricted_visibility": ["linus"]}' WHERE id = 'secret-restricted'"#,
            )
            .await;
        }
        "shadowed" => app.sql("UPDATE messages SET shadowed = true WHERE id = 'secret-shadowed'").await,
        "wiped" => drop(server.delete(&format!("{secret}?hard=true")).await.ok()),
        _ => drop(ada.delete(&secret).await.ok()),
    }
}

/// Every door at which a message can be asked for by its id: what it answers.
async fn doors(grace: &Person, cid: &str, way: &str, own: &str) -> Vec<(String, testkit::Reply)> {
    let id = format!("secret-{way}");
    let (of_channel, of_message) = (path(cid), format!("/messages/{id}"));
    let (say, draft) = (format!("{of_channel}/message"), format!("{of_channel}/draft"));
    let mut answers = Vec::new();
    let mut note = |door: &str, reply| answers.push((format!("{door} of {way}"), reply));
    note("GET", grace.get(&of_message).await);
    note("replies", grace.get(&format!("{of_message}/replies")).await);
    note("reactions", grace.get(&format!("{of_message}/reactions")).await);
    note("reaction", grace.post(&format!("{of_message}/reaction"), json!({"reaction": {"type": "like"}})).await);
    note("quote", grace.post(&say, json!({"message": {"text": "x", "quoted_message_id": id}})).await);
    note("reply", grace.post(&say, json!({"message": {"text": "x", "parent_id": id}})).await);
    note("quote in an update", grace.put(own, json!({"set": {"quoted_message_id": id}})).await);
    let update = json!({"message": {"text": "x", "quoted_message_id": id}});
    note("quote in a whole update", grace.post(own, update).await);
    note("quote in a draft", grace.post(&draft, json!({"message": {"text": "x", "quoted_message_id": id}})).await);
    note("draft of a reply", grace.post(&draft, json!({"message": {"text": "x", "parent_id": id}})).await);
    for (verb, key) in
        [("read", "message_id"), ("read", "thread_id"), ("unread", "message_id"), ("unread", "thread_id")]
    {
        note(&format!("{verb} {key}"), grace.post(&format!("{of_channel}/{verb}"), json!({key: id})).await);
    }
    for bound in ["id_lt", "id_gte", "id_around"] {
        let page = json!({"state": true, "messages": {"limit": 10, bound: id}});
        note(bound, grace.post(&format!("{of_channel}/query"), page).await);
    }
    answers
}

/// Doors at which nobody names the message.
async fn windows(grace: &Person, cid: &str, way: &str, since: &Value) -> Vec<(String, testkit::Reply)> {
    let of_channel = path(cid);
    let mut answers = Vec::new();
    let mut note = |door: &str, reply| answers.push((format!("{door} of {way}"), reply));
    note("ids", grace.get(&format!("{of_channel}/messages?ids=secret-{way},own-{way}")).await);
    note("state", grace.post(&format!("{of_channel}/query"), json!({"state": true})).await);
    note("channels", grace.post("/channels", json!({"filter_conditions": {"cid": cid}, "state": true})).await);
    note("sync", grace.post("/sync", json!({"channel_cids": [cid], "last_sync_at": since})).await);
    note("draft", grace.get(&format!("{of_channel}/draft")).await);
    note("drafts", grace.post("/drafts/query", json!({})).await);
    let delivered = json!({"latest_delivered_messages": [{"cid": cid, "id": format!("secret-{way}")}]});
    note("delivered", grace.post("/channels/delivered", delivered).await);
    note("unread", grace.get("/unread").await);
    answers
}

/// For each kind of hidden content, each door to it.
async fn what_a_get_hides_no_other_door_shows(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    for way in HIDDEN {
        let cid = format!("messaging:{way}");
        let state = channel(app, &cid, &["ada", "grace"]).await;
        let since = state["channel"]["created_at"].clone();
        let say = format!("{}/message", path(&cid));
        let id = format!("secret-{way}");
        ada.post(&say, json!({"message": {"id": id, "text": SECRET, "pinned": false}})).await.ok();
        ada.put(&format!("/messages/{id}"), json!({"set": {"text": format!("{SECRET}, changed")}})).await.ok();
        // Grace took part while she could: a reply, a quote, a draft.
        grace.post(&say, json!({"message": {"text": "re", "parent_id": id}})).await.ok();
        let own = json!({"message": {"id": format!("own-{way}"), "text": "well", "quoted_message_id": id}});
        grace.post(&say, own).await.ok();
        let draft = json!({"message": {"text": "so", "quoted_message_id": id}});
        grace.post(&format!("{}/draft", path(&cid)), draft).await.ok();
        hide(app, &ada, &grace, way, &cid).await;
        let late = json!({"message": {"id": format!("late-{way}"), "text": "later"}});
        grace.post(&say, late).await.ok();

        for (door, reply) in windows(&grace, &cid, way, &since).await {
            assert!(!reply.answer.text.contains(SECRET), "{door}: {}", reply.answer.text);
        }
        for (door, reply) in doors(&grace, &cid, way, &format!("/messages/late-{way}")).await {
            assert!(!reply.answer.text.contains(SECRET), "{door}: {}", reply.answer.text);
            assert!(*way == "deleted" || !reply.answer.is_success(), "{door} answered {}", reply.answer.text);
        }
    }
}

/// A token that means nothing any more changes nothing on its way out.
async fn a_revoked_token_writes_no_details(app: &App) {
    app.person("ada").await;
    let now = app.clock.now().seconds();
    let token = sign(API_SECRET, &json!({"user_id": "ada", "iat": now - 60}));
    let revoked = json!({"revoke_tokens_issued_before": app.clock.now()});
    app.server().patch("/users", json!({"users": [{"id": "ada", "set": revoked}]})).await.ok();
    let connect = json!({"user_id": "ada", "user_details": {"id": "ada", "name": "taken", "motto": "mine"}});
    let url = format!(
        "{}/connect?api_key={API_KEY}&stream-auth-type=jwt&authorization={token}&json={}",
        app.base(0).replacen("http", "ws", 1),
        percent_encoding::utf8_percent_encode(&connect.to_string(), percent_encoding::NON_ALPHANUMERIC)
    );
    let mut socket = Socket::dial(&url, &[]).await.unwrap();
    let first = timeout(PATIENCE, socket.next()).await.unwrap().unwrap();
    assert_eq!(first["error"]["code"], 40, "{first:#}");
    assert_eq!(app.ask("SELECT coalesce(name, '') || custom::text FROM users WHERE id = 'ada'").await, ["{}"]);
}

/// Whoever closes doors looks at those who are in. Who comes in at that moment is looked at too.
async fn a_token_that_is_revoked_meanwhile_opens_nothing(app: &App) {
    app.person("ada").await;
    let token = sign(API_SECRET, &json!({"user_id": "ada", "iat": app.clock.now().seconds() - 60}));
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE members").execute(&mut *holder).await.unwrap();
    let connect = json!({"user_id": "ada"}).to_string();
    let url = format!(
        "{}/connect?api_key={API_KEY}&stream-auth-type=jwt&authorization={token}&json={}",
        app.base(0).replacen("http", "ws", 1),
        percent_encoding::utf8_percent_encode(&connect, percent_encoding::NON_ALPHANUMERIC)
    );
    let mut socket = Socket::dial(&url, &[]).await.unwrap();
    until_wait_for_a_lock(app, "1").await;
    app.server().patch("/app", json!({"revoke_tokens_issued_before": app.clock.now()})).await.ok();
    holder.rollback().await.unwrap();
    let first = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(first.is_none_or(|frame| frame["error"]["code"] == 40));
}

/// What somebody may see who quotes it, others may not.
async fn an_event_quotes_only_what_all_may_see(app: &App) {
    let [ada, grace, _linus] = app.people(["ada", "grace", "linus"]).await;
    channel(app, "messaging:lobby", &["ada", "grace", "linus"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let secret =
        json!({"message": {"id": "secret", "text": SECRET, "restricted_visibility": ["ada"], "user_id": "linus"}});
    app.server().post("/channels/messaging/lobby/message", secret).await.ok();
    // One is written by the appender, the other under the channel's lock.
    for more in [json!({"text": "see"}), json!({"text": "see too", "pinned": true})] {
        let mut message = json!({"quoted_message_id": "secret", "user_id": "ada"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.server().post("/channels/messaging/lobby/message", json!({"message": message})).await.ok();
    }
    let sent = ada.get("/messages/secret").await.ok();
    assert_eq!(sent["message"]["text"], SECRET, "ada may see what she quotes");
    let heard = ear.heard(&app.server()).await;
    assert!(heard.iter().any(|event| event["message"]["text"] == "see too"), "{heard:#?}");
    assert!(!serde_json::to_string(&heard).unwrap().contains(SECRET), "{heard:#?}");
}

/// A transaction that began before what a client saw last, and committed after it.
async fn a_late_commit_is_told(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    for cid in ["messaging:quick", "messaging:slow"] {
        channel(app, cid, &["ada", "grace"]).await;
    }
    ada.say("messaging:slow", "early").await;
    let since = ada.say("messaging:quick", "seen").await["created_at"].clone();
    ada.say("messaging:slow", "late").await;
    app.sql(
        "UPDATE events SET created_at = created_at - interval '5 seconds'
         WHERE type = 'message.new' AND body LIKE '%\"late\"%'",
    )
    .await;
    let sync = json!({"channel_cids": ["messaging:quick", "messaging:slow"], "last_sync_at": since});
    let answer = grace.post("/sync", sync).await.ok();
    let events = answer["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["message"]["text"] == "late"), "{events:#?}");
    assert!(!events.iter().any(|event| event["cid"] == "messaging:quick"), "seen is seen: {events:#?}");
}

/// The statements of `/sync` find their rows, however long the log is.
#[tokio::test]
async fn catching_up_reads_no_more_than_it_tells() {
    use millrace::store::events::{EVENT_SPANS, NUMBERED_EVENTS, UNNUMBERED_EVENTS};
    let app = App::start(Engine::Memory).await;
    app.people(["ada"]).await;
    channel(&app, "messaging:lobby", &["ada"]).await;
    app.sql(
        "INSERT INTO events (channel_id, number, type, audience, body, created_at)
         SELECT n % 100, CASE WHEN n % 3 > 0 THEN n END, 'message.new', 'channel', '{}', now() - (40000 - n) * interval '2 seconds'
         FROM generate_series(1, 40000) AS n",
    )
    .await;
    app.sql("ANALYZE events").await;
    let known = |statement: &str| {
        let mut statement = statement.replace("$1::bigint[]", "ARRAY[1,2]::bigint[]");
        for (name, value) in [("$2::boolean[]", "ARRAY[true,false]"), ("$2::bigint[]", "ARRAY[5,6]::bigint[]")] {
            statement = statement.replace(name, value);
        }
        statement.replace("$3::bigint[]", "ARRAY[50,60]::bigint[]")
    };
    let ago = |seconds: u32| format!("now() - interval '{seconds} seconds'");
    let spans = known(EVENT_SPANS).replace("$2", &ago(60)).replace("$3", &ago(120)).replace("$4", "1001");
    let numbered = known(NUMBERED_EVENTS).replace("$4", &ago(120)).replace("$5", "1001").replace("$6", "1000000");
    let unnumbered = known(UNNUMBERED_EVENTS).replace("$3", &ago(60)).replace("$4", &ago(120)).replace("$5", "1001");
    let unnumbered = unnumbered.replace("$6", "1000000");
    let probe =
        "SELECT EXISTS (SELECT FROM events WHERE channel_id = 1 AND number = 7 AND created_at > now())".to_owned();
    for statement in [spans, numbered, unnumbered, probe] {
        let explain: &'static str = Box::leak(format!("EXPLAIN {statement}").into_boxed_str());
        let plan = app.ask(explain).await.join("\n");
        // An empty partition of a day to come costs nothing.
        let scans =
            plan.lines().filter(|line| line.contains("Seq Scan on events") && !line.contains("cost=0.00..0.00"));
        assert_eq!(scans.count(), 0, "{statement}\n{plan}");
    }
    app.stop().await;
}

/// Ways in which grace loses the right to read a channel, and whether she is a member of it.
const LOST: &[(&str, bool)] = &[
    ("user-role", false),
    ("disabled", true),
    ("own-grants", true),
    ("type-grants", true),
    ("member-role", true),
    ("removal", true),
    ("unchecked", false),
    ("deletion", true),
];

/// Takes the right, at the first node.
async fn take(server: &Person, way: &str, cid: &str) {
    match way {
        "user-role" => {
            server.patch("/users", json!({"users": [{"id": "grace", "set": {"role": "outcast"}}]})).await.ok();
        }
        "disabled" => drop(server.patch(&path(cid), json!({"set": {"disabled": true}})).await.ok()),
        "own-grants" => {
            let grants = json!({"grants": {"channel_member": ["!read-channel"], "user": ["!read-channel-owner"]}});
            server.patch(&path(cid), json!({"set": {"config_overrides": grants}})).await.ok();
        }
        "type-grants" => {
            server.put("/channeltypes/type-grants", json!({"grants": {"channel_member": []}})).await.ok();
        }
        "member-role" => {
            let role = json!({"assign_roles": [{"user_id": "grace", "channel_role": "outcast"}]});
            server.post(&path(cid), role).await.ok();
        }
        "removal" => drop(server.post(&path(cid), json!({"remove_members": ["grace"]})).await.ok()),
        "unchecked" => drop(server.patch("/app", json!({"disable_permissions_checks": false})).await.ok()),
        _ => drop(server.delete(&path(cid)).await.ok()),
    }
}

/// Whatever takes a right ends calls, watches and notifications, on a node that only hears of it.
async fn a_right_that_is_gone_works_nowhere(engine: Engine, nodes: usize) {
    let app = App::start_with(engine, nodes, &[]).await;
    let (server, far) = (app.server(), nodes - 1);
    app.people(["ada", "grace"]).await;
    for (way, member) in LOST {
        let kind = match *way {
            "user-role" => "livestream",
            "type-grants" => "type-grants",
            _ => "messaging",
        };
        if kind == "type-grants" {
            server.post("/channeltypes", json!({"name": kind})).await.ok();
        }
        if *way == "unchecked" {
            server.patch("/app", json!({"disable_permissions_checks": true})).await.ok();
        }
        let cid = format!("{kind}:{way}");
        channel(&app, &cid, if *member { &["ada", "grace"] } else { &["ada"] }).await;
        let grace = app.user_at(far, "grace");
        // Not a query: who queries a channel that was deleted makes it anew.
        let messages = format!("{}/messages?ids=x", path(&cid));
        let get = async || grace.get(&messages).await.answer.is_success();
        let (mut absent, mut watching) = (grace.listen().await, grace.listen().await);
        // The settings may still be on their way.
        let knows = || app.ctx(far).caches.app().types.contains_key(kind);
        timeout(PATIENCE, async { while !(get().await && knows()) {} }).await.expect(way);
        watch(&grace, &cid).await;
        // The second socket was opened last and is the one that calls refer to; the first belongs to a member who does not watch.
        let connection = watching.connection_id().to_owned();

        take(&server, way, &cid).await;
        let watched = async || !app.ctx(far).realtime.watched(&connection).await.is_empty();
        timeout(PATIENCE, async { while get().await || watched().await {} }).await.expect(way);
        let after = json!({"message": {"text": "after all", "user_id": "ada"}});
        let said = server.post(&format!("{}/message", path(&cid)), after).await;
        assert_eq!(said.answer.is_success(), *way != "deletion", "{way}: {}", said.answer.text);
        for ear in [&mut absent, &mut watching] {
            let heard = serde_json::to_string(&ear.heard(&app.server_at(far)).await).unwrap();
            assert!(!heard.contains("after all"), "{way}: {heard}");
        }
        let back = json!({"users": [{"id": "grace", "set": {"role": "user"}}]});
        server.patch("/users", back).await.ok();
    }
    app.stop().await;
}

#[tokio::test]
async fn a_right_that_is_gone_works_nowhere_on_one_node() {
    a_right_that_is_gone_works_nowhere(Engine::Memory, 1).await;
}

#[tokio::test]
async fn a_right_that_is_gone_works_nowhere_on_two_nodes() {
    a_right_that_is_gone_works_nowhere(Engine::Redis, 2).await;
}

/// Nodes with engines of their own hear of each other by the log alone.
#[tokio::test]
async fn a_right_that_is_gone_works_nowhere_without_a_bus() {
    a_right_that_is_gone_works_nowhere(Engine::Memory, 2).await;
}

/// What takes a right may come by as an event that was missing between two others, and by no other way.
#[tokio::test]
async fn a_right_ends_though_the_event_was_missing() {
    let app = App::start_with(Engine::Memory, 2, &[]).await;
    app.people(["ada", "grace"]).await;
    for round in ["one", "two", "three"] {
        let cid = format!("messaging:{round}");
        channel(&app, &cid, &["ada", "grace"]).await;
        let grace = app.user_at(1, "grace");
        let ear = grace.listen().await;
        watch(&grace, &cid).await;
        app.server().post(&path(&cid), json!({"remove_members": ["grace"]})).await.ok();
        // The other node sees from this that it has missed something, long before it reads the log of its own accord.
        app.user_at(1, "ada").say(&cid, "what is next").await;
        let watched = async || !app.ctx(1).realtime.watched(ear.connection_id()).await.is_empty();
        timeout(PATIENCE, async { while watched().await {} }).await.expect(round);
    }
    app.stop().await;
}

/// A new colour is no reason to ask after everybody.
async fn a_change_that_takes_no_rights_ends_no_watch(app: &App) {
    let [_, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    for colour in ["red", "blue"] {
        app.server().patch(&path("messaging:lobby"), json!({"set": {"color": colour}})).await.ok();
        ear.hear_where("channel.updated", |event| event["channel"]["color"] == colour).await;
    }
    app.server().patch("/users", json!({"users": [{"id": "grace", "set": {"name": "Grace"}}]})).await.ok();
    app.server()
        .post(
            &path("messaging:lobby"),
            json!({"assign_roles": [{"user_id": "grace", "channel_role": "channel_moderator"}]}),
        )
        .await
        .ok();
    ear.hear("member.updated").await;
    assert!(!app.ctx(0).realtime.watched(ear.connection_id()).await.is_empty());
}

/// A socket ends with the token that opened it.
async fn a_socket_ends_with_its_token(app: &App) {
    let grace = app.person("grace").await;
    let ends = app.clock.now().seconds() + 600;
    let token = sign(API_SECRET, &json!({"user_id": "grace", "exp": ends}));
    let mut ear = Person::new("grace", grace.client.with_token(&token)).listen().await;
    let mut other = grace.listen().await;
    app.clock.advance_seconds(601);
    let error = async {
        loop {
            let frame = ear.next_within(PATIENCE).await.expect("an error");
            if frame["error"]["code"] == 40 {
                return;
            }
        }
    };
    error.await;
    assert_eq!(ear.closed().await, Some(4401), "which tells clients to come back");
    assert!(other.heard(&app.server()).await.is_empty(), "a token without an end has none");
}

/// Settings that cannot be read are no reason to believe the old ones.
async fn settings_are_read_again_until_they_are_known(app: &App) {
    let [_, eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let query = format!("{}/query", path("messaging:lobby"));
    app.server().patch("/app", json!({"disable_permissions_checks": true})).await.ok();
    let ear = eve.listen().await;
    watch(&eve, "messaging:lobby").await;
    app.sql("UPDATE app SET settings = '{}'").await;
    app.sql("ALTER TABLE channel_types RENAME TO channel_types_away").await;
    app.ctx(0).announcer.tell(vec![Event::internal("app.updated", app.clock.now())]).await;
    assert_eq!(eve.post(&query, json!({})).await.answer.status, 503);
    app.sql("ALTER TABLE channel_types_away RENAME TO channel_types").await;
    assert_eq!(eve.post(&query, json!({})).await.refused(), (403, 17));
    let realtime = &app.ctx(0).realtime;
    let watched = async { while !realtime.watched(ear.connection_id()).await.is_empty() {} };
    timeout(PATIENCE, watched).await.expect("the watch ends");
}

/// Sockets of the rooms surface act as the user as it is now, for as long as the token lasts.
#[tokio::test]
async fn a_room_asks_who_speaks_each_time() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_ROOMS__ENABLED", "true")]).await;
    app.people(["ada", "grace"]).await;
    channel(&app, "messaging:private", &["ada"]).await;
    let role = |role: &str| json!({"users": [{"id": "grace", "set": {"role": role}}]});
    app.server().patch("/users", role("admin")).await.ok();
    let ends = app.clock.now().seconds() + 600;
    let token = sign(API_SECRET, &json!({"sub": "grace", "aud": "authenticated", "exp": ends}));
    let url = format!("{}/ws/?token={token}", app.base(0).replacen("http", "ws", 1));
    let mut socket = Socket::dial(&url, &[]).await.expect("an open socket");
    let mut ask = async |frame: Value| {
        socket.say(&frame.to_string()).await.expect("an open socket");
        timeout(PATIENCE, socket.next()).await.expect("an answer").unwrap_or_default()
    };
    assert_eq!(ask(json!({"type": "ping"})).await["type"], "pong");
    app.server().patch("/users", role("user")).await.ok();
    assert_eq!(ask(json!({"type": "channel.watch", "cid": "messaging:private"})).await["code"], "forbidden");
    app.clock.advance_seconds(700);
    timeout(PATIENCE, async { while socket.next().await.is_some() {} }).await.expect("the end");
    assert_eq!(socket.close_code(), Some(4401));
    app.stop().await;
}

on_both_engines!(
    a_token_that_is_revoked_meanwhile_opens_nothing,
    a_revoked_token_writes_no_details,
    what_a_get_hides_no_other_door_shows,
    an_event_quotes_only_what_all_may_see,
    a_late_commit_is_told,
    a_change_that_takes_no_rights_ends_no_watch,
    a_socket_ends_with_its_token,
    settings_are_read_again_until_they_are_known,
);
