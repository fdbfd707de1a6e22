//! The board of founding document 003: a file for each row that a client can see, named after the row.
//!
//! The rows run against nodes of their own, on both engines; or, with `MILLRACE_BASE_URL`, against any server that is there (several
//! nodes of it separated by commas). Then `MILLRACE_API_KEY`, `MILLRACE_API_SECRET` and, where it differs,
//! `MILLRACE_ROOMS__JWT_SECRET` say how to sign, and names are made up anew for each run.

mod row_3_01;
mod row_3_02;
mod row_3_03;
mod row_3_04;
mod row_3_05;
mod row_3_06;
mod row_3_07;
mod row_3_08;
mod row_3_09;
mod row_3_10;
mod row_3_13;
mod row_3_14;
mod row_3_15;
mod row_3_16;
mod row_3_17;
mod row_3_18;
mod row_3_19;
mod row_3_20;
mod row_3_21;
mod row_3_22;
mod row_3_23;
mod row_3_25;
mod row_3_26;
mod row_3_27;
mod row_3_28;
mod row_3_29;
mod row_3_30;
mod row_3_31;
mod row_3_32;
mod row_3_33;
mod row_3_34;
mod row_3_35;
mod row_3_40;
mod row_3_41;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use testkit::client::{Client, Socket, sign, user_token};
use testkit::{App, Engine, PATIENCE, Person, app};
use tokio::time::timeout;

/// A row's test, on the memory engine and on Redis.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                crate::rooms::run(testkit::Engine::Memory, 1, super::$name).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                crate::rooms::run(testkit::Engine::Redis, 1, super::$name).await;
            })*
        }
    };
}

/// A row's test on two nodes.
macro_rules! on_two_nodes {
    ($($name:ident),* $(,)?) => {
        mod two_nodes {
            $(#[tokio::test]
            async fn $name() {
                crate::rooms::run(testkit::Engine::Redis, 2, super::$name).await;
            })*
        }
    };
}

pub(crate) use {on_both, on_two_nodes};

/// The server under test.
pub struct Board {
    bases: Vec<String>,
    secret: String,
    api: (String, String),
    /// In front of every name, so that no run meets the traces of another.
    run: String,
    app: Option<App>,
    http: reqwest::Client,
}

/// Runs a test on nodes of its own, or on the server that the environment names.
pub async fn run(engine: Engine, nodes: usize, test: impl AsyncFnOnce(&Board)) {
    run_with(engine, nodes, &[], test).await;
}

/// The same with settings, which a server that is there already cannot be given: there the test is left out.
pub async fn run_with(engine: Engine, nodes: usize, settings: &[(&str, &str)], test: impl AsyncFnOnce(&Board)) {
    let from = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let board = if let Some(bases) = from("MILLRACE_BASE_URL") {
        if !settings.is_empty() || engine == Engine::Memory {
            return;
        }
        let api_secret = from("MILLRACE_API_SECRET").unwrap_or_else(|| millrace::config::DEVELOPMENT_API_SECRET.into());
        Board {
            bases: bases.split(',').map(|base| base.trim_end_matches('/').to_owned()).collect(),
            secret: from("MILLRACE_ROOMS__JWT_SECRET").unwrap_or_else(|| api_secret.clone()),
            api: (from("MILLRACE_API_KEY").unwrap_or_else(|| millrace::config::DEVELOPMENT_API_KEY.into()), api_secret),
            run: unique(),
            app: None,
            http: reqwest::Client::new(),
        }
    } else {
        let settings: Vec<(&str, &str)> =
            [("MILLRACE_ROOMS__ENABLED", "true")].iter().chain(settings).copied().collect();
        let app = App::start_with(engine, nodes, &settings).await;
        Board {
            bases: (0..nodes).map(|node| app.base(node)).collect(),
            secret: app::API_SECRET.into(),
            api: (app::API_KEY.into(), app::API_SECRET.into()),
            run: unique(),
            app: Some(app),
            http: reqwest::Client::new(),
        }
    };
    test(&board).await;
    if let Some(app) = board.app {
        app.stop().await;
    }
}

fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{:x}{:x}", now & 0xFF_FFFF_FFFF, COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Board {
    pub fn base(&self, node: usize) -> &str {
        &self.bases[node % self.bases.len()]
    }

    /// A name of this run alone.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }

    /// Somebody with a token of this surface, at the first node.
    pub fn guest(&self, name: &str) -> Guest {
        self.guest_at(0, name)
    }

    pub fn guest_at(&self, node: usize, name: &str) -> Guest {
        let id = self.name(name);
        let token = sign(&self.secret, &json!({"sub": id, "aud": "authenticated"}));
        Guest { id, token: Some(token), base: self.base(node).into(), cookie: None, http: self.http.clone() }
    }

    /// Somebody with any token, or none.
    pub fn stranger(&self, token: Option<&str>) -> Guest {
        Guest { token: token.map(Into::into), ..self.guest("stranger") }
    }

    /// A token with these claims, signed as the surface wants it.
    pub fn token(&self, claims: &Value) -> String {
        sign(&self.secret, claims)
    }

    /// The same person as a Stream client sees the server.
    pub fn stream(&self, name: &str) -> Person {
        let id = self.name(name);
        let client = Client::new(self.base(0), &self.api.0).with_token(&user_token(&self.api.1, &id));
        Person::new(&id, client)
    }

    /// The makers of the app.
    pub fn server(&self) -> Person {
        let token = testkit::client::server_token(&self.api.1);
        Person::new("", Client::new(self.base(0), &self.api.0).with_token(&token))
    }

    /// A channel that Stream clients made, for these people alone. Gives back its cid.
    pub async fn private(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<String> = members.iter().map(|member| self.name(member)).collect();
        let users: serde_json::Map<_, _> = members.iter().map(|id| (id.clone(), json!({"id": id}))).collect();
        self.server().post("/users", json!({"users": users})).await.ok();
        let data = json!({"created_by_id": members[0], "members": members});
        self.server().post(&format!("/channels/messaging/{}/query", self.name(name)), json!({"data": data})).await.ok();
        format!("messaging:{}", self.name(name))
    }

    /// Nodes of this test's own, if it has some.
    pub fn app(&self) -> Option<&App> {
        self.app.as_ref()
    }
}

