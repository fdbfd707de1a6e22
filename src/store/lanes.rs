//! Lanes: the writers of a channel wait for each other here, before they take a connection.
//!
//! They wait for each other in any case, for the lock of the channel's head. If each of them did so with a connection in its hand, one
//! locked channel would have the whole pool. So a lane lets two of them through, one that has the lock and one that takes it
//! next, and even these give their connection back from time to time while somebody else holds the lock ([`Turn::when_free`]).
//! A lane is there for as long as anybody is in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Result, StoreError};
use crate::limits;

/// What a lane leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// A channel, by key.
    Channel(i64),
    /// A channel that is being created, by cid.
    New(String),
}

/// The lanes of one node.
#[derive(Default)]
pub(super) struct Lanes(Mutex<HashMap<Lane, Queue>>);

struct Queue {
    turns: Arc<Semaphore>,
    /// Those who wait and those who have their turn.
    writers: usize,
}

/// A place in a lane, given up when it is dropped.
struct Place {
    lanes: Arc<Lanes>,
    lane: Lane,
}

/// A writer's turn.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
    give_up: Instant,
}

impl Lanes {
    fn queues(&self) -> MutexGuard<'_, HashMap<Lane, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait, or it took too long.
    pub(super) async fn enter(self: &Arc<Self>, lane: Lane) -> Result<Turn> {
        let give_up = Instant::now() + limits::CHANNEL_LOCK_WAIT;
        let (place, turns) = self.queue_up(lane)?;
        match tokio::time::timeout_at(give_up, turns.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, _place: place, give_up }),
            _ => Err(StoreError::Locked),
        }
    }

    fn queue_up(self: &Arc<Self>, lane: Lane) -> Result<(Place, Arc<Semaphore>)> {
        let mut queues = self.queues();
        let new = || Queue { turns: Arc::new(Semaphore::new(limits::CHANNEL_WRITERS_MAX)), writers: 0 };
        let queue = queues.entry(lane.clone()).or_insert_with(new);
        if queue.writers >= limits::CHANNEL_WRITERS_WAITING_MAX {
            return Err(StoreError::Locked);
        }
        queue.writers += 1;
        Ok((Place { lanes: self.clone(), lane }, queue.turns.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.lanes.queues();
        if let Some(queue) = queues.get_mut(&self.lane) {
            queue.writers -= 1;
            if queue.writers == 0 {
                queues.remove(&self.lane);
            }
        }
    }
}

impl Turn {
    /// Tries to get the channel's lock, each time with a connection for a moment only, until it is free.
    ///
    /// # Errors
    /// Whatever else went wrong, or it took too long.
    pub(super) async fn when_free<T, F>(&self, lock: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            match lock().await {
                Err(StoreError::Locked) if Instant::now() < self.give_up => {
                    tokio::time::sleep(limits::CHANNEL_LOCK_PAUSE).await;
                }
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Arc<Lanes> {
        Arc::default()
    }

    #[tokio::test]
    async fn a_lane_is_there_for_as_long_as_anybody_is_in_it() {
        let lanes = lanes();
        let turns = [
            lanes.enter(Lane::Channel(1)).await,
            lanes.enter(Lane::Channel(1)).await,
            lanes.enter(Lane::Channel(2)).await,
        ];
        assert_eq!(lanes.queues().len(), 2);
        let third = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.enter(Lane::Channel(1)).await.is_ok() }
        });
        drop(turns);
        assert!(third.await.unwrap(), "it gets the turn that the others gave up");
        assert!(lanes.queues().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let lanes = lanes();
        let turns = [lanes.enter(Lane::Channel(1)).await, lanes.enter(Lane::Channel(1)).await];
        let waiting = Box::pin(lanes.enter(Lane::Channel(1)));
        let waiting = futures_util::future::select(waiting, Box::pin(std::future::ready(()))).await;
        drop((waiting, turns));
        assert!(lanes.queues().is_empty());
    }

    #[tokio::test]
    async fn a_lane_that_is_full_refuses_and_others_do_not() {
        let lanes = lanes();
        let places: Vec<_> = (0..limits::CHANNEL_WRITERS_WAITING_MAX)
            .map(|_| lanes.queue_up(Lane::Channel(1)).map(|(place, _)| place))
            .collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(matches!(lanes.enter(Lane::Channel(1)).await, Err(StoreError::Locked)));
        assert!(lanes.enter(Lane::Channel(2)).await.is_ok());
    }
}
