//! Notes in Redis, under the names that are documented: one can look at them with any Redis client.
//!
//! They stand without the prefix of other keys, so that the names are exactly those of the documents. A draft begins with the
//! prefix instead: where several deployments share a Redis, another one's note is no note (docs/adr/0011). A session is
//! the user's name and nothing else, as documented; its id is unique enough.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::RedisResult;

use super::client::Client;
use crate::engine::{Note, Notes};
use crate::limits;

pub(super) struct RedisNotes {
    client: Client,
    /// What a value of this deployment begins with.
    seal: Vec<u8>,
}

impl RedisNotes {
    pub(super) fn new(client: Client, prefix: &str) -> Self {
        Self { client, seal: format!("{prefix}\n").into_bytes() }
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
        if value.len() > limits::NOTE_BYTES_MAX {
            return self.remove(note).await;
        }
        let sealed = [self.seal_of(note), value].concat();
        let command = redis::cmd("SET").arg(note.name()).arg(sealed).arg("PX").arg(life.as_millis() as u64).to_owned();
        if let Err(error) = self.client.command::<()>(&command).await {
            tracing::debug!(%error, "a note was not written");
        }
    }

    async fn get(&self, note: Note<'_>) -> Option<Bytes> {
        self.read(&note.name(), self.seal_of(note)).await.ok().flatten()
    }

    async fn remove(&self, note: Note<'_>) {
        if let Err(error) = self.client.command::<()>(redis::cmd("DEL").arg(note.name())).await {
            tracing::debug!(%error, "a note was not taken away: it will expire");
        }
    }
}
