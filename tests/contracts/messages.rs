//! Sending, changing and deleting messages.

use serde_json::{Value, json};
use testkit::{App, on_both_engines};

use crate::{channel, lobby, pluck, state_of, watch};

const SEND: &str = "/channels/messaging/lobby/message";

fn path_of(message: &Value) -> String {
    format!("/messages/{}", message["id"].as_str().unwrap())
}

async fn a_message_is_heard_by_watchers_and_members(app: &App) {
    let [ada, grace, alan] = app.people(["ada", "grace", "alan"]).await;
    lobby(app, &["ada", "grace", "alan"]).await;
    let (mut own, mut hers, mut absent) = (ada.listen().await, grace.listen().await, alan.listen().await);
    watch(&ada, "messaging:lobby").await;
    watch(&grace, "messaging:lobby").await;
    let message = ada.say("messaging:lobby", "hello").await;
    for ear in [&mut own, &mut hers] {
        let event = ear.hear("message.new").await;
        assert_eq!((&event["message"]["id"], &event["cid"]), (&message["id"], &json!("messaging:lobby")));
        assert_eq!((&event["channel_type"], &event["channel_id"]), (&json!("messaging"), &json!("lobby")));
        assert_eq!((&event["user"]["id"], &event["watcher_count"]), (&json!("ada"), &json!(2)));
        assert_eq!(event["message"]["created_at"], message["created_at"]);
    }
    let event = absent.hear("notification.message_new").await;
    assert_eq!((&event["message"]["text"], &event["channel"]["cid"]), (&json!("hello"), &json!("messaging:lobby")));
    assert_eq!((&event["total_unread_count"], &event["unread_channels"]), (&json!(1), &json!(1)));
    assert!(!absent.heard_kinds(&app.server()).await.contains(&"message.new".to_owned()));
}

async fn text_becomes_safe_html(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    for (text, html) in [
        ("hello", "<p>hello</p>\n"),
        ("**bold** _it_", "<p><strong>bold</strong> <em>it</em></p>\n"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"),
        ("[x](javascript:alert(1))", "<p><a href=\"#\">x</a></p>\n"),
        ("1 < 2 & 3", "<p>1 &lt; 2 &amp; 3</p>\n"),
    ] {
        assert_eq!(ada.say("messaging:lobby", text).await["html"], html);
    }
    // A server may bring its own.
    let given = json!({"message": {"text": "hi", "html": "<b>hi</b>", "user_id": "ada"}});
    assert_eq!(app.server().post(SEND, given).await.ok()["message"]["html"], "<b>hi</b>");
}

async fn the_same_id_is_stored_once(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let send = json!({"message": {"id": "client-made-1", "text": "once"}});
    let first = ada.post(SEND, send.clone()).await.ok();
    let (second, third) = tokio::join!(ada.post(SEND, send.clone()), ada.post(SEND, send.clone()));
    assert_eq!(second.ok()["message"]["created_at"], first["message"]["created_at"]);
    assert_eq!(third.ok()["message"]["id"], "client-made-1");
    let heard = ear.heard_kinds(&app.server()).await;
    assert_eq!(heard.iter().filter(|kind| *kind == "message.new").count(), 1);
    // Somebody else cannot take it.
    assert_eq!(grace.post(SEND, send).await.refused(), (400, 4));
    for id in ["with,comma", "with%percent", &"x".repeat(256)] {
        let wrong = json!({"message": {"id": id, "text": "x"}});
        assert_eq!(ada.post(SEND, wrong).await.refused(), (400, 4), "{id}");
    }
}

async fn many_at_once_are_all_kept_in_one_order(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:lobby").await;
    let sends = (0..60).map(|number| ada.say("messaging:lobby", ["a", "b", "c"][number % 3]));
    let sent = futures_util::future::join_all(sends).await;
    let mut heard = Vec::new();
    for _ in 0..60 {
        heard.push(ear.hear("message.new").await["message"].clone());
    }
    let state =
        ada.post("/channels/messaging/lobby/query", json!({"state": true, "messages": {"limit": 100}})).await.ok();
    assert_eq!(pluck(&state["messages"], "id"), pluck(&json!(heard), "id"));
    let times = pluck(&state["messages"], "created_at");
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "times are not in order");
    assert_eq!(sent.len(), 60);
}

