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
use crate::budget::{Budget, Share};
use crate::events::Event;
use crate::limits;

/// Does the event have a twin for members who do not watch?
pub fn has_twin(event: &Event) -> bool {
    matches!(event.kind.as_str(), "message.new" | "channel.deleted" | "channel.truncated")
}

/// What those who do not watch hear of an event: JSON of which all but the end is the same for all of them.
#[derive(Debug, Default)]
pub struct Twin {
    /// Shared with the event, and with other twins.
    pub parts: Vec<Bytes>,
    /// By user, the last brace included. Who is left out is not to hear it.
    pub ends: HashMap<Arc<str>, String>,
}

/// Makes the twins of events, and what events for absent users say to each of them.
#[async_trait]
pub trait Twins: Send + Sync {
    /// For each event what its users hear.
    async fn twins(&self, events: &[(&Event, Vec<Arc<str>>)]) -> Vec<Twin>;
}

/// Absent members of one event's channel.
pub struct Absence {
    delivery: Arc<Delivery>,
    connections: Vec<Arc<Connection>>,
    /// For the event, while it waits.
    _share: Share,
}

/// The workers' end.
#[derive(Clone)]
pub struct Sender {
    inbox: mpsc::Sender<Absence>,
    budget: Arc<Budget>,
}

impl Sender {
    /// Hands over who is absent, if there is room: a notification is a hint, unread numbers are read from Postgres.
    pub(super) fn send(&self, delivery: &Arc<Delivery>, connections: Vec<Arc<Connection>>) {
        if connections.is_empty() {
            return;
        }
        if let Some(share) = self.budget.take(delivery.event.body.len()) {
            let _ = self.inbox.try_send(Absence { delivery: delivery.clone(), connections, _share: share });
        }
    }
}

/// Both ends.
pub fn channel() -> (Sender, mpsc::Receiver<Absence>) {
    let (inbox, receiver) = mpsc::channel(limits::ABSENCES_WAITING_MAX);
    (Sender { inbox, budget: Budget::new(limits::ABSENCES_WAITING_BYTES_MAX) }, receiver)
}

/// Runs until the last worker is gone.
pub async fn run(mut inbox: mpsc::Receiver<Absence>, twins: Arc<dyn Twins>, dialects: Vec<Arc<dyn Dialect>>) {
    let mut waiting = Vec::with_capacity(limits::ABSENCES_BATCH_MAX);
    while inbox.recv_many(&mut waiting, limits::ABSENCES_BATCH_MAX).await > 0 {
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
        let made = twins.twins(&events).await;
        for (absence, twin) in waiting.drain(..).zip(made) {
            send(&absence.connections, &twin, &dialects).await;
        }
    }
}

/// Sends a twin. There is one frame at a time: those with the same end share it, and nobody keeps it who has taken it.
async fn send(connections: &[Arc<Connection>], twin: &Twin, dialects: &[Arc<dyn Dialect>]) {
    let mut heard: Vec<(usize, &str, &Connection)> = connections
        .iter()
        .filter_map(|connection| Some((connection.dialect, &**twin.ends.get(&connection.user_id)?, &**connection)))
        .collect();
    heard.sort_unstable_by_key(|(dialect, end, _)| (*dialect, *end));
    for alike in heard.chunk_by(|(dialect, end, _), other| (dialect, end) == (&other.0, &other.1)) {
        let (dialect, end, _) = alike[0];
        let parts: Vec<&[u8]> = twin.parts.iter().map(|part| &**part).chain([end.as_bytes()]).collect();
        let Some(frame) = dialects[dialect].encode_twin(&parts) else { continue };
        for some in alike.chunks(limits::FANOUT_SOCKETS_PER_TURN) {
            for (_, _, connection) in some {
                connection.socket.send(std::slice::from_ref(&frame));
            }
            tokio::task::consume_budget().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use wire::Timestamp;

    use super::*;
    use crate::realtime::{CloseReason, Socket};

    /// Says what it hears as it is.
    struct Plain;

    impl Dialect for Plain {
        fn encode(&self, event: &Event) -> Option<Bytes> {
            Some(event.body.clone())
        }

        fn encode_twin(&self, parts: &[&[u8]]) -> Option<Bytes> {
            Some(parts.concat().into())
        }

        fn heartbeat(&self, _: &Connection, _: Timestamp) -> Vec<Bytes> {
            Vec::new()
        }
    }

    /// Keeps what it is sent.
    #[derive(Clone, Default)]
    struct Ear(Arc<Mutex<Vec<Bytes>>>);

    impl Socket for Ear {
        fn send(&self, frames: &[Bytes]) {
            self.0.lock().unwrap().extend_from_slice(frames);
        }

        fn close(&self, _: CloseReason) {}

        fn silent_for(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }

    fn connection(user: &str, ear: &Ear) -> Arc<Connection> {
        Arc::new(Connection {
            id: user.into(),
            user_id: user.into(),
            dialect: 0,
            token_issued_at: None,
            token_expires_at: None,
            counts_as_presence: true,
            socket: Box::new(ear.clone()),
        })
    }

    #[tokio::test]
    async fn those_with_equal_numbers_share_one_frame() {
        let ears = [Ear::default(), Ear::default(), Ear::default(), Ear::default()];
        let users = ["ada", "grace", "barbara", "guest"];
        let connections: Vec<_> = users.iter().zip(&ears).map(|(user, ear)| connection(user, ear)).collect();
        let ends = [("ada", ",\"n\":1}"), ("grace", ",\"n\":2}"), ("barbara", ",\"n\":1}")];
        let twin = Twin {
            parts: vec![Bytes::from_static(b"{\"type\":\"a\""), Bytes::from_static(b",\"b\":0")],
            ends: ends.iter().map(|(user, end)| ((*user).into(), (*end).to_owned())).collect(),
        };
        send(&connections, &twin, &[Arc::new(Plain)]).await;
        let heard: Vec<Vec<Bytes>> = ears.iter().map(|ear| ear.0.lock().unwrap().clone()).collect();
        assert_eq!(heard[0][0][..], *b"{\"type\":\"a\",\"b\":0,\"n\":1}");
        assert_eq!(heard[1][0][..], *b"{\"type\":\"a\",\"b\":0,\"n\":2}");
        assert_eq!(heard[0][0].as_ptr(), heard[2][0].as_ptr(), "the very same bytes");
        assert!(heard[3].is_empty());
    }

    #[tokio::test]
    async fn what_waits_has_a_bound_in_bytes() {
        let (sender, mut inbox) = channel();
        let mut event = Event::internal("message.new", Timestamp::from_micros(0));
        event.body = vec![b'x'; limits::EVENT_BYTES_MAX].into();
        let share = Budget::new(limits::FANOUT_BYTES_MAX).take(event.body.len()).unwrap();
        let delivery = Arc::new(Delivery::new(event, share, 1));
        let ada = connection("ada", &Ear::default());
        let most = limits::ABSENCES_WAITING_BYTES_MAX / limits::EVENT_BYTES_MAX;
        for _ in 0..2 * most {
            sender.send(&delivery, vec![ada.clone()]);
        }
        assert_eq!(inbox.len(), most);
        drop(inbox.recv().await);
        sender.send(&delivery, vec![ada.clone()]);
        assert_eq!(inbox.len(), most);
    }
}
