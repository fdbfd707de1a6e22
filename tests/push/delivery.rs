//! What is sent, and what follows from the answers of a push service.

use millrace::chat::push::subscribe;
use millrace::limits;
use serde_json::json;
use testkit::Engine;

use crate::service::Answer::{RetryAfter, Silence, Status};
use crate::{caller, lobby, say, send, start, subscribed, until};

/// Messages that somebody is pushed whose push service does not answer.
const MANY: usize = 40;

#[tokio::test]
async fn a_push_can_be_read_by_its_browser_and_checked_by_the_service() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    let other = service.browser("other");
    app.server().post("/users", json!({"users": {"ada": {"id": "ada", "name": "Ada"}}})).await.ok();
    lobby(&app, &["ada", "grace"]).await;
    let id = say(&app, "ada", "héllo").await;
    let pushed = service.next_for("grace").await;
    let expected = json!({
        "sender": "stream.chat", "type": "message.new", "version": "v2", "message_id": id, "id": id,
        "channel_type": "messaging", "channel_id": "lobby", "cid": "messaging:lobby", "receiver_id": "grace",
        "title": "Ada · Lobby", "body": "héllo",
    });
    assert_eq!(grace.read(&pushed), expected);
    assert!(other.cannot_read(pushed.body.clone()));
    let mut flipped = pushed.body.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(grace.cannot_read(flipped));
    assert_eq!((pushed.header("ttl"), pushed.header("urgency")), ("86400", "normal"));
    assert_eq!((pushed.header("content-encoding"), pushed.header("topic").len()), ("aes128gcm", 32));
    let (claims, key) = pushed.signed(&service.origin);
    assert_eq!(key, millrace::chat::push::vapid_public_key(app.ctx(0)));
    let life = claims["exp"].as_i64().unwrap() - app.ctx(0).clock.now().seconds();
    assert!((claims["sub"] == "mailto:admin@example.org") && (1..=86_400).contains(&life), "{claims}");
    app.stop().await;
}

#[tokio::test]
async fn a_long_message_is_cut_to_what_a_service_takes() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    subscribed(&app, &service, "ada").await;
    lobby(&app, &["ada", "grace"]).await;
    // The longest id there can be, and letters that take the most room.
    let id = "\u{1f332}".repeat(63);
    send(&app, "ada", json!({"id": id, "text": "\"".repeat(5_000)}), json!({})).await;
    let pushed = service.next_for("grace").await;
    assert!((4_080..=4_096).contains(&pushed.body.len()), "{}", pushed.body.len());
    let said = grace.read(&pushed);
    assert!(said["message_id"] == id.as_str() && said["body"].as_str().unwrap().ends_with("\"…"));
    send(&app, "ada", json!({"text": "", "attachments": [{"type": "image"}]}), json!({})).await;
    assert_eq!(grace.read(&service.next_for("grace").await)["body"], "Attachment");
    app.stop().await;
}

#[tokio::test]
async fn a_subscription_that_has_ended_is_removed() {
    let (app, mut service) = start(Engine::Memory).await;
    for user in ["grace", "alan", "witness"] {
        subscribed(&app, &service, user).await;
    }
    lobby(&app, &["ada", "grace", "alan", "witness"]).await;
    service.will_answer("grace", &[Status(404)]);
    service.will_answer("alan", &[Status(410)]);
    say(&app, "ada", "one").await;
    for _ in 0..3 {
        service.next().await;
    }
    // The answers may still be on their way; what follows is decided when they have come.
    until(async || app.ask("SELECT user_id FROM push_subscriptions").await == ["witness"]).await;
    say(&app, "ada", "two").await;
    assert_eq!(service.next().await.browser, "witness");
    app.stop().await;
}

#[tokio::test]
async fn a_refused_push_is_dropped_and_the_subscription_stays() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    service.will_answer("grace", &[Status(413), Status(403)]);
    for text in ["too large", "forbidden", "fine"] {
        say(&app, "ada", text).await;
        assert_eq!(grace.read(&service.next().await)["body"], text);
    }
    app.clock.advance_seconds(3_600);
    say(&app, "ada", "the last one").await;
    assert_eq!(grace.read(&service.next().await)["body"], "the last one", "nothing is tried again");
    app.stop().await;
}