/// Somebody who calls.
#[derive(Clone)]
pub struct Guest {
    pub id: String,
    pub token: Option<String>,
    pub base: String,
    pub cookie: Option<String>,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub body: Value,
    pub cookie: Option<String>,
    pub text: String,
}

impl Said {
    /// The body of a success with this status.
    #[track_caller]
    pub fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text);
        self.body
    }

    /// The status of a refusal that has a `detail`.
    #[track_caller]
    pub fn refused(self) -> u16 {
        assert!(self.status >= 400 && self.body["detail"].is_string(), "{}: {}", self.status, self.text);
        self.status
    }
}

impl Guest {
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Said {
        let method: Method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let cookie = answer.headers().get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).map(ToOwned::to_owned);
        let text = answer.text().await.expect("a text");
        assert!(status < 500, "{path}: {status} {text}");
        Said { status, body: serde_json::from_str(&text).unwrap_or_default(), cookie, text }
    }

    pub async fn get(&self, path: &str) -> Said {
        self.call("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Said {
        self.call("POST", path, &[], Some(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Said {
        self.call("PUT", path, &[], Some(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Said {
        self.call("DELETE", path, &[], None).await
    }

    /// Says something in a room; gives back the message.
    pub async fn say(&self, room: &str, text: &str) -> Value {
        self.post(&format!("/api/rooms/{room}/messages/"), json!({"text": text})).await.with(201)
    }

    /// Opens a socket for a room. What is said from now on is heard: the answer to a frame comes after the room is entered.
    pub async fn enter(&self, room: &str) -> Ear {
        let mut ear = self.listen(&format!("/ws/{room}/")).await;
        ear.be_in().await;
        ear
    }

    /// Opens a socket with the token in its query.
    pub async fn listen(&self, path: &str) -> Ear {
        let base = self.base.replacen("http", "ws", 1);
        let token = self.token.as_deref().unwrap_or_default();
        let headers: Vec<(&'static str, &str)> = self.cookie.iter().map(|cookie| ("cookie", cookie.as_str())).collect();
        Ear::dial(&format!("{base}{path}?token={token}"), &headers).await
    }
}

/// An open socket.
pub struct Ear {
    socket: Socket,
    waiting: VecDeque<Value>,
}

impl Ear {
    /// Waits until the server has taken the socket in: an open one may still be on its way.
    pub async fn be_in(&mut self) {
        self.say(json!({"type": "ping"})).await;
        self.hear("pong").await;
    }

    pub async fn dial(url: &str, headers: &[(&'static str, &str)]) -> Self {
        let socket = timeout(PATIENCE, Socket::dial(url, headers)).await.expect("an answer");
        Self { socket: socket.unwrap_or_else(|refused| panic!("{url}: {refused:?}")), waiting: VecDeque::new() }
    }

    /// The next frame of a type; those before it stay where they are.
    pub async fn hear(&mut self, kind: &str) -> Value {
        self.hear_where(kind, |_| true).await
    }

    pub async fn hear_where(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wanted = |frame: &Value| frame["type"] == kind && fits(frame);
        if let Some(index) = self.waiting.iter().position(wanted) {
            return self.waiting.remove(index).unwrap_or_default();
        }
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await.ok().flatten();
            let frame = next.unwrap_or_else(|| panic!("waited for {kind} in vain, and heard {:#?}", self.waiting));
            if wanted(&frame) {
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }

    /// The types of everything that was heard until now. A pong comes after it: it goes the same way.
    pub async fn kinds(&mut self) -> Vec<String> {
        self.say(json!({"type": "ping"})).await;
        self.hear("pong").await;
        self.waiting.drain(..).map(|frame| frame["type"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub async fn say(&mut self, frame: Value) {
        self.socket.say(&frame.to_string()).await.expect("the socket is open");
    }

    /// The same if the socket may be closed already.
    pub async fn try_to_say(&mut self, frame: Value) -> bool {
        self.socket.say(&frame.to_string()).await.is_ok()
    }

    /// Waits for the end: the code it was closed with.
    pub async fn closed(&mut self) -> Option<u16> {
        let closed = async { while self.socket.next().await.is_some() {} };
        timeout(PATIENCE, closed).await.expect("the socket is closed");
        self.socket.close_code()
    }

    pub async fn leave(self) {
        self.socket.close().await;
    }
}

/// One key of each object in a list.
pub fn pluck(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().expect("a list").iter();
    items.map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

/// The keys of an object, in order.
pub fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
