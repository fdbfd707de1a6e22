//! Connections of other nodes: a request to watch may reach any node, the socket lives on one.
//!
//! The question travels on the bus to the node that the connection's id names, the answer comes back the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{NoSuchConnection, Realtime, Watched};
use crate::engine::{Bus, Topic};
use crate::tasks;

/// How long a node waits for another one's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What one node asks another for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Wish {
    Watch { channels: Vec<i64> },
    Unwatch { channels: Vec<i64> },
    Follow { users: Vec<String> },
}

#[derive(Debug, Serialize, Deserialize)]
enum Letter {
    Question { number: u64, from: String, connection: String, user: String, wish: Wish },
    Answer { number: u64, watched: Option<Vec<Watched>> },
}

/// Questions of this node that wait for an answer.
#[derive(Default)]
pub struct Remote {
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Option<Vec<Watched>>>>,
}

/// A question that is forgotten when nobody waits for its answer any more.
struct Asked<'a> {
    remote: &'a Remote,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.remote.state.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&self.number);
    }
}

impl Remote {
    /// Does what is wished, here or on the node where the connection lives.
    ///
    /// # Errors
    /// No such connection of this user, or its node does not answer.
    pub async fn fulfil(
        &self,
        realtime: &Realtime,
        bus: &dyn Bus,
        connection: &str,
        user: &str,
        wish: Wish,
    ) -> Result<Vec<Watched>, NoSuchConnection> {
        let node = Realtime::node_of(connection).ok_or(NoSuchConnection)?;
        if node == realtime.node() {
            return fulfil_here(realtime, connection, user, &wish).await;
        }
        // Without a bus nobody would hear the question.
        if !bus.has_others() || !bus.is_connected() {
            return Err(NoSuchConnection);
        }
        tasks::begin();
        let (answer, wait) = oneshot::channel();
        let number = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.next += 1;
            let number = state.next;
            state.answers.insert(number, answer);
            number
        };
        let question = Letter::Question {
            number,
            from: realtime.node().into(),
            connection: connection.into(),
            user: user.into(),
            wish,
        };
        post(bus, node, &question);
        let _asked = Asked { remote: self, number };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, wait).await;
        answer.ok().and_then(Result::ok).flatten().ok_or(NoSuchConnection)
    }

    /// Takes a letter that another node sent to this one.
    pub fn receive(self: &Arc<Self>, realtime: &Realtime, bus: Arc<dyn Bus>, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(Letter::Answer { number, watched }) => {
                let waiting = self.state.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&number);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(watched);
                }
            }
            Ok(Letter::Question { number, from, connection, user, wish }) => {
                let realtime = realtime.clone();
                tokio::spawn(async move {
                    let watched = fulfil_here(&realtime, &connection, &user, &wish).await.ok();
                    post(&*bus, &from, &Letter::Answer { number, watched });
                });
            }
            Err(error) => tracing::warn!(%error, "a letter from another node cannot be read"),
        }
    }
}

fn post(bus: &dyn Bus, node: &str, letter: &Letter) {
    if let Ok(payload) = serde_json::to_vec(letter) {
        bus.publish(Topic::Node(node.into()), Bytes::from(payload));
    }
}

async fn fulfil_here(
    realtime: &Realtime,
    connection: &str,
    user: &str,
    wish: &Wish,
) -> Result<Vec<Watched>, NoSuchConnection> {
    match wish {
        Wish::Watch { channels } => realtime.watch(connection, user, channels).await,
        Wish::Unwatch { channels } => {
            let stopped = realtime.unwatch(connection, user, channels).await?;
            Ok(realtime.settle_watching(user, &stopped).await)
        }
        Wish::Follow { users } => realtime.follow(connection, user, users).await.map(|()| Vec::new()),
    }
}