async fn what_cannot_be_sent_is_refused(app: &App) {
    let [ada, outsider] = app.people(["ada", "outsider"]).await;
    lobby(app, &["ada"]).await;
    let attachments = vec![json!({"type": "image", "image_url": "http://a/b"}); 31];
    let mentions: Vec<String> = (0..26).map(|number| format!("u{number}")).collect();
    for (message, refused) in [
        (json!({}), (400, 4)),
        (json!({"text": ""}), (400, 4)),
        (json!({"text": "x".repeat(5_001)}), (400, 20)),
        (json!({"text": "x", "attachments": attachments}), (400, 4)),
        (json!({"text": "x", "mentioned_users": mentions}), (400, 4)),
        (json!({"text": "x", "type": "nonsense"}), (400, 4)),
        (json!({"text": "x", "parent_id": "nobody"}), (400, 4)),
        (json!({"text": "x", "quoted_message_id": "nobody"}), (400, 4)),
        (json!({"text": "x", "note": "y".repeat(6_000)}), (400, 4)),
        (json!({"text": 5}), (400, 4)),
        (json!("text"), (400, 4)),
        (json!(null), (400, 4)),
    ] {
        let got = ada.post(SEND, json!({"message": message})).await.refused();
        assert_eq!(got.1, refused.1, "{message}");
    }
    assert_eq!(outsider.post(SEND, json!({"message": {"text": "hi"}})).await.refused(), (403, 17));
    let nowhere = ada.post("/channels/messaging/nowhere/message", json!({"message": {"text": "hi"}})).await;
    assert_eq!(nowhere.refused(), (404, 16));
    // The longest that fits, counted in characters.
    ada.post(SEND, json!({"message": {"text": "é".repeat(5_000)}})).await.ok();
}

async fn everything_clients_send_comes_back(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let attachment = json!({"type": "voiceRecording", "asset_url": "http://a/v.mp3", "waveform_data": [0.1, 0.5], "duration": 3.5,
        "title": "memo", "actions": [{"name": "ok", "text": "OK", "type": "button", "value": "1"}]});
    let message = json!({"id": "m1", "text": "see", "attachments": [attachment], "mentioned_users": ["grace", "nobody", "grace"],
        "silent": true, "mood": {"colour": "blue"}, "restricted_visibility": [], "parent_id": null, "quoted_message_id": "",
        "created_at": "2020-01-01T00:00:00Z", "own_reactions": [], "reaction_counts": {}, "user": {"id": "ada"}, "status": "sending"});
    let sent =
        ada.post(SEND, json!({"message": message, "skip_push": true, "skip_enrich_url": true})).await.ok()["message"]
            .clone();
    assert_eq!(sent["attachments"][0]["waveform_data"], json!([0.1, 0.5]));
    assert_eq!(sent["attachments"][0]["actions"][0]["value"], "1");
    assert_eq!((&sent["mood"]["colour"], &sent["silent"]), (&json!("blue"), &json!(true)));
    assert_eq!(pluck(&sent["mentioned_users"], "id"), ["grace"]);
    // What the server says about a message is the server's to say.
    assert_eq!((&sent["user"]["id"], sent["created_at"] == "2020-01-01T00:00:00Z"), (&json!("ada"), false));
    let read = ada.get("/messages/m1").await.ok();
    assert_eq!(read["message"]["attachments"], sent["attachments"]);
    assert_eq!(read["message"]["mood"], sent["mood"]);
}

async fn types_of_messages(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    assert_eq!(ada.say("messaging:lobby", "x").await["type"], "regular");
    let system = json!({"message": {"text": "maintenance", "type": "system", "user_id": "ada"}});
    assert_eq!(app.server().post(SEND, system.clone()).await.ok()["message"]["type"], "system");
    assert_eq!(ada.post(SEND, system).await.refused(), (403, 17));
    // A system message counts for nobody.
    assert_eq!(state_of(&ada, "messaging:lobby").await["read"][0]["unread_messages"], 0);
}

async fn a_quote_shows_what_it_quotes(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let first = ada.say("messaging:lobby", "to be quoted").await;
    let send = json!({"message": {"text": "indeed", "quoted_message_id": first["id"]}});
    let second = grace.post(SEND, send).await.ok()["message"].clone();
    assert_eq!(second["quoted_message"]["text"], "to be quoted");
    ear.hear("message.new").await;
    assert_eq!(ear.hear("message.new").await["message"]["quoted_message"]["id"], first["id"]);
    // One level only.
    let send = json!({"message": {"text": "yes", "quoted_message_id": second["id"]}});
    let third = ada.post(SEND, send).await.ok()["message"].clone();
    assert_eq!(third["quoted_message"].get("quoted_message"), None);
    // What was deleted is not read out again.
    ada.delete(&path_of(&first)).await.ok();
    assert_eq!(ada.get(&path_of(&second)).await.ok()["message"]["quoted_message"]["text"], "");
}

