//! The largest answers: whatever lies in the tables, and however much of it is asked for, what is read and answered has a bound.

use millrace::limits;
use millrace::store::members::MemberPage;
use millrace::store::messages::{Bound, HistoryPage, LatestOf, Reader};
use serde_json::{Value, json};
use testkit::{App, Engine, Reply, on_both_engines};

use crate::{SEND, channel};

/// What one answer may have at most.
const ANSWER_BYTES_MAX: usize = 24 * 1024 * 1024;

async fn what_is_made_of_many_values_is_refused(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let room = "/channels/messaging/room";
    let many = json!(vec![0; 600]);
    let attachments = vec![json!({"type": "x", "a": vec![0; 490]}); 30];
    let message = ada.say("messaging:room", "hello").await["id"].as_str().unwrap().to_owned();
    for refused in [
        ada.post(SEND, json!({"message": {"text": "x", "attachments": attachments}})).await,
        ada.put(&format!("/messages/{message}"), json!({"set": {"attachments": attachments}})).await,
        ada.post(&format!("{room}/draft"), json!({"message": {"text": "x", "attachments": attachments}})).await,
        ada.post(SEND, json!({"message": {"text": "x", "a": many}})).await,
        ada.post(&format!("/messages/{message}/reaction"), json!({"reaction": {"type": "x", "a": vec![0; 200]}})).await,
        ada.post(&format!("{room}/event"), json!({"event": {"type": "wave", "a": many}})).await,
        ada.patch("/users", json!({"users": [{"id": "ada", "set": {"a": many}}]})).await,
        ada.patch(room, json!({"set": {"a": many}})).await,
        ada.patch(&format!("{room}/member/ada"), json!({"set": {"a": many}})).await,
        // Postgres writes each with three hundred digits.
        ada.post(SEND, json!({"message": {"text": "x", "a": vec![1e300; 100]}})).await,
    ] {
        assert_eq!(refused.refused(), (400, 4));
    }
    let fields: serde_json::Map<_, _> = (0..48).map(|number| (format!("f{number}"), number.into())).collect();
    ada.post(SEND, json!({"message": {"text": "x", "attachments": vec![fields; 30]}})).await.ok();
}

