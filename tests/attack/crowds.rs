//! What if there are very many: connections, sockets, and what waits to be heard.

use std::io::Write as _;

use futures_util::future::join_all;
use millrace::events::{Audience, Event};
use millrace::limits;
use millrace::store::events::{LogEntry, LogPosition};
use millrace::telemetry;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use sqlx::Connection;
use testkit::app::API_SECRET;
use testkit::client::user_token;
use testkit::{App, Engine, PATIENCE, Person, on_both_engines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rooms::room_socket;
use crate::{channel, watch};

async fn sockets_of_one_user_are_so_many(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    let mut ears = join_all((0..limits::SOCKETS_PER_USER).map(|_| ada.listen())).await;
    let (error, close_code) = ada.refused_to_listen().await;
    assert_eq!((&error["StatusCode"], &error["code"], close_code), (&json!(429), &json!(9), Some(1000)));
    let _grace = grace.listen().await;
    // There is a place again as soon as one is gone.
    drop(ears.pop());
    let again = async { while ada.client.connect(&json!({"id": "ada"})).await.is_err() {} };
    timeout(PATIENCE, again).await.expect("she may come again");
}

/// Whatever they speak.
#[tokio::test]
async fn sockets_of_rooms_are_sockets_too() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_ROOMS__ENABLED", "true")]).await;
    let ada = app.person("ada").await;
    let ears = join_all((0..limits::SOCKETS_PER_USER).map(|_| ada.listen())).await;
    let path = format!("/ws/?token={}", user_token(API_SECRET, "ada"));
    let (socket, heard) = room_socket(&app, &path).await;
    assert!(socket.is_none() && heard[0]["code"] == "rate_limited", "{heard:?}");
    drop(ears);
    let again = async { while room_socket(&app, &path).await.0.is_none() {} };
    timeout(PATIENCE, again).await.expect("she may come again");
    app.stop().await;
}

/// However they call themselves, and whether they are guests or nobody at all.
#[tokio::test]
async fn strangers_of_one_address_share_their_sockets() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let made = app.stranger().post("/guest", json!({"user": {"id": "visitor"}})).await.ok();
    let (id, token) = (made["user"]["id"].as_str().unwrap(), made["access_token"].as_str().unwrap());
    let guest = Person::new(id, app.stranger().client.with_token(token));
    let _guest = guest.listen().await;
    let names: Vec<Person> = (0..limits::STRANGERS_SOCKETS_PER_ADDRESS)
        .map(|number| Person::new(&format!("nobody{number}"), app.stranger().client))
        .collect();
    let (last, names) = names.split_last().unwrap();
    let mut ears = Vec::new();
    for some in names.chunks(25) {
        ears.extend(join_all(some.iter().map(Person::listen)).await);
    }
    assert_eq!(last.refused_to_listen().await.0["code"], 9);
    assert_eq!(guest.refused_to_listen().await.0["code"], 9);
    let _ada = app.person("ada").await.listen().await;
    app.stop().await;
}

/// Empty frames cost nothing to send, and nobody has to be anybody for it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_floods_a_socket_is_shown_out() {
    let app = App::start(Engine::Memory).await;
    let address = app.base(0).strip_prefix("http://").unwrap().to_owned();
    let (done, flooded) = oneshot::channel();
    let flood = move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = "GET /connect?json=%7B%7D&api_key=key&stream-auth-type=anonymous HTTP/1.1\r\nhost: here\r\n\
            connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let empty_pongs = b"\x8a\x80\0\0\0\0".repeat(10_000);
        let mut taken = 0;
        while stream.write_all(&empty_pongs).is_ok() {
            taken += 1;
        }
        let _ = done.send(taken);
    };
    // It does not end before the process does if nobody shows it out.
    std::thread::spawn(flood);
    assert!(timeout(PATIENCE, flooded).await.expect("it is closed").unwrap() > 0, "it was in");
    app.person("ada").await.listen().await;
    app.stop().await;
}