#[tokio::test]
async fn a_busy_service_is_asked_again_when_it_wants() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    service.will_answer("grace", &[RetryAfter(429, "600"), Status(503)]);
    say(&app, "ada", "one").await;
    let first = service.next_for("grace").await;
    postponed(&app, 1).await;
    // Not before its time, though the usual wait is over; and what is said meanwhile waits as well.
    app.clock.advance_seconds(590);
    say(&app, "ada", "two").await;
    until(async || waiting_for_grace(&app).await == "0 1 until 1").await;
    app.clock.advance_seconds(11);
    let second = service.next_for("grace").await;
    assert_eq!(grace.read(&second), grace.read(&first));
    assert_eq!(second.header("topic"), first.header("topic"));
    assert_ne!(second.body, first.body, "each attempt is encrypted anew");
    postponed(&app, 2).await;
    // The usual wait after a 503 that says nothing.
    app.clock.advance_seconds(41);
    assert_eq!(grace.read(&service.next_for("grace").await)["body"], "one");
    assert_eq!(grace.read(&service.next_for("grace").await)["body"], "two");
    app.stop().await;
}

#[tokio::test]
async fn in_the_end_a_push_is_given_up() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    service.will_answer("grace", &[Status(500); 8]);
    say(&app, "ada", "one").await;
    for attempt in 1..=8 {
        assert_eq!(grace.read(&service.next().await)["body"], "one");
        if attempt < 8 {
            postponed(&app, attempt).await;
            app.clock.advance_seconds(20 << (attempt - 1));
        }
    }
    until(async || app.ask("SELECT message_id FROM push_deliveries").await.is_empty()).await;
    app.clock.advance_seconds(20 << 8);
    say(&app, "ada", "two").await;
    assert_eq!(grace.read(&service.next().await)["body"], "two");
    // Or when it is too old, whoever was to try it.
    service.will_answer("grace", &[Status(503)]);
    say(&app, "ada", "three").await;
    service.next().await;
    postponed(&app, 1).await;
    app.clock.advance_seconds(4 * 60 * 60);
    until(async || app.ask("SELECT message_id FROM push_deliveries").await.is_empty()).await;
    assert!(service.rest().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_to_be_told_is_not() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    subscribed(&app, &service, "alan").await;
    lobby(&app, &["ada", "grace", "alan"]).await;
    service.will_answer("grace", &[Status(500)]);
    service.will_answer("alan", &[Status(500)]);
    let deleted = say(&app, "ada", "oops").await;
    for _ in 0..2 {
        service.next().await;
    }
    postponed(&app, 1).await;
    app.server().delete(&format!("/messages/{deleted}")).await.ok();
    app.clock.advance_seconds(21);
    service.will_answer("alan", &[Status(500)]);
    say(&app, "ada", "a secret").await;
    for _ in 0..2 {
        service.next().await;
    }
    app.server().post("/channels/messaging/lobby", json!({"remove_members": ["alan"]})).await.ok();
    app.clock.advance_seconds(3_600);
    say(&app, "ada", "the last one").await;
    let last = service.next().await;
    assert_eq!((last.browser.as_str(), &grace.read(&last)["body"]), ("grace", &json!("the last one")));
    until(async || app.ask("SELECT message_id FROM push_deliveries").await.is_empty()).await;
    assert!(service.rest().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_stops_nobody_else() {
    let (app, mut service) = start(Engine::Memory).await;
    app.person("ada").await;
    let grace = caller(&app, "grace").await;
    for number in 0..limits::PUSH_SUBSCRIPTIONS_MAX {
        let browser = service.browser(&number.to_string());
        subscribe(app.ctx(0), &grace, browser.registration()).await.unwrap();
        service.will_answer(&number.to_string(), &[Silence; MANY]);
    }
    subscribed(&app, &service, "alan").await;
    lobby(&app, &["ada", "grace"]).await;
    for number in 0..MANY {
        say(&app, "ada", &number.to_string()).await;
    }
    // All of it is there, and some is on its way for as long as a push may take.
    let silent = limits::PUSH_SUBSCRIPTIONS_MAX * MANY as i64;
    until(async || app.ask("SELECT count(*)::text FROM push_deliveries").await == [silent.to_string()]).await;
    service.next().await;
    app.server().post("/channels/messaging/lobby", json!({"add_members": ["alan"]})).await.ok();
    for _ in 0..MANY {
        say(&app, "ada", "to alan").await;
        service.next_for("alan").await;
    }
    // Where nothing was answered all that waits does so until the same time, and has not been tried.
    let rests = "SELECT count(DISTINCT d.due_at) || ' ' || max(d.attempts) || ' ' || sum(d.attempts)
                 FROM push_deliveries d JOIN push_subscriptions s ON s.id = d.subscription_id
                 WHERE s.held_until IS NOT NULL GROUP BY s.id";
    until(async || app.ask(rests).await.iter().any(|row| row == "1 1 1")).await;
    app.stop().await;
}

#[tokio::test]
async fn a_browser_whose_service_fails_rests_with_all_that_waits() {
    let (app, mut service) = start(Engine::Memory).await;
    let grace = subscribed(&app, &service, "grace").await;
    lobby(&app, &["ada", "grace"]).await;
    service.will_answer("grace", &[Status(503), Status(503)]);
    say(&app, "ada", "one").await;
    service.next_for("grace").await;
    postponed(&app, 1).await;
    // What is new is not tried either.
    say(&app, "ada", "two").await;
    until(async || waiting_for_grace(&app).await == "0 1 until 1").await;
    say(&app, "ada", "three").await;
    until(async || waiting_for_grace(&app).await == "0 0 1 until 1").await;
    // Taken together: one is tried, and the others are given back.
    app.clock.advance_seconds(21);
    assert_eq!(grace.read(&service.next().await)["body"], "one");
    until(async || waiting_for_grace(&app).await == "0 0 2 until 1").await;
    app.clock.advance_seconds(41);
    for text in ["one", "two", "three"] {
        assert_eq!(grace.read(&service.next().await)["body"], text);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_browser_is_bounded() {
    let (app, service) = start(Engine::Memory).await;
    subscribed(&app, &service, "grace").await;
    app.sql("UPDATE push_subscriptions SET held_until = now() + interval '1 day'").await;
    let now = app.ctx(0).clock.now();
    for second in 0..4 {
        let wanted: Vec<_> = (0..50).map(|number| (format!("{second}-{number}"), "grace".to_owned())).collect();
        let mut write = app.ctx(0).store.write().await.unwrap();
        let later = now.plus_seconds(second);
        let dropped = write.insert_deliveries(&wanted, later, limits::PUSH_WAITING_MAX).await.unwrap();
        write.commit().await.unwrap();
        assert_eq!(dropped, if second < 2 { 0 } else { 50 });
    }
    let kept =
        "SELECT left(message_id, 1) || ' ' || count(*) FROM push_deliveries GROUP BY left(message_id, 1) ORDER BY 1";
    assert_eq!(app.ask(kept).await, ["2 50", "3 50"], "the newest ones");
    app.stop().await;
}

/// How often what waits for grace has been tried, and until how many different times it waits.
async fn waiting_for_grace(app: &testkit::App) -> String {
    let waiting = "SELECT string_agg(attempts::text, ' ' ORDER BY attempts) || ' until ' || count(DISTINCT due_at)
                   FROM push_deliveries d JOIN push_subscriptions s ON s.id = d.subscription_id WHERE s.user_id = 'grace'";
    app.ask(waiting).await.concat()
}

/// Waits until the answer to an attempt has been noted, and no push is on its way: until then a push is another node's only after
/// the lease.
async fn postponed(app: &testkit::App, attempt: i64) {
    let noted = async || {
        let now = app.clock.now().seconds();
        let rows = app.ask("SELECT attempts || ' ' || extract(epoch FROM due_at)::bigint FROM push_deliveries").await;
        let rows = rows.iter().map(|row| row.split_once(' ').unwrap());
        let rows: Vec<(i64, i64)> =
            rows.map(|(a, due)| (a.parse().unwrap(), due.parse::<i64>().unwrap() - now)).collect();
        let leased = |wait: i64| (50..=61).contains(&wait);
        rows.iter().any(|row| row.0 == attempt) && !rows.iter().any(|row| leased(row.1))
    };
    until(noted).await;
}
