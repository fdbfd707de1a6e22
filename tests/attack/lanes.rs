//! Who waits for whom: one slow channel, one bad row, one open reader must not hold what others need.

use std::process::Command;

use futures_util::future::join_all;
use millrace::store::StoreError;
use millrace::store::appender::{Append, Outcome};
use millrace::store::messages::{Effects, NewMessage};
use serde_json::json;
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use testkit::{App, Engine, PATIENCE, on_both_engines};
use tokio::time::{Instant, timeout};

use crate::halfway::until_wait_for_a_lock;
use crate::{channel, path, watch};

const SLOW: &str = "messaging:slow";

fn others() -> Vec<String> {
    (0..19).map(|number| format!("messaging:other{number}")).collect()
}

/// Who has waited for its turn and the channel's lock does not wait as long once more for the next lock.
async fn what_a_writer_waits_for_has_one_end(app: &App) {
    app.person("ada").await;
    channel(app, SLOW, &["ada"]).await;
    let store = &app.ctx(0).store;
    let mut elsewhere = app.connect().await;
    let mut lock = elsewhere.begin().await.unwrap();
    sqlx::query("SELECT FROM users FOR UPDATE").execute(&mut *lock).await.unwrap();
    let ada = ["ada".to_owned()];
    let patient = async { store.write().await.unwrap().lock_users(&ada).await };
    let late = async {
        // Another one waits longer, and began sooner.
        until_wait_for_a_lock(app, "1").await;
        let key = app.ask("SELECT id::text FROM channels").await[0].parse().unwrap();
        let mut turn = store.turn_to_write(key).await.unwrap();
        turn.give_up = Instant::now();
        let mut write = store.write_channel(key, turn).await.unwrap().unwrap();
        write.write().lock_users(&ada).await
    };
    tokio::select! {
        biased;
        late = late => assert!(matches!(late, Err(StoreError::Locked)), "{late:?}"),
        patient = patient => panic!("the other one came to its end first: {patient:?}"),
    }
    lock.rollback().await.unwrap();
}

/// Somebody else's transaction that has a channel's lock.
async fn locked<'a>(connection: &'a mut PgConnection, cid: &str) -> Transaction<'a, Postgres> {
    let mut tx = connection.begin().await.unwrap();
    sqlx::query(
        "SELECT FROM channel_heads JOIN channels ON id = channel_id WHERE cid = $1 FOR UPDATE OF channel_heads",
    )
    .bind(cid)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx
}

/// A message as the domain hands it to the writers.
async fn append(app: &App, cid: &str, id: &str, text: &str) -> millrace::store::Result<Outcome> {
    let channel = app.ctx(0).store.channel_by_cid(&cid.parse().unwrap()).await.unwrap().unwrap();
    let message = NewMessage {
        id: id.into(),
        user_id: "ada".into(),
        kind: "regular",
        text: text.into(),
        parent_id: None,
        show_in_channel: false,
        quoted_id: None,
        silent: false,
        shadowed: false,
        counts: true,
        data: None,
        pinned_by: None,
        pin_expires: None,
    };
    let effects = Effects { shows_channel: true, moves_last_message: true };
    let append =
        Append { channel_id: channel.id, rights: 0, message, effects, body: "{}".into(), only_for: Vec::new() };
    app.ctx(0).appender.append(append).await
}

