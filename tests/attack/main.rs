//! What broke the server once, or would: every test here failed on the code that it was written against.
//!
//! A file per question: who is it (identity, rooms), whose name is it (names), what may it still (rights; held, if it has waited; removed, if it was put out; unseen, if it is shown to nobody), when
//! does it no longer hear (doors), what does one request cost (bounds, sizes, answers, uploads, memory), how much of the node is one asker's
//! (shares), what if there are very many (crowds), what if it stops half-way, who waits for whom (lanes, locks), what if it is said twice, what if Redis stands still,
//! is somebody here (presence), which rule does it go round.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod answers;
mod bounds;
mod crowds;
mod doors;
mod halfway;
mod held;
mod identity;
mod lanes;
mod locks;
mod memory;
mod names;
mod presence;
mod redis_away;
mod removed;
mod rights;
mod rooms;
mod rules;
mod shares;
mod sizes;
mod twice;
mod unseen;
mod uploads;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{App, Person};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const SEND: &str = "/channels/messaging/room/message";

/// Makes a channel with these members, the first of whom created it.
async fn channel(app: &App, cid: &str, members: &[&str]) -> Value {
    let data = json!({"created_by_id": members[0], "members": members});
    app.server().post(&format!("{}/query", path(cid)), json!({"data": data, "state": true})).await.ok()
}

/// Watches a channel; gives back its state.
async fn watch(person: &Person, cid: &str) -> Value {
    person.post(&format!("{}/query", path(cid)), json!({"watch": true, "state": true})).await.ok()
}

/// The head of a request whose body of so many bytes is still to come.
async fn begin(app: &App, person: &Person, method: Method, path: &str, content_type: &str, bytes: usize) -> TcpStream {
    let request = person.client.request(method.clone(), path).build().unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let (token, kind) = (header("authorization"), header("stream-auth-type"));
    let path = format!("{}?{}", request.url().path(), request.url().query().unwrap());
    let mut stream = TcpStream::connect(app.base(0).strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\nstream-auth-type: {kind}\r\n\
         content-type: {content_type}\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Where a channel is asked for things.
fn path(cid: &str) -> String {
    format!("/channels/{}", cid.replace(':', "/"))
}
