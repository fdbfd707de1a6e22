//! The same questions on the rooms surface: whose session, whose room, who is heard there.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{API_KEY, API_SECRET};
use testkit::client::{Answer, Client, Socket, sign, user_token};
use testkit::{App, PATIENCE, Person};
use tokio::time::timeout;

use crate::identity::heard_before_by;
use crate::{channel, watch};

/// A call of the rooms surface.
pub async fn rooms(app: &App, method: Method, path: &str, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", app.base(0))).bearer_auth(token);
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    app.stranger().client.send(request).await.expect("an answer")
}

pub async fn get(app: &App, path: &str, token: &str) -> Answer {
    rooms(app, Method::GET, path, token, &[]).await
}

/// A socket of the rooms surface that has answered once: its first frames, up to that answer.
pub async fn room_socket(app: &App, path: &str) -> (Option<Socket>, Vec<Value>) {
    let url = format!("{}{path}", app.base(0).replacen("http", "ws", 1));
    let mut socket = Socket::dial(&url, &[]).await.expect("an upgrade");
    let heard = heard_by(&mut socket).await;
    (heard.last().is_some_and(|frame| frame["type"] == "pong").then_some(socket), heard)
}

/// What a socket of the rooms surface has heard until now.
pub async fn heard_by(socket: &mut Socket) -> Vec<Value> {
    let mut heard = Vec::new();
    if socket.say(&json!({"type": "ping"}).to_string()).await.is_err() {
        return heard;
    }
    while let Some(frame) = timeout(PATIENCE, socket.next()).await.expect("an answer") {
        heard.push(frame);
        if heard.last().is_some_and(|frame| frame["type"] == "pong") {
            break;
        }
    }
    heard
}

/// A test of the rooms surface.
macro_rules! with_rooms {
    ($($name:ident),* $(,)?) => {
        mod of_rooms {
            $(#[tokio::test]
            async fn $name() {
                for engine in [testkit::Engine::Memory, testkit::Engine::Redis] {
                    let app = testkit::App::start_with(engine, 1, &[("MILLRACE_ROOMS__ENABLED", "true")]).await;
                    super::$name(&app).await;
                    app.stop().await;
                }
            })*
        }
    };
}

async fn a_ticket_opens_a_socket_and_nothing_else(app: &App) {
    let token = user_token(API_SECRET, "ada");
    let url = get(app, "/api/ws-auth/", &token).await.body["auth"].as_str().unwrap().to_owned();
    let ticket = url.split_once("token=").unwrap().1;
    for path in ["/api/token/", "/api/refresh-token/", "/api/ws-auth/", "/api/user/", "/api/connection-id/"] {
        assert!([401, 403].contains(&get(app, path, ticket).await.status), "{path}");
    }
    let stream = Person::new("ada", Client::new(&app.base(0), API_KEY).with_token(ticket));
    assert_eq!(stream.get("/app").await.refused(), (401, 5));
    assert_eq!(stream.refused_to_listen().await.0["code"], 5);
    assert!(room_socket(app, &format!("/ws/general/?token={ticket}")).await.0.is_some());
    // A cookie is no token either.
    let cookie = get(app, "/api/connection-id/", &token).await;
    let cookie = cookie.header("set-cookie").unwrap().split([';', '=']).nth(1).unwrap().to_owned();
    assert!([401, 403].contains(&get(app, "/api/user/", &cookie).await.status));
    assert!(room_socket(app, &format!("/ws/general/?token={cookie}")).await.0.is_none());
    // A user's plain token is good on both surfaces, as before.
    assert!(room_socket(app, &format!("/ws/general/?token={token}")).await.0.is_some());
    app.user_at(0, "ada").get("/app").await.ok();
}

