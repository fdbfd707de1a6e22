//! Notes in Redis, under the names that are documented: one can look at them with any Redis client.
//!
//! They stand without the prefix of other keys, so that the names are exactly those of the documents. A draft begins with the
//! prefix instead: where several deployments share a Redis, another one's note is no note (docs/adr/0011). A session is
//! the user's name and nothing else, as documented; its id is unique enough.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::RedisResult;

use super::client::Client;
use crate::engine::{Note, Notes};
use crate::limits;

/// How often this node tries again to take away what it could not.
const TRY_AGAIN_EVERY: Duration = Duration::from_secs(1);

pub(super) struct RedisNotes {
    client: Client,
    /// What a value of this deployment begins with.
    seal: Vec<u8>,
    doubtful: Arc<Doubtful>,
}

/// Names that Redis may still hold an old value for, because it was away when that should have changed.
#[derive(Default)]
struct Doubtful(Mutex<HashSet<String>>);

impl Doubtful {
    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RedisNotes {
    pub(super) fn start(client: Client, prefix: &str) -> Self {
        let doubtful = Arc::<Doubtful>::default();
        tokio::spawn(try_again(Arc::downgrade(&doubtful), client.clone()));
        Self { client, seal: format!("{prefix}\n").into_bytes(), doubtful }
    }

    fn doubt(&self, name: String) {
        let mut names = self.doubtful.names();
        if names.len() < limits::NOTES_MAX {
            names.insert(name);
        }
    }

    async fn read(&self, name: &str, seal: &[u8]) -> RedisResult<Option<Bytes>> {
        let value: Option<Vec<u8>> = self.client.command(redis::cmd("GET").arg(name)).await?;
        Ok(value.and_then(|value| value.strip_prefix(seal).map(Bytes::copy_from_slice)))
    }

    /// What the value of a note begins with.
    fn seal_of(&self, note: Note<'_>) -> &[u8] {
        match note {
            Note::Draft { .. } => &self.seal,
            Note::Session { .. } => b"",
        }
    }
}

#[async_trait]
impl Notes for RedisNotes {
    async fn put(&self, note: Note<'_>, value: &[u8], life: Duration) {
        let name = note.name();
        let sealed = [self.seal_of(note), value].concat();
        let command = redis::cmd("SET").arg(&name).arg(sealed).arg("PX").arg(life.as_millis() as u64).to_owned();
        match self.client.command::<()>(&command).await {
            Ok(()) => drop(self.doubtful.names().remove(&name)),
            Err(_) => self.doubt(name),
        }
    }

    async fn get(&self, note: Note<'_>) -> Option<Bytes> {
        let name = note.name();
        if self.doubtful.names().contains(&name) {
            return None;
        }
        self.read(&name, self.seal_of(note)).await.ok().flatten()
    }

    async fn remove(&self, note: Note<'_>) {
        let name = note.name();
        if self.client.command::<()>(redis::cmd("DEL").arg(&name)).await.is_err() {
            self.doubt(name);
        }
    }
}

/// Takes away what is doubtful as soon as Redis is back. Runs until the engine is dropped.
async fn try_again(doubtful: Weak<Doubtful>, client: Client) {
    let mut tick = tokio::time::interval(TRY_AGAIN_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(doubtful) = doubtful.upgrade() else { return };
        let names: Vec<String> = doubtful.names().iter().cloned().collect();
        for name in names {
            if client.command::<()>(redis::cmd("DEL").arg(&name)).await.is_err() {
                break;
            }
            doubtful.names().remove(&name);
        }
    }
}