async fn one_locked_channel_stops_no_other(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, SLOW, &["ada", "grace"]).await;
    let mut said = Vec::new();
    for cid in others() {
        channel(app, &cid, &["ada", "grace"]).await;
        said.push(ada.say(&cid, "a message to react to").await);
    }
    let message = ada.say(SLOW, "hello").await;
    let reaction = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    let update = format!("/messages/{}", message["id"].as_str().unwrap());
    let send = format!("{}/message", path(SLOW));
    let mut elsewhere = app.connect().await;
    let lock = locked(&mut elsewhere, SLOW).await;
    let waiting = async {
        let reactions = (0..19).map(|number| ada.post(&reaction, json!({"reaction": {"type": number.to_string()}})));
        let updates = (0..5).map(|_| ada.post(&update, json!({"message": {"text": "changed"}})));
        let later = json!({"message": {"text": "later"}});
        let sends = (0..5).map(|_| ada.post(&send, later.clone()));
        tokio::join!(join_all(reactions), join_all(updates), join_all(sends))
    };
    let going_on = async {
        for (cid, message) in others().iter().zip(&said) {
            ada.say(cid, "hello").await;
            let reaction = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
            grace.post(&reaction, json!({"reaction": {"type": "like"}})).await.ok();
        }
        channel(app, "messaging:new", &["ada"]).await;
        let _ear = grace.listen().await;
        watch(&grace, SLOW).await;
        lock.rollback().await.unwrap();
    };
    let ((reactions, updates, sends), ()) = tokio::join!(waiting, going_on);
    // They have waited for their own channel: until it was free, or until they were told that it is not.
    for reply in reactions.into_iter().chain(updates).chain(sends) {
        assert!(reply.answer.is_success() || reply.answer.status == 503, "{}", reply.answer.text);
    }
    ada.post(&reaction, json!({"reaction": {"type": "like"}})).await.ok();
    ada.say(SLOW, "and now this one").await;
}

async fn a_channel_that_stays_locked_says_so(app: &App) {
    let ada = app.person("ada").await;
    channel(app, SLOW, &["ada"]).await;
    let message = ada.say(SLOW, "hello").await;
    let mut elsewhere = app.connect().await;
    let mut lock = locked(&mut elsewhere, SLOW).await;
    sqlx::query("SELECT FROM users FOR UPDATE").execute(&mut *lock).await.unwrap();
    let message_path = format!("{}/message", path(SLOW));
    let send = ada.post(&message_path, json!({"message": {"text": "too late"}}));
    let reaction = format!("/messages/{}/reaction", message["id"].as_str().unwrap());
    let react = ada.post(&reaction, json!({"reaction": {"type": "like"}}));
    let server = app.server();
    let rename = server.post("/users", json!({"users": {"ada": {"id": "ada", "name": "Ada"}}}));
    let (sent, reacted, renamed) = tokio::join!(send, react, rename);
    assert_eq!((sent.refused().0, reacted.refused().0, renamed.refused().0), (503, 503, 503));
    lock.rollback().await.unwrap();
    ada.say(SLOW, "in time").await;
    ada.post(&reaction, json!({"reaction": {"type": "like"}})).await.ok();
    let state = ada.post(&format!("{}/query", path(SLOW)), json!({"state": true})).await.ok();
    assert_eq!(state["messages"].as_array().unwrap().len(), 2, "what was refused is not there");
}

