//! kill -9 and SIGTERM, with processes of their own.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use testkit::app::{API_KEY, API_SECRET};
use testkit::client::{Client, server_token, user_token};
use testkit::{Deployment, Person};
use tokio::sync::Notify;

const PROGRAM: &str = env!("CARGO_BIN_EXE_millrace");
const SENDERS: usize = 8;
/// Acknowledged messages before the node is killed.
const BEFORE: usize = 300;

fn user(base: &str, id: &str) -> Person {
    Person::new(id, Client::new(base, API_KEY).with_token(&user_token(API_SECRET, id)))
}

fn server(base: &str) -> Person {
    Person::new("", Client::new(base, API_KEY).with_token(&server_token(API_SECRET)))
}

/// What senders have been told is stored.
#[derive(Default)]
struct Acknowledged {
    texts: Mutex<HashSet<String>>,
    enough: Notify,
    over: AtomicBool,
}

/// Sends until the node is gone.
async fn send_until_it_dies(person: Person, acknowledged: Arc<Acknowledged>) {
    for number in 0.. {
        let text = format!("{} {number}", person.id);
        let body = json!({"message": {"text": text}});
        let method = "POST".parse().expect("a method");
        match person.client.call(method, "/channels/messaging/lobby/message", &[], Some(&body)).await {
            Ok(answer) if answer.is_success() => {
                let mut texts = acknowledged.texts.lock().unwrap();
                texts.insert(text);
                if texts.len() >= BEFORE {
                    acknowledged.enough.notify_one();
                }
            }
            Ok(answer) => panic!("refused: {}", answer.text),
            Err(_) => break,
        }
    }
    assert!(acknowledged.over.load(Ordering::SeqCst), "nobody stops before the node is killed");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_a_node_is_killed() {
    let deployment = Deployment::new().await;
    let (mut doomed, survivor) = tokio::join!(deployment.start(PROGRAM), deployment.start(PROGRAM));
    let ids: Vec<String> = (0..SENDERS).map(|number| format!("sender{number}")).chain(["grace".to_owned()]).collect();
    let users: serde_json::Map<_, _> = ids.iter().map(|id| (id.clone(), json!({"id": id}))).collect();
    let admin = server(&survivor.base);
    admin.post("/users", json!({"users": users})).await.ok();
    let data = json!({"created_by_id": "grace", "members": ids});
    admin.post("/channels/messaging/lobby/query", json!({"data": data})).await.ok();
    let grace = user(&survivor.base, "grace");
    let mut ear = grace.listen().await;
    grace.post("/channels/messaging/lobby/query", json!({"watch": true})).await.ok();

    let acknowledged = Arc::new(Acknowledged::default());
    let senders: Vec<_> = ids[..SENDERS]
        .iter()
        .map(|id| tokio::spawn(send_until_it_dies(user(&doomed.base, id), acknowledged.clone())))
        .collect();
    acknowledged.enough.notified().await;
    acknowledged.over.store(true, Ordering::SeqCst);
    doomed.kill().await;
    for sender in senders {
        sender.await.unwrap();
    }

    // Whoever watches at the other node hears each of them, once.
    let expected = acknowledged.texts.lock().unwrap().clone();
    let mut heard = HashSet::new();
    while !expected.is_subset(&heard) {
        let event = ear.hear("message.new").await;
        let text = event["message"]["text"].as_str().unwrap().to_owned();
        assert!(heard.insert(text.clone()), "{text} was heard twice");
    }
    // And history has them, once, without holes in what was heard.
    let mut kept = Vec::new();
    let mut page = json!({"limit": 300});
    loop {
        let body = json!({"state": true, "messages": page});
        let state = grace.post("/channels/messaging/lobby/query", body).await.ok();
        let messages = state["messages"].as_array().unwrap().clone();
        let Some(first) = messages.first() else { break };
        page = json!({"limit": 300, "id_lt": first["id"]});
        kept.extend(messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()));
    }
    let unique: HashSet<String> = kept.iter().cloned().collect();
    assert_eq!(unique.len(), kept.len(), "nothing is stored twice");
    assert!(expected.is_subset(&unique), "acknowledged and lost: {:?}", expected.difference(&unique));
    // The channel goes on.
    grace.say("messaging:lobby", "still here").await;
    ear.hear_where("message.new", |event| event["message"]["text"] == "still here").await;
    deployment.end().await;
}

#[tokio::test]
async fn a_node_that_is_asked_to_go_finishes_first() {
    let deployment = Deployment::new().await;
    let mut node = deployment.start(PROGRAM).await;
    let admin = server(&node.base);
    admin.post("/users", json!({"users": {"grace": {"id": "grace"}}})).await.ok();
    let mut ear = user(&node.base, "grace").listen().await;
    assert!(node.terminate().await, "a drained node ends well");
    assert_eq!(ear.closed().await, Some(1012));
    deployment.end().await;
}
