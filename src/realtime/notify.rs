//! Those who do not watch: members hear the `notification.*` twin of some events, participants of a thread hear of its
//! replies, each with their own unread numbers.
//!
//! Workers hand over who is absent and go on; a task gathers what waits and asks once for all of them. What the twin says
//! is the domain's business ([`Twins`]).

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::delivery::Delivery;
use super::{Connection, Dialect};
use crate::events::{Audience, Event};

/// Absences that may wait. More are dropped: a notification is a hint, unread numbers are read from Postgres.
const WAITING_MAX: usize = 16_384;
/// Absences handled with one question.
const BATCH_MAX: usize = 256;

/// Does the event have a twin for members who do not watch?
pub fn has_twin(event: &Event) -> bool {
    matches!(event.kind.as_str(), "message.new" | "channel.deleted" | "channel.truncated")
}

/// What those who do not watch hear it as.
fn twin_kind(event: &Event) -> String {
    match event.audience {
        Audience::AbsentUsers(_) => event.kind.clone(),
        _ => format!("notification.{}", event.kind.replace('.', "_")),
    }
}

/// Makes the twins of events, and what events for absent users say to each of them.
#[async_trait]
pub trait Twins: Send + Sync {
    /// For each event the JSON for each of its users. Users who are not to hear it are left out.
    async fn twins(&self, events: &[(&Event, Vec<Arc<str>>)]) -> Vec<HashMap<Arc<str>, Bytes>>;
}

/// Absent members of one event's channel.
pub struct Absence {
    delivery: Arc<Delivery>,
    connections: Vec<Arc<Connection>>,
}

/// The workers' end.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<Absence>);

impl Sender {
    pub(super) fn send(&self, delivery: &Arc<Delivery>, connections: Vec<Arc<Connection>>) {
        if !connections.is_empty() {
            let _ = self.0.try_send(Absence { delivery: delivery.clone(), connections });
        }
    }
}

/// Both ends.
pub fn channel() -> (Sender, mpsc::Receiver<Absence>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Sender(sender), receiver)
}

/// Runs until the last worker is gone.
pub async fn run(mut inbox: mpsc::Receiver<Absence>, twins: Arc<dyn Twins>, dialects: Vec<Arc<dyn Dialect>>) {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    while inbox.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let events: Vec<(&Event, Vec<Arc<str>>)> = waiting
            .iter()
            .map(|absence| {
                let mut users: Vec<Arc<str>> =
                    absence.connections.iter().map(|connection| connection.user_id.clone()).collect();
                users.sort_unstable();
                users.dedup();
                (&absence.delivery.event, users)
            })
            .collect();
        let bodies = twins.twins(&events).await;
        for (absence, bodies) in waiting.drain(..).zip(bodies) {
            send(&absence, &bodies, &dialects);
        }
    }
}

fn send(absence: &Absence, bodies: &HashMap<Arc<str>, Bytes>, dialects: &[Arc<dyn Dialect>]) {
    for connection in &absence.connections {
        let Some(body) = bodies.get(&connection.user_id) else { continue };
        let event = &absence.delivery.event;
        let twin = Event {
            kind: twin_kind(event),
            audience: Audience::User(connection.user_id.to_string()),
            body: body.clone(),
            ..event.clone()
        };
        if let Some(frame) = dialects[connection.dialect].encode(&twin) {
            connection.socket.send(&[frame]);
        }
    }
}
