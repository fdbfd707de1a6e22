//! An event on its way to sockets, encoded at most once for each dialect.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Dialect;
use crate::budget::Share;
use crate::events::Event;

pub struct Delivery {
    pub event: Event,
    /// Of what may be on its way.
    _share: Share,
    frames: Box<[OnceLock<Option<Bytes>>]>,
}

impl Delivery {
    pub(super) fn new(event: Event, share: Share, dialects: usize) -> Self {
        Self { event, _share: share, frames: (0..dialects).map(|_| OnceLock::new()).collect() }
    }

    /// The frame that sockets of this dialect get.
    pub fn frame(&self, index: usize, dialects: &[Arc<dyn Dialect>]) -> Option<Bytes> {
        self.frames[index].get_or_init(|| dialects[index].encode(&self.event)).clone()
    }
}
