//! Notes of a single node.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use wire::Timestamp;

use crate::clock::Clock;
use crate::engine::{Note, Notes};
use crate::limits;

pub(super) struct MemoryNotes {
    clock: Clock,
    notes: Mutex<HashMap<String, Kept>>,
}

struct Kept {
    value: Bytes,
    until: Timestamp,
}

impl MemoryNotes {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a note where there is room for it. What has expired makes room first.
fn keep(notes: &mut HashMap<String, Kept>, name: String, kept: Kept, now: Timestamp) {
    if notes.len() >= limits::NOTES_MAX {
        notes.retain(|_, kept| kept.until > now);
    }
    if notes.len() < limits::NOTES_MAX || notes.contains_key(&name) {
        notes.insert(name, kept);
    }
}

#[async_trait]
impl Notes for MemoryNotes {
    async fn put(&self, note: Note<'_>, value: &[u8], life: Duration) {
        let now = self.clock.now();
        let kept = Kept { value: Bytes::copy_from_slice(value), until: now.plus_micros(life.as_micros() as i64) };
        keep(&mut self.notes(), note.name(), kept, now);
    }

    async fn get(&self, note: Note<'_>) -> Option<Bytes> {
        let now = self.clock.now();
        self.notes().get(&note.name()).filter(|kept| kept.until > now).map(|kept| kept.value.clone())
    }

    async fn remove(&self, note: Note<'_>) {
        self.notes().remove(&note.name());
    }
}