async fn messages_that_wait_keep_their_order(app: &App) {
    app.person("ada").await;
    channel(app, SLOW, &["ada"]).await;
    channel(app, "messaging:other", &["ada"]).await;
    let mut elsewhere = app.connect().await;
    let lock = locked(&mut elsewhere, SLOW).await;
    let ids: Vec<String> = (0..200).map(|number| format!("m{number:03}")).collect();
    // Each one asks for the channel first, so that they come to the writer one after another.
    let waiting = ids.iter().map(|id| append(app, SLOW, id, "wait"));
    let release = async {
        append(app, "messaging:other", "o", "go on").await.unwrap();
        lock.rollback().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(join_all(waiting), release);
    let mut times = Vec::new();
    for outcome in outcomes {
        let Outcome::Stored { at, .. } = outcome.unwrap() else { panic!("stored") };
        times.push(at);
    }
    let order = app.ask("SELECT id FROM messages WHERE text = 'wait' ORDER BY seq").await;
    assert_eq!(order.len(), ids.len());
    let mut told: Vec<_> = times.iter().zip(&ids).collect();
    told.sort_unstable();
    assert!(told.iter().map(|(_, id)| *id).eq(&order), "each sender was told the time of its own message");
    let holes =
        app.ask("SELECT (max(number) - count(*))::text FROM events WHERE number IS NOT NULL GROUP BY channel_id").await;
    assert!(holes.iter().all(|holes| holes == "0"), "{holes:?}");
}

on_both_engines!(one_locked_channel_stops_no_other, a_channel_that_stays_locked_says_so);

#[tokio::test]
async fn a_late_writer_gives_up_soon() {
    testkit::run(Engine::Memory, what_a_writer_waits_for_has_one_end).await;
}

#[tokio::test]
async fn who_waits_keeps_its_place() {
    testkit::run(Engine::Memory, messages_that_wait_keep_their_order).await;
}

/// Makes the database do something before a message with this text is stored; `nth` is how often it was asked to.
async fn when_stored(app: &App, text: &str, what: &str) {
    let mut connection = app.connect().await;
    let function = format!(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE nth bigint;
         BEGIN
             IF NEW.text = '{text}' THEN nth := nextval('tries'); {what} END IF;
             RETURN NEW;
         END; $$;
         CREATE TRIGGER stumble BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION stumble()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(function)).execute(&mut connection).await.unwrap();
}

/// Writes a hundred messages, of which one, `odd`, has trouble. Gives back what became of that one.
async fn a_hundred(app: &App, odd: &str) -> millrace::store::Result<Outcome> {
    let texts: Vec<&str> = (0..100).map(|number| if number == 42 { odd } else { "fine" }).collect();
    let ids: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let cids = ["messaging:one", "messaging:two"];
    let appends = texts.iter().zip(&ids).enumerate().map(|(at, (text, id))| append(app, cids[at % 2], id, text));
    let mut outcomes = join_all(appends).await;
    let odd = outcomes.remove(42);
    for outcome in outcomes {
        assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
    }
    odd
}

async fn two_channels() -> App {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_DATABASE__WRITERS", "1")]).await;
    app.person("ada").await;
    channel(&app, "messaging:one", &["ada"]).await;
    channel(&app, "messaging:two", &["ada"]).await;
    app
}

#[tokio::test]
async fn a_bad_row_fails_alone() {
    let app = two_channels().await;
    assert!(a_hundred(&app, "a \0 in it").await.is_err());
    app.stop().await;
}

#[tokio::test]
async fn a_deadlock_fails_nobody() {
    let app = two_channels().await;
    when_stored(&app, "odd", "IF nth = 1 THEN RAISE EXCEPTION 'once' USING ERRCODE = '40P01'; END IF;").await;
    assert!(matches!(a_hundred(&app, "odd").await, Ok(Outcome::Stored { .. })));
    app.stop().await;
}

#[tokio::test]
async fn a_lost_connection_fails_nobody() {
    let app = two_channels().await;
    when_stored(&app, "odd", "IF nth = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;").await;
    assert!(matches!(a_hundred(&app, "odd").await, Ok(Outcome::Stored { .. })));
    app.stop().await;
}

/// A Postgres that does not even keep its own time limits.
#[tokio::test]
async fn a_postgres_that_stands_still_is_not_waited_for() {
    let app = two_channels().await;
    let still = "BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(1000); END;";
    when_stored(&app, "stand still", still).await;
    let ada = app.user_at(0, "ada");
    let send = "/channels/messaging/one/message";
    assert_eq!(ada.post(send, json!({"message": {"text": "stand still"}})).await.refused().0, 503);
    ada.say("messaging:two", "and on we go").await;
    // Nobody is left who would still write it, or hold the channel.
    ada.say("messaging:one", "here too").await;
    app.stop().await;
}

/// Connections whose other end is gone without a word: what waits for them gives up, and the pools have others soon.
#[tokio::test]
async fn dead_connections_are_let_go() {
    let app = two_channels().await;
    let ada = app.user_at(0, "ada");
    let reaction = format!("/messages/{}/reaction", ada.say("messaging:one", "hello").await["id"].as_str().unwrap());
    let react = async || ada.post(&reaction, json!({"reaction": {"type": "like"}})).await.answer.status;
    let read = async || ada.get("/unread").await.answer.status;
    let twenty = async || {
        let (written, seen) = (join_all((0..10).map(|_| react())), join_all((0..10).map(|_| read())));
        let (written, seen) = tokio::join!(written, seen);
        written.into_iter().chain(seen).collect::<Vec<_>>()
    };
    assert!(twenty().await.iter().all(|status| *status < 300), "the pools are full of connections");
    let backends = app.ask(
        "SELECT pid::text FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'millrace' AND pid <> pg_backend_pid()",
    );
    let signal = |signal: &str, backends: &[String]| {
        assert!(Command::new("kill").arg(signal).args(backends).status().unwrap().success());
    };
    let backends = backends.await;
    signal("-STOP", &backends);
    let answered = twenty().await;
    let after = async {
        // As many as there are connections may still come upon a dead one.
        while twenty().await.iter().any(|status| *status >= 300) {}
    };
    let after = timeout(3 * PATIENCE, after).await;
    signal("-CONT", &backends);
    assert!(answered.iter().all(|status| matches!(status, 200 | 201 | 429 | 503)), "{answered:?}");
    after.expect("the node has connections again");
    app.stop().await;
}

const TODAY: &str = "'events_' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')";

/// What happened on a day that had no partition.
#[tokio::test]
async fn a_day_that_comes_late_gets_its_rows() {
    let mut app = two_channels().await;
    let ada = app.user_at(0, "ada");
    let mut beneath = app.connect().await;
    // With what is in it: the log begins with what comes now.
    let lose_today = format!("DO $$ BEGIN EXECUTE 'DROP TABLE ' || {TODAY}; END; $$");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lose_today)).execute(&mut beneath).await.unwrap();
    for number in 0..50 {
        ada.say("messaging:one", &number.to_string()).await;
    }
    assert_ne!(app.ask("SELECT count(*)::text FROM events_default").await, ["0"]);
    // While others go on.
    let store = app.ctx(0).store.clone();
    let keep = tokio::spawn(async move { store.keep_event_partitions().await });
    while !keep.is_finished() {
        ada.say("messaging:two", "meanwhile").await;
    }
    keep.await.unwrap().unwrap();
    assert_eq!(app.ask("SELECT count(*)::text FROM events_default").await, ["0"]);
    let holes = "SELECT (max(number) - min(number) + 1 - count(DISTINCT number))::text || ' ' || (count(*) - count(DISTINCT number))
                 FROM events WHERE type = 'message.new' GROUP BY channel_id";
    assert!(app.ask(holes).await.iter().all(|holes| holes == "0 0"), "nothing is lost and nothing is there twice");
    app.kill_node(0).await;
    app.add_node().await;
    app.user_at(0, "ada").say("messaging:one", "and a node starts").await;
    app.stop().await;
}

