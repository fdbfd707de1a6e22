//! Notes of a single node.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use wire::Timestamp;

use crate::clock::Clock;
use crate::engine::{Note, Notes};
use crate::limits;

pub(super) struct MemoryNotes {
    clock: Clock,
    shelf: Mutex<Shelf>,
}

/// So many bytes of notes; the oldest make room for new ones.
#[derive(Default)]
struct Shelf {
    notes: HashMap<Arc<str>, Kept>,
    /// Their names, the oldest first.
    by_age: BTreeMap<u64, Arc<str>>,
    puts: u64,
    bytes: usize,
}

struct Kept {
    value: Bytes,
    until: Timestamp,
    /// Its key in `by_age`.
    age: u64,
}

impl Shelf {
    fn put(&mut self, name: &str, value: &[u8], until: Timestamp) {
        self.take(name);
        self.puts += 1;
        let name: Arc<str> = name.into();
        self.bytes += size(&name, value);
        self.by_age.insert(self.puts, name.clone());
        self.notes.insert(name, Kept { value: Bytes::copy_from_slice(value), until, age: self.puts });
        while self.bytes > limits::NOTES_BYTES_MAX {
            let Some((_, oldest)) = self.by_age.first_key_value() else { return };
            self.take(&oldest.clone());
        }
    }

    fn take(&mut self, name: &str) {
        if let Some(kept) = self.notes.remove(name) {
            self.by_age.remove(&kept.age);
            self.bytes -= size(name, &kept.value);
        }
    }
}

/// What a note takes, with what is around it.
fn size(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + limits::NOTE_OVERHEAD_BYTES
}

impl MemoryNotes {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, shelf: Mutex::default() }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Notes for MemoryNotes {
    async fn put(&self, note: Note<'_>, value: &[u8], life: Duration) {
        if value.len() > limits::NOTE_BYTES_MAX {
            return self.remove(note).await;
        }
        let until = self.clock.now().plus_micros(life.as_micros() as i64);
        self.shelf().put(&note.name(), value, until);
    }

    async fn get(&self, note: Note<'_>) -> Option<Bytes> {
        let now = self.clock.now();
        let shelf = self.shelf();
        shelf.notes.get(note.name().as_str()).filter(|kept| kept.until > now).map(|kept| kept.value.clone())
    }

    async fn remove(&self, note: Note<'_>) {
        self.shelf().take(&note.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let mut shelf = Shelf::default();
        let value = vec![0; limits::NOTE_BYTES_MAX];
        let fit = limits::NOTES_BYTES_MAX / size("0000", &value);
        for number in 0..2 * fit {
            shelf.put(&format!("{number:04}"), &value, Timestamp::from_micros(1));
            // Put again it is young again.
            shelf.put("0000", &value, Timestamp::from_micros(1));
        }
        assert_eq!((shelf.notes.len(), shelf.by_age.len()), (fit, fit));
        assert!(shelf.notes.contains_key("0000") && !shelf.notes.contains_key("0001"));
        assert!(shelf.bytes <= limits::NOTES_BYTES_MAX);
        for number in 0..2 * fit {
            shelf.take(&format!("{number:04}"));
        }
        assert_eq!((shelf.notes.len(), shelf.by_age.len(), shelf.bytes), (0, 0, 0));
    }
}