fn claims_of(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn a_short_token_buys_no_longer_one(app: &App) {
    let now = app.clock.now().seconds();
    let brief = sign(API_SECRET, &json!({"user_id": "ada", "iat": now - 5, "exp": now + 60}));
    for (path, key) in [("/api/token/", "userToken"), ("/api/refresh-token/", "token")] {
        let bought = claims_of(&get(app, path, &brief).await.body[key]);
        assert_eq!((&bought["exp"], &bought["iat"]), (&json!(now + 60), &json!(now - 5)), "{path}");
    }
    let eternal = user_token(API_SECRET, "ada");
    assert!(
        claims_of(&get(app, "/api/token/", &eternal).await.body["userToken"])["exp"].as_i64().unwrap() > now + 3_600
    );
}

async fn an_ended_session_stays_ended(app: &App) {
    let token = user_token(API_SECRET, "ada");
    let begun = get(app, "/api/connection-id/", &token).await;
    let cookie = begun.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let with_cookie = [("cookie", cookie.as_str())];
    let id = |answer: &Answer| answer.body["connection_id"].as_str().unwrap().to_owned();
    let again = rooms(app, Method::GET, "/api/connection-id/", &token, &with_cookie).await;
    assert_eq!(id(&again), id(&begun));
    rooms(app, Method::DELETE, "/api/session/", &token, &with_cookie).await;
    let after = rooms(app, Method::GET, "/api/connection-id/", &token, &with_cookie).await;
    assert_ne!(id(&after), id(&begun));
    assert!(after.header("set-cookie").is_some());
    let gone = rooms(app, Method::GET, "/api/disconnected/", &token, &with_cookie).await;
    assert_eq!(gone.body["disconnected"], true);
}

async fn an_issuers_email_is_not_published(app: &App) {
    let token = sign(API_SECRET, &json!({"sub": "grace", "email": "grace@example.org"}));
    assert_eq!(get(app, "/api/user/", &token).await.body, json!({"id": "grace", "username": "grace"}));
    let found = app.server().query("/users", json!({"filter_conditions": {"id": "grace"}})).await.ok();
    assert!(!found.to_string().contains("example.org"), "{found}");
}

async fn a_disabled_room_takes_nobody_in(app: &App) {
    app.people(["ada", "mallory"]).await;
    let [ada, mallory] = ["ada", "mallory"].map(|id| user_token(API_SECRET, id));
    assert_eq!(get(app, "/api/rooms/general/messages/", &ada).await.status, 200);
    app.server().patch("/channels/messaging/general", json!({"set": {"disabled": true}})).await.ok();
    assert_eq!(get(app, "/api/rooms/general/messages/", &mallory).await.status, 403);
    let members = app.ask("SELECT user_id FROM members").await;
    assert_eq!(members, ["ada"]);
}

/// Authors take back what they deleted themselves, where they could say it still.
async fn a_restored_message_is_its_authors_to_say(app: &App) {
    let [ada] = app.people(["ada"]).await;
    let token = user_token(API_SECRET, "ada");
    assert_eq!(get(app, "/api/rooms/general/messages/", &token).await.status, 200);
    let id = ada.say("messaging:general", "well").await["id"].as_str().unwrap().to_owned();
    let message = format!("/messages/{id}");
    let restore = async || rooms(app, Method::POST, &format!("/api{message}/restore/"), &token, &[]).await.status;
    let set = async |key: &str, on: bool| {
        app.server().patch("/channels/messaging/general", json!({"set": {key: on}})).await.ok();
    };
    app.server().delete(&message).await.ok();
    assert_eq!(restore().await, 403, "a server deleted it");
    ada.delete(&message).await.ok();
    assert_eq!(restore().await, 403, "deleting it again changes nothing");
    let id = ada.say("messaging:general", "so").await["id"].as_str().unwrap().to_owned();
    let message = format!("/messages/{id}");
    let restore = async || rooms(app, Method::POST, &format!("/api{message}/restore/"), &token, &[]).await.status;
    ada.delete(&message).await.ok();
    set("frozen", true).await;
    assert_eq!(restore().await, 403, "the room is frozen");
    set("frozen", false).await;
    assert_eq!(restore().await, 200);
}

async fn whoever_was_removed_stays_out_of_an_open_room(app: &App) {
    app.people(["ada", "mallory"]).await;
    let [ada, mallory] = ["ada", "mallory"].map(|id| user_token(API_SECRET, id));
    assert_eq!(get(app, "/api/rooms/general/messages/", &ada).await.status, 200);
    assert_eq!(get(app, "/api/rooms/general/messages/", &mallory).await.status, 200);
    let (socket, _) = room_socket(app, &format!("/ws/general/?token={mallory}")).await;
    let mut socket = socket.expect("an open room");
    app.server().post("/channels/messaging/general", json!({"remove_members": ["mallory"]})).await.ok();
    assert_eq!(get(app, "/api/rooms/general/messages/", &mallory).await.status, 403);
    app.user_at(0, "ada").say("messaging:general", "without mallory").await;
    let heard = heard_by(&mut socket).await;
    assert!(!heard.iter().any(|frame| frame.to_string().contains("without mallory")), "{heard:#?}");
    assert!(room_socket(app, &format!("/ws/general/?token={mallory}")).await.0.is_none());
    // Who is let in again is in; who goes by itself may come back.
    app.server().post("/channels/messaging/general", json!({"add_members": ["mallory"]})).await.ok();
    assert_eq!(get(app, "/api/rooms/general/messages/", &mallory).await.status, 200);
    let leave = json!({"remove_members": ["mallory"]});
    app.user_at(0, "mallory").post("/channels/messaging/general", leave).await.ok();
    assert_eq!(get(app, "/api/rooms/general/messages/", &mallory).await.status, 200);
}

/// A channel that is named by its members is theirs, whatever else is said of it.
async fn a_conversation_is_no_open_room(app: &App) {
    let [ada, _grace, eve] = app.people(["ada", "grace", "eve"]).await;
    let data = json!({"members": ["ada", "grace"], "open_room": true});
    let made = ada.post("/channels/messaging/query", json!({"data": data})).await.ok();
    let cid = made["channel"]["cid"].as_str().unwrap();
    let token = user_token(API_SECRET, &eve.id);
    assert_eq!(get(app, &format!("/api/rooms/{cid}/messages/"), &token).await.status, 403);
    assert_eq!(app.ask("SELECT user_id FROM members WHERE user_id = 'eve'").await, [""; 0]);
}

/// What one person keeps is no reason to take away what others keep.
async fn a_poll_takes_its_options_along_and_nothing_else(app: &App) {
    let [ada, eve] = app.people(["ada", "eve"]).await;
    channel(app, "messaging:lobby", &["ada", "eve"]).await;
    let (hers, its) = (user_token(API_SECRET, &ada.id), user_token(API_SECRET, &eve.id));
    let post = async |path: String, token: &str, body: Value| {
        let request = reqwest::Client::new().post(format!("{}{path}", app.base(0))).bearer_auth(token).json(&body);
        app.stranger().client.send(request).await.unwrap()
    };
    let poll = post("/api/polls/".into(), &its, json!({"question": "who?"})).await;
    let id = poll.body["poll"]["id"].as_str().unwrap().to_owned();
    eve.post("/channels/messaging/lobby/message", json!({"message": {"id": id, "text": "flag me"}})).await.ok();
    assert!(post(format!("/api/messages/{id}/flag/"), &hers, json!({})).await.is_success());
    assert!(rooms(app, Method::DELETE, &format!("/api/polls/{id}/"), &its, &[]).await.is_success());
    assert_eq!(app.ask("SELECT kind FROM room_things").await, ["flag"]);
}

/// A socket that was made to stop hearing a room hears it again when it asks again.
async fn a_room_is_heard_again(app: &App) {
    let [host, ada] = app.people(["host", "ada"]).await;
    channel(app, "messaging:lobby", &["host", "ada"]).await;
    let (socket, _) = room_socket(app, &format!("/ws/?token={}", user_token(API_SECRET, &ada.id))).await;
    let mut socket = socket.unwrap();
    let watch = json!({"type": "channel.watch", "cid": "messaging:lobby"}).to_string();
    for text in ["first", "again"] {
        socket.say(&watch).await.unwrap();
        assert!(heard_by(&mut socket).await.iter().any(|frame| frame["type"] == "initialized"));
        host.say("messaging:lobby", text).await;
        let hears = async { while socket.next().await.unwrap()["message"]["text"] != text {} };
        timeout(PATIENCE, hears).await.unwrap_or_else(|_| panic!("{text} is heard"));
        app.server().post("/channels/messaging/lobby", json!({"remove_members": ["ada"]})).await.ok();
        app.server().post("/channels/messaging/lobby", json!({"add_members": ["ada"]})).await.ok();
    }
}

/// To edit is to type: whoever may not write says nothing by it.
async fn an_editing_state_is_no_message(app: &App) {
    let [_, eve, grace] = app.people(["ada", "eve", "grace"]).await;
    channel(app, "messaging:lobby", &["ada", "eve", "grace"]).await;
    let mut ear = grace.listen().await;
    watch(&grace, "messaging:lobby").await;
    app.sql("UPDATE members SET banned = true WHERE user_id = 'eve'").await;
    let token = user_token(API_SECRET, &eve.id);
    let state = json!({"cid": "messaging:lobby", "draft_update": 1, "cursor": {"text": "I am banned and still talk"}});
    let url = format!("{}/api/editing-audit-state/", app.base(0));
    let request = reqwest::Client::new().post(url).bearer_auth(token).json(&state);
    assert!(app.stranger().client.send(request).await.unwrap().is_success());
    let heard = heard_before_by(&mut ear, app, "messaging:lobby", "ada").await;
    assert!(heard.iter().all(|event| event["type"] != "editing.state"), "{heard:#?}");
}

async fn a_host_that_is_a_name_is_not_believed(app: &App) {
    let token = user_token(API_SECRET, "ada");
    let answer = rooms(app, Method::GET, "/api/ws-auth/", &token, &[("host", "evil.example")]).await;
    let url = answer.body["auth"].as_str().unwrap().to_owned();
    assert!(!url.contains("evil.example") && url.contains("/ws/?token="), "{url}");
    assert!(get(app, "/api/ws-auth/", &token).await.body["auth"].as_str().unwrap().contains(&app.base(0)[7..]));
}

async fn what_clients_make_up_is_not_taken_for_ours(app: &App) {
    let ada = app.person("ada").await;
    get(app, "/api/rooms/general/messages/", &user_token(API_SECRET, "ada")).await;
    let (socket, _) = room_socket(app, &format!("/ws/general/?token={}", user_token(API_SECRET, "ada"))).await;
    let mut socket = socket.expect("a room");
    let mut ear = ada.listen().await;
    watch(&ada, "messaging:general").await;
    let settings = app.ctx(0).caches.app();
    let words = [
        "app",
        "channel_type",
        "member",
        "user",
        "channel",
        "editing.state",
        "push.subscription.registered",
        "ai_indicator.update",
        "ai_indicator.clear",
        "read",
        "user.join",
        "custom",
    ];
    let made_up: Vec<&str> = words.into_iter().filter(|kind| *kind != "user.join").collect();
    for kind in &made_up {
        ada.post("/channels/messaging/general/event", json!({"event": {"type": kind}})).await.ok();
        // Stream's clients hear the word as it was said.
        ear.hear(kind).await;
    }
    let refused = ada.post("/channels/messaging/general/event", json!({"event": {"type": "user.join"}})).await;
    assert_eq!(refused.refused(), (400, 18));
    for kind in ["app", "channel_type", "user"] {
        app.server().post("/users/ada/event", json!({"event": {"type": kind}})).await.ok();
        ear.hear(kind).await;
    }
    assert!(Arc::ptr_eq(&settings, &app.ctx(0).caches.app()), "the settings were read again");
    let heard = heard_by(&mut socket).await;
    let kinds: HashSet<&str> = heard.iter().filter_map(|frame| frame["type"].as_str()).collect();
    assert!(kinds.is_disjoint(&made_up.iter().copied().collect()), "{kinds:?}");
    // A server that runs an agent is heard.
    let thinking = json!({"event": {"type": "ai_indicator.update", "ai_state": "AI_STATE_THINKING", "user_id": "ada"}});
    app.server().post("/channels/messaging/general/event", thinking).await.ok();
    let heard = heard_by(&mut socket).await;
    assert!(heard.iter().any(|frame| frame["type"] == "ai_indicator.update"), "{heard:#?}");
}

with_rooms!(
    a_ticket_opens_a_socket_and_nothing_else,
    a_short_token_buys_no_longer_one,
    an_ended_session_stays_ended,
    an_issuers_email_is_not_published,
    a_disabled_room_takes_nobody_in,
    a_restored_message_is_its_authors_to_say,
    whoever_was_removed_stays_out_of_an_open_room,
    a_conversation_is_no_open_room,
    a_poll_takes_its_options_along_and_nothing_else,
    a_room_is_heard_again,
    an_editing_state_is_no_message,
    a_host_that_is_a_name_is_not_believed,
    what_clients_make_up_is_not_taken_for_ours,
);