async fn nobody_fills_the_memberships_of_others(app: &App) {
    let [ada, grace, _, _] = app.people(["ada", "grace", "alan", "edsger"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    let fat = "x".repeat(300);
    let room = "/channels/messaging/room";
    for refused in [
        ada.post(room, json!({"add_members": [{"user_id": "alan", "note": fat}]})).await,
        ada.post(room, json!({"invites": [{"user_id": "alan", "note": fat}]})).await,
        ada.post(
            "/channels/messaging/new/query",
            json!({"data": {"members": ["ada", {"user_id": "alan", "note": fat}]}}),
        )
        .await,
        ada.patch(&format!("{room}/member/grace"), json!({"set": {"note": fat}})).await,
    ] {
        assert_eq!(refused.refused(), (400, 4));
    }
    ada.post(room, json!({"add_members": [{"user_id": "alan", "nick": "al"}]})).await.ok();
    app.server().post(room, json!({"add_members": [{"user_id": "edsger", "note": fat}]})).await.ok();
    // What its owner has put there others may still change, as long as it does not grow.
    grace.patch(&format!("{room}/member/grace"), json!({"set": {"note": "x".repeat(4_000)}})).await.ok();
    ada.patch(&format!("{room}/member/grace"), json!({"set": {"note": fat}})).await.ok();
}

/// Thirty channels with all that can be in them: messages that quote the fattest, pins, reactions, members, people.
async fn fill(app: &App) {
    for statement in [
        "INSERT INTO users (id, name, image, custom)
         SELECT 'user' || n, repeat('x', 1000), repeat('x', 1000), jsonb_build_object('a', repeat('x', 5000)) FROM generate_series(1, 300) n",
        "INSERT INTO channels (cid, type, created_by, custom, member_count)
         SELECT 'messaging:room' || n, 'messaging', 'user1', jsonb_build_object('a', repeat('x', 5000)), 300 FROM generate_series(1, 30) n",
        "INSERT INTO channel_heads (channel_id, message_seq) SELECT id, 300 FROM channels",
        "INSERT INTO members (channel_id, user_id, custom)
         SELECT c.id, 'user' || n, f.custom FROM channels c, generate_series(1, 300) n,
             (SELECT jsonb_build_object('a', repeat('x', 5000)) AS custom) f",
        "INSERT INTO messages (channel_id, seq, id, user_id, type, text, counts, counted, data, reactions, quoted_id, pinned_at, pinned_by,
             created_at, updated_at)
         SELECT c.id, n, c.id || '-' || n, 'user' || n, 'regular', f.text, true, n, f.data, f.reactions, c.id || '-' || (n % 300 + 1),
             CASE WHEN n % 10 = 0 THEN now() END, 'user1', now(), now()
         FROM channels c, generate_series(1, 300) n, (SELECT repeat('x', 5000) AS text,
             jsonb_build_object('attachments', jsonb_build_array(jsonb_build_object('a', repeat('x', 20000))),
                 'mentioned_users', (SELECT jsonb_agg('user' || m) FROM generate_series(1, 25) m)) AS data,
             jsonb_build_object('groups', (SELECT jsonb_object_agg('like' || k, jsonb_build_object('count', 1, 'sum_scores', 1,
                 'first_at', '2026-01-01T00:00:00Z', 'last_at', '2026-01-01T00:00:00Z')) FROM generate_series(1, 20) k),
                 'latest', '[]'::jsonb) AS reactions) f",
        "INSERT INTO reactions (message_id, user_id, type, score, custom, created_at, updated_at)
         SELECT m.id, 'user1', 'like' || k, 1, f.custom, now(), now() FROM messages m, generate_series(1, 20) k,
             (SELECT jsonb_build_object('a', repeat('x', 1000)) AS custom) f WHERE m.channel_id = (SELECT min(id) FROM channels)",
    ] {
        app.sql(statement).await;
    }
}

fn is_bounded(answer: Reply) -> Value {
    assert!(answer.answer.text.len() <= ANSWER_BYTES_MAX, "{} bytes", answer.answer.text.len());
    answer.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fattest_rows_make_no_fatter_answers() {
    let app = App::start(Engine::Memory).await;
    fill(&app).await;
    let ada = app.user_at(0, "user1");
    let all =
        json!({"filter_conditions": {"type": "messaging"}, "limit": 30, "message_limit": 300, "member_limit": 300});
    let body = is_bounded(ada.post("/channels", all).await);
    let channels = body["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 30);
    for state in channels {
        assert_eq!(state["members"].as_array().unwrap().len(), 300);
        assert_eq!(state["messages"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap().len(), 5_000);
        assert!(!state["pinned_messages"].as_array().unwrap().is_empty());
    }
    // The page that clients begin with is whole, but for what is around the messages.
    let few = json!({"filter_conditions": {"type": "messaging"}, "limit": 10, "message_limit": 25});
    for state in is_bounded(ada.post("/channels", few).await)["channels"].as_array().unwrap() {
        assert!(state["messages"].as_array().unwrap().len() > 10);
    }
    let path = "/channels/messaging/room1";
    let page =
        |bound: Value| json!({"state": true, "messages": bound, "members": {"limit": 300}, "watchers": {"limit": 300}});
    let key = app.ask("SELECT min(id)::text FROM channels").await.remove(0);
    for bound in [
        json!({"limit": 300}),
        json!({"limit": 300, "id_around": format!("{key}-150")}),
        json!({"limit": 300, "id_gt": format!("{key}-1")}),
    ] {
        is_bounded(ada.post("/channels/messaging/room1/query", page(bound)).await);
    }
    let around = page(json!({"limit": 300, "id_around": format!("{key}-150")}));
    let around = is_bounded(ada.post("/channels/messaging/room1/query", around).await);
    let ids: Vec<&str> = around["messages"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&format!("{key}-150").as_str()), "{} messages", ids.len());
    let ids: Vec<String> = (1..=100).map(|number| format!("{key}-{number}")).collect();
    let some = is_bounded(ada.get(&format!("/channels/messaging/room1/messages?ids={}", ids.join(","))).await);
    assert_eq!(some["messages"].as_array().unwrap().len(), 100);
    assert_eq!(some["messages"][0]["own_reactions"].as_array().unwrap().len(), 20);
    let payload = json!({"type": "messaging", "id": "room1", "filter_conditions": {}});
    is_bounded(ada.query("/members", payload).await);
    is_bounded(ada.query("/users", json!({"filter_conditions": {}, "limit": 100})).await);
    is_bounded(ada.post(path, json!({"add_members": []})).await);
    app.stop().await;
}

/// What is sent from Postgres, and taken apart here, is as bounded as what is answered.
#[tokio::test]
async fn postgres_sends_no_more_than_is_answered() {
    let app = App::start(Engine::Memory).await;
    fill(&app).await;
    let store = &app.ctx(0).store;
    let keys: Vec<i64> =
        app.ask("SELECT id::text FROM channels ORDER BY id").await.iter().map(|id| id.parse().unwrap()).collect();
    let channels: Vec<LatestOf> = keys.iter().map(|key| LatestOf { channel_id: *key, floor_seq: 0 }).collect();
    let size = |messages: &[millrace::store::messages::Message]| {
        let data = messages.iter().map(|row| row.text.len() + serde_json::to_string(&row.data).unwrap().len());
        data.sum::<usize>()
    };
    let one_more = 30 * 64 * 1024;
    for limit in [25, 300] {
        let messages = store.latest_messages(&channels, None, limit).await.unwrap();
        assert!(size(&messages) <= limits::ANSWER_BYTES_MAX + one_more, "{} bytes", size(&messages));
        let newest = |key: &i64| messages.iter().any(|row| row.channel_id == *key && row.seq == 300);
        assert!(keys.iter().all(newest), "each channel has its newest");
    }
    let pins = store.pinned_messages(&channels, None, 10, app.clock.now()).await.unwrap();
    assert!(size(&pins) <= limits::ANSWER_PINS_BYTES_MAX + one_more, "{} bytes", size(&pins));
    assert_eq!(pins.first().map(|row| row.seq), Some(300));
    let around = HistoryPage { bound: Bound::Around(150), limit: 300, floor_seq: 0, viewer: None };
    assert!(size(&store.history(keys[0], &around).await.unwrap()) <= limits::ANSWER_BYTES_MAX + one_more);
    let ids: Vec<String> = (1..=300).map(|number| format!("{}-{number}", keys[0])).collect();
    let some = store.messages_seen_by(Reader::Server, &ids, limits::ANSWER_QUOTES_BYTES_MAX).await.unwrap();
    assert!(!some.whole && size(&some.messages) <= limits::ANSWER_QUOTES_BYTES_MAX + one_more);
    assert_eq!(some.messages[0].id, ids[0], "the first ones");
    let members = store.members_of(&keys, MemberPage { limit: 300, offset: 0 }, 9_000).await.unwrap();
    let custom = members.iter().map(|row| serde_json::to_string(&row.custom).unwrap().len()).sum::<usize>();
    assert!(members.len() == 9_000 && custom <= limits::ANSWER_MEMBERS_BYTES_MAX, "{custom} bytes");
    app.stop().await;
}

/// Small events about a large message, which has to be shown anew; and events that are large themselves.
#[tokio::test]
async fn catching_up_has_a_size() {
    let app = App::start(Engine::Memory).await;
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(&app, "messaging:room", &["ada", "grace"]).await;
    channel(&app, "messaging:waves", &["ada", "grace"]).await;
    let quoted = ada.say("messaging:room", "quoted").await;
    let since = quoted["created_at"].clone();
    let attachment = json!({"type": "x", "a": "y".repeat(20_000)});
    let fat = json!({"text": "x".repeat(5_000), "attachments": [attachment], "quoted_message_id": quoted["id"]});
    ada.post(SEND, json!({"message": fat})).await.ok();
    ada.delete(&format!("/messages/{}", quoted["id"].as_str().unwrap())).await.ok();
    let sync = async |name: &str| {
        let missed = json!({"channel_cids": [format!("messaging:{name}")], "last_sync_at": since});
        grace.post("/sync", missed).await
    };
    assert!(!sync("room").await.ok()["events"].as_array().unwrap().is_empty());
    for statement in [
        "INSERT INTO events (channel_id, number, type, audience, body, created_at)
         SELECT h.channel_id, h.event_number + n, 'message.updated', 'channel', json_build_object('type', 'message.updated', 'message',
             json_build_object('id', m.id, 'created_at', m.created_at, 'quoted_message',
                 json_build_object('id', m.quoted_id, 'created_at', m.created_at)))::text, clock_timestamp()
         FROM messages m JOIN channel_heads h USING (channel_id), generate_series(1, 900) n WHERE m.quoted_id IS NOT NULL",
        "INSERT INTO events (channel_id, number, type, audience, body, created_at)
         SELECT h.channel_id, h.event_number + n, 'wave', 'channel', json_build_object('type', 'wave', 'a', repeat('x', 60000))::text,
             clock_timestamp()
         FROM channels c JOIN channel_heads h ON h.channel_id = c.id, generate_series(1, 900) n WHERE c.cid = 'messaging:waves'",
        "UPDATE channel_heads SET event_number = event_number + 900, event_at = clock_timestamp()",
    ] {
        app.sql(statement).await;
    }
    for name in ["room", "waves"] {
        assert_eq!(sync(name).await.refused(), (400, 4), "{name}");
    }
    app.stop().await;
}

on_both_engines!(what_is_made_of_many_values_is_refused, nobody_fills_the_memberships_of_others);