async fn messages_change_whole_or_in_parts(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let first =
        ada.post(SEND, json!({"message": {"text": "tpyo", "mood": "bad", "color": "red"}})).await.ok()["message"]
            .clone();
    let path = path_of(&first);
    let answer = ada.post(&path, json!({"message": {"text": "typo", "mood": "good"}})).await.ok();
    assert_eq!((&answer["message"]["text"], &answer["message"]["color"]), (&json!("typo"), &Value::Null));
    assert!(answer["message"]["message_text_updated_at"].is_string());
    let event = ear.hear("message.updated").await;
    assert_eq!((&event["message"]["mood"], &event["user"]["id"]), (&json!("good"), &json!("ada")));
    let patch = json!({"set": {"text": "fixed", "where.city": "London"}, "unset": ["mood"]});
    let answer = ada.put(&path, patch).await.ok();
    assert_eq!((&answer["message"]["where"]["city"], &answer["message"]["mood"]), (&json!("London"), &Value::Null));
    assert_eq!(ear.hear("message.updated").await["message"]["text"], "fixed");
    // Sent back whole, as the composer does.
    let answer = ada.post(&path, json!({"message": answer["message"]})).await.ok();
    assert_eq!(answer["message"]["where"]["city"], "London");
    assert_eq!(grace.post(&path, json!({"message": {"text": "mine"}})).await.refused(), (403, 17));
    assert_eq!(ada.put("/messages/nothing", json!({"set": {"a": 1}})).await.refused(), (404, 16));
    assert_eq!(ada.put(&path, json!({"set": {"user": {"id": "grace"}}})).await.refused(), (400, 4));
}

async fn deleting_softly_and_for_good(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    let (soft, hard) = (ada.say("messaging:lobby", "soft").await, ada.say("messaging:lobby", "hard").await);
    assert_eq!(grace.delete(&path_of(&soft)).await.refused(), (403, 17));
    let answer = ada.delete(&path_of(&soft)).await.ok();
    assert_eq!((&answer["message"]["type"], &answer["message"]["text"]), (&json!("deleted"), &json!("")));
    assert!(answer["message"]["deleted_at"].is_string());
    let event = ear.hear("message.deleted").await;
    assert_eq!((&event["message"]["id"], event["hard_delete"].as_bool()), (&soft["id"], Some(false)));
    // Twice is once.
    ada.delete(&path_of(&soft)).await.ok();
    assert_eq!(ada.delete(&format!("{}?hard=true", path_of(&hard))).await.refused(), (403, 17));
    app.server().delete(&format!("{}?hard=true", path_of(&hard))).await.ok();
    assert_eq!(
        ear.hear_where("message.deleted", |event| event["hard_delete"] == true).await["message"]["id"],
        hard["id"]
    );
    let state = state_of(&ada, "messaging:lobby").await;
    assert_eq!(pluck(&state["messages"], "type"), ["deleted"]);
    assert_eq!(ada.get(&path_of(&hard)).await.refused(), (404, 16));
    // A server may look.
    let shown = app.server().get(&format!("{}?show_deleted_message=true", path_of(&soft))).await.ok();
    assert_eq!(shown["message"]["text"], "soft");
    assert_eq!(ada.post(&path_of(&soft), json!({"message": {"text": "back"}})).await.refused().0, 400);
}

async fn several_are_read_at_once(app: &App) {
    let [ada, outsider] = app.people(["ada", "outsider"]).await;
    lobby(app, &["ada"]).await;
    channel(app, "messaging:other", &["ada"]).await;
    let (one, two) = (ada.say("messaging:lobby", "1").await, ada.say("messaging:lobby", "2").await);
    let elsewhere = ada.say("messaging:other", "3").await;
    let ids = [&two, &one, &elsewhere].map(|message| message["id"].as_str().unwrap()).join(",");
    let answer = ada.get(&format!("/channels/messaging/lobby/messages?ids={ids},nothing")).await.ok();
    assert_eq!(pluck(&answer["messages"], "text"), ["1", "2"]);
    assert_eq!(outsider.get(&path_of(&one)).await.refused(), (404, 16));
    assert_eq!(outsider.get(&format!("/channels/messaging/lobby/messages?ids={ids}")).await.refused(), (403, 17));
}

