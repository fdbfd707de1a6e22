//! People: who calls, and who listens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::multipart::{Form, Part};
use client::{Answer, Client, Refused, Socket};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{PATIENCE, facts};

/// Somebody with an id and a token; or a server, whose id is empty.
pub struct Person {
    pub id: String,
    pub client: Client,
    /// The socket that calls refer to when they watch.
    connection_id: Mutex<Option<String>>,
}

/// An answer that agrees with the facts.
#[derive(Clone, Debug)]
pub struct Reply {
    pub answer: Answer,
    asked: String,
}

impl Reply {
    /// The body of a success.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.answer.is_success(), "{} answered {}: {}", self.asked, self.answer.status, self.answer.text);
        self.answer.body
    }

    /// Status and code of a refusal.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub fn refused(self) -> (u16, i64) {
        assert!(!self.answer.is_success(), "{} was not refused: {}", self.asked, self.answer.text);
        (self.answer.status, self.answer.code())
    }

    /// What a refusal says.
    pub fn message(&self) -> &str {
        self.answer.body["message"].as_str().unwrap_or_default()
    }
}

impl Person {
    pub fn new(id: &str, client: Client) -> Self {
        Self { id: id.into(), client, connection_id: Mutex::default() }
    }

    /// The same person at another node, with the same socket.
    pub fn at(&self, base: &str) -> Self {
        let connection_id = self.connection_id.lock().expect("nobody panics here").clone();
        Self { id: self.id.clone(), client: self.client.at(base), connection_id: Mutex::new(connection_id) }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], None).await
    }

    /// A `GET` with JSON in a query parameter, as Stream's clients write queries.
    pub async fn query(&self, path: &str, payload: Value) -> Reply {
        self.call("GET", path, &[("payload", &payload.to_string())], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, &[], Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.call("PUT", path, &[], Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call("PATCH", path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path, &[], None).await
    }

    /// One call. The path may have a query of its own.
    ///
    /// # Panics
    /// No answer, or one that contradicts the facts.
    pub async fn call(&self, method: &str, path: &str, query: &[(&str, &str)], body: Option<Value>) -> Reply {
        let connection_id = self.connection_id.lock().expect("nobody panics here").clone();
        let mut query = query.to_vec();
        // Like Stream's clients do on each call; for somebody anonymous it is the only way to say who.
        if !self.id.is_empty() {
            query.push(("user_id", &self.id));
        }
        if let Some(id) = &connection_id {
            query.push(("connection_id", id));
        }
        let known = method.parse().expect("a method");
        let answer = self.client.call(known, path, &query, body.as_ref()).await;
        checked(method, path, answer.unwrap_or_else(|error| panic!("{method} {path} got no answer: {error}")))
    }

    /// Uploads a file as `path` takes it.
    ///
    /// # Panics
    /// No answer, or one that contradicts the facts.
    pub async fn upload(&self, path: &str, name: &str, mime_type: &str, content: &[u8]) -> Reply {
        let part = Part::bytes(content.to_vec()).file_name(name.to_owned()).mime_str(mime_type).expect("a MIME type");
        let mut form = Form::new().part("file", part);
        if !self.id.is_empty() {
            form = form.text("user", json!({"id": self.id}).to_string());
        }
        let request = self.client.request("POST".parse().expect("a method"), path).multipart(form);
        checked("POST", path, self.client.send(request).await.expect("an answer"))
    }

    /// Says something in a channel; gives back the message.
    ///
    /// # Panics
    /// It is refused.
    pub async fn say(&self, cid: &str, text: &str) -> Value {
        let path = format!("/channels/{}/message", cid.replace(':', "/"));
        let mut sent = self.post(&path, json!({"message": {"text": text}})).await.ok();
        sent["message"].take()
    }

    /// Opens a WebSocket. Calls that follow refer to it.
    ///
    /// # Panics
    /// It is refused.
    pub async fn listen(&self) -> Ear {
        self.listen_as(json!({"id": self.id})).await
    }

    /// The same with details that the server is to learn.
    ///
    /// # Panics
    /// It is refused.
    pub async fn listen_as(&self, details: Value) -> Ear {
        let socket = timeout(PATIENCE, self.client.connect(&details)).await.expect("a greeting");
        let socket = socket.unwrap_or_else(|refused| panic!("{} may not listen: {refused:?}", self.id));
        let problems = facts::problems_of_event(&socket.greeting);
        assert!(problems.is_empty(), "the greeting: {problems:#?}");
        *self.connection_id.lock().expect("nobody panics here") = Some(socket.connection_id().into());
        Ear { person: self.id.clone(), socket, waiting: VecDeque::new() }
    }

    /// Tries to open a WebSocket in vain: the error and the code of the close frame.
    ///
    /// # Panics
    /// It is not refused.
    pub async fn refused_to_listen(&self) -> (Value, Option<u16>) {
        let refused = timeout(PATIENCE, self.client.connect(&json!({"id": self.id}))).await.expect("an answer");
        match refused.expect_err("a refusal") {
            Refused::Error { error, close_code } => (error, close_code),
            Refused::Unreachable(reason) => panic!("{reason}"),
        }
    }
}

fn checked(method: &str, path: &str, answer: Answer) -> Reply {
    let bare = path.split('?').next().unwrap_or(path);
    let asked = format!("{method} {path}");
    if answer.is_success() {
        let problems = facts::problems_of_answer(method, bare, &answer.body);
        assert!(problems.is_empty(), "{asked}: {problems:#?}");
    } else {
        let body = &answer.body;
        for (key, fits) in [
            ("code", body["code"].is_i64()),
            ("message", body["message"].is_string()),
            ("StatusCode", body["StatusCode"] == answer.status),
            ("duration", body["duration"].is_string()),
            ("more_info", body["more_info"].is_string()),
            ("details", body["details"].is_array()),
        ] {
            assert!(fits, "{asked}: {key} of the error is wrong: {}", answer.text);
        }
    }
    Reply { answer, asked }
}

/// Somebody's open WebSocket.
pub struct Ear {
    pub person: String,
    socket: Socket,
    /// Heard and not asked for yet.
    waiting: VecDeque<Value>,
}

impl Ear {
    /// The first frame's `me`.
    pub fn me(&self) -> &Value {
        &self.socket.greeting["me"]
    }

    pub fn greeting(&self) -> &Value {
        &self.socket.greeting
    }

    pub fn connection_id(&self) -> &str {
        self.socket.connection_id()
    }

    /// The next event of a type; those before it stay where they are.
    ///
    /// # Panics
    /// It does not come.
    pub async fn hear(&mut self, kind: &str) -> Value {
        self.hear_where(kind, |_| true).await
    }

    /// The next event of a type that also fits.
    ///
    /// # Panics
    /// It does not come.
    pub async fn hear_where(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wanted = |event: &Value| event["type"] == kind && fits(event);
        if let Some(index) = self.waiting.iter().position(wanted) {
            return self.waiting.remove(index).unwrap_or_default();
        }
        loop {
            let Some(event) = self.next().await else {
                panic!("{} waited for {kind} in vain, and heard {:#?}", self.person, kinds(&self.waiting));
            };
            if wanted(&event) {
                return event;
            }
            self.waiting.push_back(event);
        }
    }

    /// Everything heard until now. A marker goes the same way after it, so nothing that was sent before is missed.
    ///
    /// # Panics
    /// The marker does not come.
    pub async fn heard(&mut self, server: &Person) -> Vec<Value> {
        static MARKERS: AtomicU64 = AtomicU64::new(0);
        let kind = format!("marker{}", MARKERS.fetch_add(1, Ordering::Relaxed));
        let path = format!("/users/{}/event", self.person);
        server.post(&path, json!({"event": {"type": kind}})).await.ok();
        self.hear(&kind).await;
        self.waiting.drain(..).collect()
    }

    /// The same as a list of types.
    pub async fn heard_kinds(&mut self, server: &Person) -> Vec<String> {
        kinds(self.heard(server).await.iter())
    }

    /// Waits for the end of the socket: the code it was closed with.
    ///
    /// # Panics
    /// It stays open.
    pub async fn closed(&mut self) -> Option<u16> {
        let closed = async { while self.socket.next().await.is_some() {} };
        timeout(PATIENCE, closed).await.expect("the socket is closed");
        self.socket.close_code()
    }

    /// What comes next, whatever it is; nothing, if nothing comes in this time or the socket is closed.
    pub async fn next_within(&mut self, time: Duration) -> Option<Value> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        let event = timeout(time, self.socket.next()).await.ok().flatten()?;
        let problems = facts::problems_of_event(&event);
        assert!(problems.is_empty(), "{} heard {event:#}: {problems:#?}", self.person);
        Some(event)
    }

    async fn next(&mut self) -> Option<Value> {
        let event = timeout(PATIENCE, self.socket.next()).await.ok().flatten()?;
        let problems = facts::problems_of_event(&event);
        assert!(problems.is_empty(), "{} heard {event:#}: {problems:#?}", self.person);
        Some(event)
    }

    pub async fn say(&mut self, text: &str) {
        self.socket.say(text).await.expect("the socket is open");
    }

    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.say_bytes(bytes).await.expect("the socket is open");
    }

    /// Leaves, properly.
    pub async fn leave(self) {
        self.socket.close().await;
    }
}

fn kinds<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    events.into_iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}