/// A connection from an address of this machine that says nothing.
async fn connection(app: &App, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(app.base(0).strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap()
}

/// Is it answered?
async fn is_let_in(connection: &mut TcpStream) -> bool {
    let asked = connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok();
    asked && timeout(PATIENCE, connection.read_u8()).await.expect("an answer, or the end").is_ok()
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_CONNECTIONS_PER_ADDRESS", "8")]).await;
    let ada = app.person("ada").await;
    // A socket is a connection like any other, before and after it is one.
    let ear = ada.listen().await;
    let mut all = Vec::new();
    for _ in 0..8 {
        let mut one = connection(&app, "127.0.0.2").await;
        assert!(is_let_in(&mut one).await);
        all.push(one);
    }
    assert!(!is_let_in(&mut connection(&app, "127.0.0.2").await).await);
    assert!(is_let_in(&mut connection(&app, "127.0.0.3").await).await, "another address");
    let silent: Vec<_> = join_all((0..8).map(|_| connection(&app, "127.0.0.1"))).await;
    let full = async { while is_let_in(&mut connection(&app, "127.0.0.1").await).await {} };
    timeout(PATIENCE, full).await.expect("it is full of those who say nothing, and of sockets");
    drop((all, silent, ear));
    for address in ["127.0.0.1", "127.0.0.2"] {
        let again = async { while !is_let_in(&mut connection(&app, address).await).await {} };
        timeout(PATIENCE, again).await.expect("there is a place again");
    }
    app.stop().await;
}

/// Nobody keeps a connection for which there is no use.
#[tokio::test]
async fn idle_connections_end() {
    let app = App::start(Engine::Memory).await;
    let mut idle = connection(&app, "127.0.0.1").await;
    assert!(is_let_in(&mut idle).await);
    let mut half = connection(&app, "127.0.0.1").await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    let mut silent = connection(&app, "127.0.0.1").await;
    let mut answer = Vec::new();
    let ended = async {
        for one in [&mut idle, &mut half, &mut silent] {
            let _ = one.read_to_end(&mut answer).await;
        }
    };
    timeout(2 * limits::HEADER_READ_TIMEOUT, ended).await.expect("they end");
    app.stop().await;
}

/// They come from any number of addresses, each with a share of its own.
#[tokio::test]
async fn strangers_leave_connections_that_read_to_others() {
    let app = App::start_with(Engine::Memory, 1, &[("MILLRACE_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let grace = app.person("grace").await;
    app.server().put("/channeltypes/messaging", json!({"grants": {"anonymous": ["read-channel"]}})).await.ok();
    channel(&app, "messaging:room", &["grace"]).await;
    let message = grace.say("messaging:room", "hello").await;
    let path = format!("/messages/{}/reactions", message["id"].as_str().unwrap());
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE reactions IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let mut waiting = JoinSet::new();
    for number in 0..40 {
        let client = app.stranger().client;
        let request = client.request("GET".parse().unwrap(), &path).query(&[("user_id", "nobody")]);
        let request =
            request.header("stream-auth-type", "anonymous").header("x-forwarded-for", format!("198.51.100.{number}"));
        waiting.spawn(async move { client.send(request).await.unwrap().status });
    }
    let stuck = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'reactions'::regclass";
    // Two of the four connections that ten leave for reads.
    while app.ask(stuck).await[0] != "2" {}
    for _ in 0..20 {
        grace.get("/unread").await.ok();
    }
    assert_eq!(app.ask(stuck).await[0], "2");
    holder.rollback().await.unwrap();
    let answered = waiting.join_all().await;
    assert!(answered.iter().all(|status| *status == 200), "{answered:?}");
    app.stop().await;
}

/// However large they are, somebody who follows the log has read each of them once, and never more at once than fits.
#[tokio::test]
async fn the_log_is_read_in_pieces() {
    let app = App::start(Engine::Memory).await;
    let store = &app.ctx(0).store;
    let start = store.log_end().await.unwrap();
    app.sql(
        "INSERT INTO events (type, audience, subject, only_for, body, created_at)
         SELECT 'notification.thread_message_new', 'absent_users', n::text,
                CASE WHEN n % 3 = 0 THEN ARRAY(SELECT repeat('u', 200) FROM generate_series(1, 500)) ELSE '{}' END,
                repeat('x', (n * 7919) % 65536), now()
         FROM generate_series(1, 600) n",
    )
    .await;
    let (mut position, mut entries, mut more) = (start, Vec::new(), true);
    while more {
        let page = store.log_after(position, 1_000).await.unwrap();
        let names = |entry: &LogEntry| entry.only_for.iter().flatten().map(String::len).sum::<usize>();
        let bytes: usize = page.entries.iter().map(names).sum();
        assert!(bytes <= limits::LOG_READ_BYTES_MAX + 100_000, "{bytes}");
        position = page.entries.last().map_or(position, LogEntry::position);
        // Others of this database may still be writing.
        more = page.more || entries.len() + page.entries.len() < 600;
        entries.extend(page.entries);
    }
    let places: Vec<LogPosition> = entries.iter().map(LogEntry::position).collect();
    assert!(places.len() == 600 && places.is_sorted());

    let whole = async |some: &[LogPosition]| {
        let (mut rest, mut read) = (some, Vec::new());
        while !rest.is_empty() {
            let (events, count) = store.events_at(rest).await.unwrap();
            let bytes: usize = events.iter().map(|event| event.body.len()).sum();
            assert!(bytes <= limits::LOG_READ_BYTES_MAX + limits::EVENT_BYTES_MAX, "{bytes}");
            read.extend(events.into_iter().map(|event| event.id.unwrap()));
            rest = &rest[count..];
        }
        read
    };
    let all: Vec<i64> = places.iter().map(|place| place.id).collect();
    assert_eq!(whole(&places).await, all);
    // Also where some of them are there no more.
    app.sql("DELETE FROM events WHERE subject::int % 5 = 0 OR subject::int > 590").await;
    let left = app.ask("SELECT e.id::text FROM events e ORDER BY e.tx, e.id").await;
    let left: Vec<i64> = left.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(whole(&places).await, left);
    app.stop().await;
}

/// So is a gap in what is heard of a channel.
#[tokio::test]
async fn gaps_are_read_in_pieces() {
    let app = App::start(Engine::Memory).await;
    app.sql(
        "INSERT INTO events (channel_id, number, type, audience, body, created_at)
         SELECT 7, n, 'message.new', 'channel', repeat('x', (n * 7919) % 65536), now() FROM generate_series(1, 700) n",
    )
    .await;
    let mut runner = TestRunner::new(Config { cases: 8, ..Config::default() });
    let store = app.ctx(0).store.clone();
    let runtime = tokio::runtime::Handle::current();
    let tried = tokio::task::spawn_blocking(move || {
        runner.run(&(0_i64..700, 1_i64..701), |(after, span)| {
            let before = after + span;
            let (mut seen, mut whole) = (after, false);
            while !whole {
                let read = runtime.block_on(store.channel_events_between(7, seen, before));
                let (events, all) = read.expect("Postgres");
                let bytes: usize = events.iter().map(|event| event.body.len()).sum();
                assert!(bytes <= limits::LOG_READ_BYTES_MAX + limits::EVENT_BYTES_MAX);
                for event in events {
                    seen += 1;
                    assert_eq!(event.number, Some(seen));
                }
                whole = all;
            }
            assert_eq!(seen, (before - 1).min(700).max(after));
            Ok(())
        })
    });
    tried.await.unwrap().unwrap();
    app.stop().await;
}

/// Of what there is no room for the number is enough, even if it is the last one.
#[tokio::test]
async fn what_came_too_early_and_did_not_fit_is_read_from_the_log() {
    let app = App::start(Engine::Memory).await;
    let ada = app.person("ada").await;
    let mut ear = ada.listen().await;
    let mut keys = Vec::new();
    for cid in ["messaging:one", "messaging:other"] {
        channel(&app, cid, &["ada"]).await;
        watch(&ada, cid).await;
        keys.push(app.ctx(0).caches.channel(&cid.parse().unwrap()).await.unwrap().unwrap().row.id);
    }
    // By transactions that nobody follows any more: the relay does not help.
    app.sql(
        "INSERT INTO events (tx, channel_id, number, type, audience, body, created_at)
         SELECT 0, channel_id, event_number + n, 'custom', 'channel', format('{\"type\":\"news\",\"n\":%s}', n), now()
         FROM channel_heads JOIN channels ON id = channel_id, generate_series(1, 2) n WHERE cid = 'messaging:other'",
    )
    .await;
    let numbers = app.ctx(0).store.event_numbers(&keys).await.unwrap();
    let early = |key: i64, ahead: i64, bytes: usize| Event {
        kind: "custom".into(),
        audience: Audience::CHANNEL,
        channel_id: Some(key),
        number: numbers.iter().find(|(channel, _)| *channel == key).map(|(_, number)| number + ahead),
        id: None,
        subject: None,
        watcher_count: None,
        state: None,
        created_at: app.clock.now(),
        body: format!("{{\"type\":\"early\"{}}}", " ".repeat(bytes)).into(),
    };
    let mut database = app.connect().await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    // While the first one waits, there is no room for the other.
    let fanout = &app.ctx(0).realtime.fanout;
    fanout.deliver(early(keys[0], 2, 1)).await;
    fanout.deliver(early(keys[1], 2, limits::GAP_BYTES_MAX)).await;
    holder.rollback().await.unwrap();
    for n in [1, 2] {
        assert_eq!(ear.hear("news").await["n"], n);
    }
    app.stop().await;
}

/// Nobody asks for each of them.
async fn a_page_of_memberships_is_one_question(app: &App) {
    let ada = app.person("ada").await;
    let mut entries = Vec::new();
    for number in 0..20 {
        let cid = format!("messaging:room{number}");
        channel(app, &cid, &["ada"]).await;
        let key = app.ctx(0).caches.channel(&cid.parse().unwrap()).await.unwrap().unwrap().row.id;
        let kind = ["member.added", "member.removed"][number % 2].to_owned();
        let (audience, subject) = ("channel".to_owned(), Some("ada".to_owned()));
        let entry =
            LogEntry { tx: 1, id: 1, channel_id: Some(key), number: None, kind, audience, subject, only_for: None };
        app.ctx(0).announcer.forget_touched(&entry).await;
        entries.push(entry);
    }
    let mut ear = ada.listen().await;
    let announcer = app.ctx(0).announcer.clone();
    let settled = telemetry::counting_queries(async move { announcer.settle(&entries).await });
    let (settled, queries) = settled.await;
    settled.unwrap();
    assert_eq!(queries, 1);
    // What is true now counts, whatever was read.
    watch(&ada, "messaging:room1").await;
    app.server()
        .post("/channels/messaging/room1/message", json!({"message": {"text": "hello", "user_id": "ada"}}))
        .await
        .ok();
    ear.hear("message.new").await;
}

/// Nobody is told that Postgres was away while nobody needed it.
async fn connections_that_have_died_are_noticed(app: &App) {
    let ada = app.person("ada").await;
    let of_each_pool = async || {
        ada.get("/unread").await.ok();
        ada.query("/users", json!({"filter_conditions": {"id": "ada"}})).await.ok();
        app.server().post("/users", json!({"users": {"grace": {"id": "grace"}}})).await.ok();
    };
    of_each_pool().await;
    let ended = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'";
    assert!(app.ask(ended).await.len() > 3);
    // That they rest is what it is about.
    tokio::time::sleep(limits::CONNECTION_RESTED).await;
    of_each_pool().await;
    channel(app, "messaging:room", &["ada"]).await;
    ada.say("messaging:room", "hello").await;
}

on_both_engines!(
    sockets_of_one_user_are_so_many,
    a_page_of_memberships_is_one_question,
    connections_that_have_died_are_noticed,
);