async fn history_is_read_in_pages(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let mut sent = Vec::new();
    for number in 0..12 {
        sent.push(ada.say("messaging:lobby", &number.to_string()).await);
    }
    let page = async |page: Value| {
        let body = json!({"state": true, "messages": page});
        let state = ada.post("/channels/messaging/lobby/query", body).await.ok();
        state["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (id, at) = (&sent[6]["id"], &sent[6]["created_at"]);
    for (bounds, texts) in [
        (json!({"limit": 3}), vec!["9", "10", "11"]),
        (json!({"limit": 3, "id_lt": id}), vec!["3", "4", "5"]),
        (json!({"limit": 3, "id_lte": id}), vec!["4", "5", "6"]),
        (json!({"limit": 3, "id_gt": id}), vec!["7", "8", "9"]),
        (json!({"limit": 3, "id_gte": id}), vec!["6", "7", "8"]),
        (json!({"limit": 3, "id_around": id}), vec!["5", "6", "7"]),
        (json!({"limit": 3, "created_at_before": at}), vec!["3", "4", "5"]),
        (json!({"limit": 3, "created_at_before_or_equal": at}), vec!["4", "5", "6"]),
        (json!({"limit": 3, "created_at_after": at}), vec!["7", "8", "9"]),
        (json!({"limit": 3, "created_at_after_or_equal": at}), vec!["6", "7", "8"]),
        (json!({"limit": 3, "created_at_around": at}), vec!["5", "6", "7"]),
        (json!({"limit": 5, "id_lt": sent[2]["id"]}), vec!["0", "1"]),
        (json!({"limit": 0}), vec![]),
    ] {
        assert_eq!(page(bounds.clone()).await, texts, "{bounds}");
    }
    let wrong = json!({"state": true, "messages": {"limit": 301}});
    assert_eq!(ada.post("/channels/messaging/lobby/query", wrong).await.refused(), (400, 4));
    let wrong = json!({"state": true, "messages": {"id_lt": "nothing"}});
    assert_eq!(ada.post("/channels/messaging/lobby/query", wrong).await.refused(), (400, 4));
}

async fn pinned_messages_stand_apart(app: &App) {
    let [ada, _] = app.people(["ada", "grace"]).await;
    lobby(app, &["ada", "grace"]).await;
    let message = ada.say("messaging:lobby", "rules").await;
    ada.say("messaging:lobby", "chatter").await;
    let answer = ada.put(&path_of(&message), json!({"set": {"pinned": true}})).await.ok();
    assert_eq!((&answer["message"]["pinned"], &answer["message"]["pinned_by"]["id"]), (&json!(true), &json!("ada")));
    assert_eq!(pluck(&state_of(&ada, "messaging:lobby").await["pinned_messages"], "text"), ["rules"]);
    ada.put(&path_of(&message), json!({"set": {"pin_expires": app.clock.now().plus_seconds(60).to_string()}}))
        .await
        .ok();
    app.clock.advance_seconds(120);
    assert_eq!(state_of(&ada, "messaging:lobby").await["pinned_messages"], json!([]));
}

async fn some_messages_are_for_some_eyes(app: &App) {
    let [_, grace, alan] = app.people(["ada", "grace", "alan"]).await;
    lobby(app, &["ada", "grace", "alan"]).await;
    let (mut hers, mut his) = (grace.listen().await, alan.listen().await);
    watch(&grace, "messaging:lobby").await;
    watch(&alan, "messaging:lobby").await;
    let send = json!({"message": {"text": "for grace", "user_id": "ada", "restricted_visibility": ["grace"]}});
    let message = app.server().post(SEND, send).await.ok()["message"].clone();
    assert_eq!(hers.hear("message.new").await["message"]["text"], "for grace");
    assert!(!his.heard_kinds(&app.server()).await.contains(&"message.new".to_owned()));
    assert_eq!(pluck(&state_of(&grace, "messaging:lobby").await["messages"], "text"), ["for grace"]);
    assert_eq!(state_of(&alan, "messaging:lobby").await["messages"], json!([]));
    assert_eq!(alan.get(&path_of(&message)).await.refused().1, 16);
}

on_both_engines!(
    a_message_is_heard_by_watchers_and_members,
    text_becomes_safe_html,
    the_same_id_is_stored_once,
    many_at_once_are_all_kept_in_one_order,
    what_cannot_be_sent_is_refused,
    everything_clients_send_comes_back,
    types_of_messages,
    a_quote_shows_what_it_quotes,
    messages_change_whole_or_in_parts,
    deleting_softly_and_for_good,
    several_are_read_at_once,
    history_is_read_in_pages,
    pinned_messages_stand_apart,
    some_messages_are_for_some_eyes,
);