/// A dump reads every table, for hours.
#[tokio::test]
async fn an_open_reader_stops_neither_sends_nor_starts() {
    let mut app = two_channels().await;
    let mut beneath = app.connect().await;
    let lose_days = format!(
        "DO $$ BEGIN
            EXECUTE 'DROP TABLE ' || {TODAY};
            CREATE TABLE events_20200101 PARTITION OF events FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
            CREATE TABLE events_20200102 (LIKE events);
        END; $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(lose_days)).execute(&mut beneath).await.unwrap();
    let mut reader = app.connect().await;
    let mut dump = reader.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS SHARE MODE").execute(&mut *dump).await.unwrap();
    let node = app.add_node().await;
    let store = app.ctx(node).store.clone();
    let keep = tokio::spawn(async move { (store.keep_event_partitions().await, store) });
    while !keep.is_finished() {
        app.user_at(node, "ada").say("messaging:one", "while it reads").await;
    }
    let (kept, store) = keep.await.unwrap();
    assert!(kept.is_err(), "it has to come back");
    dump.rollback().await.unwrap();
    store.keep_event_partitions().await.unwrap();
    let tables =
        format!("SELECT count(*)::text FROM pg_class WHERE relname IN ({TODAY}, 'events_20200101', 'events_20200102')");
    let count: String = sqlx::query_scalar(sqlx::AssertSqlSafe(tables)).fetch_one(&mut beneath).await.unwrap();
    assert_eq!(count, "1", "today is there, and what is old or left over is gone");
    app.stop().await;
}
