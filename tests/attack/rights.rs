//! What may it still: content that is hidden, and rights that are gone, on every path and every node.

use serde_json::{Value, json};
use testkit::{App, Person, on_both_engines};

use crate::{channel, path};

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

/// What somebody may see who quotes it, others may not.
async fn an_event_quotes_only_what_all_may_see(app: &App) {
    let [ada, grace, _linus] = app.people(["ada", "grace", "linus"]).await;
    channel(app, "messaging:lobby", &["ada", "grace", "linus"]).await;
    let mut ear = grace.listen().await;
    crate::watch(&grace, "messaging:lobby").await;
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
    let app = App::start(testkit::Engine::Memory).await;
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
    let numbered = known(NUMBERED_EVENTS).replace("$4", &ago(120)).replace("$5", "1001");
    let unnumbered = known(UNNUMBERED_EVENTS).replace("$3", &ago(60)).replace("$4", &ago(120)).replace("$5", "1001");
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

on_both_engines!(what_a_get_hides_no_other_door_shows, an_event_quotes_only_what_all_may_see, a_late_commit_is_told);
