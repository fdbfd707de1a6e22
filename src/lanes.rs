//! Lanes: those who would stand in each other's way wait for each other here, a few at a time having their turn.
//!
//! The writers of a channel wait for each other in any case, for the lock of the channel's head. If each of them did so with a
//! connection in its hand, one locked channel would have the whole pool. So a lane lets two of them through, one that has the lock and
//! one that takes it next. One asker could have all connections that others read with, and one uploader all the memory: each has
//! lanes of its own (docs/adr/0019). So do those who tell others of one user, who must not overtake each other
//! (realtime/presence.rs). A lane is there for as long as anybody is in it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::asker::Asker;
use crate::limits;

/// What a lane leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A channel, by key.
    Channel(i64),
    /// A channel that is being created, by cid.
    New(String),
    /// What somebody reads from the pool.
    Reads(Asker),
    /// What somebody's filters have become.
    Filters(Asker),
    /// Somebody's answers that are large, and everybody's, while they are made.
    Answers(Asker),
    AllAnswers,
    /// Somebody's until they are sent.
    Unsent(Asker),
    /// Somebody's answers that turned out to be large.
    Made(Asker),
    /// Somebody's bodies that are not small, and everybody's.
    Bodies(Asker),
    AllBodies,
    /// Somebody's uploads, by user, and those of all guests of an address.
    Uploads(String),
    GuestUploads(IpAddr),
    /// What everybody downloads, piece by piece.
    Downloads,
    /// Somebody's sockets, all of which are open at the same time.
    Sockets(Asker),
    /// Telling whether a user is on this node.
    Presence(String),
    /// Telling whether a user watches a channel, by key, on this node.
    Watcher(i64, String),
}

impl Lane {
    /// How many have their turn at the same time.
    fn turns(&self) -> usize {
        match self {
            Self::Channel(_) | Self::New(_) => limits::CHANNEL_WRITERS_MAX,
            Self::Reads(_) => limits::READS_AT_ONCE_MAX,
            Self::Filters(_) => limits::FILTERS_AT_ONCE_MAX,
            Self::Answers(_) => limits::LARGE_ANSWERS_AT_ONCE_MAX,
            Self::AllAnswers => limits::LARGE_ANSWERS_MAX,
            Self::Unsent(_) => limits::LARGE_ANSWERS_UNSENT_MAX,
            Self::Made(_) => limits::MADE_ANSWERS_UNSENT_MAX,
            Self::Bodies(_) => limits::LARGE_BODIES_AT_ONCE_MAX,
            Self::AllBodies => limits::LARGE_BODIES_MAX,
            Self::Uploads(_) => limits::UPLOADS_AT_ONCE_MAX,
            Self::GuestUploads(_) => limits::GUEST_UPLOADS_PER_ADDRESS,
            Self::Downloads => limits::DOWNLOAD_READS_AT_ONCE_MAX,
            Self::Sockets(_) => self.places(),
            // What is told last is what counts.
            Self::Presence(_) | Self::Watcher(..) => 1,
        }
    }

    /// How many are in the lane, with those who wait.
    fn places(&self) -> usize {
        match self {
            Self::Filters(_) => limits::FILTER_PLACES_MAX,
            Self::Sockets(Asker::User(_)) => limits::SOCKETS_PER_USER,
            Self::Sockets(Asker::Strangers(_)) => limits::STRANGERS_SOCKETS_PER_ADDRESS,
            // The door has counted them (http/door.rs).
            Self::Downloads => usize::MAX,
            _ => limits::LANE_PLACES_MAX,
        }
    }

    /// How long somebody waits for a turn.
    fn patience(&self) -> Duration {
        match self {
            Self::Uploads(_) | Self::GuestUploads(_) => limits::UPLOAD_TIMEOUT,
            Self::Answers(_) | Self::AllAnswers | Self::Unsent(_) | Self::Downloads => limits::LARGE_ANSWER_WAIT,
            _ => limits::LANE_WAIT,
        }
    }
}

/// The lanes of one node.
#[derive(Default)]
pub struct Lanes(Mutex<HashMap<Lane, Queue>>);

struct Queue {
    turns: Arc<Semaphore>,
    /// Those who wait and those who have their turn.
    places: usize,
}

/// A place in a lane, given up when it is dropped.
pub struct Place {
    lanes: Arc<Lanes>,
    lane: Lane,
    turns: Arc<Semaphore>,
}

/// A turn, until it is dropped.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
    /// When whoever waited for it should stop waiting for what comes next.
    pub give_up: Instant,
}

/// Too many wait, or it took too long.
#[derive(Debug)]
pub struct Crowded;

impl std::fmt::Display for Crowded {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("too many wait for their turn")
    }
}

impl std::error::Error for Crowded {}

impl Lanes {
    fn queues(&self) -> MutexGuard<'_, HashMap<Lane, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait, or it took too long.
    pub async fn enter(self: &Arc<Self>, lane: Lane) -> Result<Turn, Crowded> {
        let give_up = Instant::now() + lane.patience();
        let place = self.join(lane)?;
        Ok(Turn { _permit: place.turn().await?, _place: place, give_up })
    }

    /// A place in a lane, for whoever has one turn after another.
    ///
    /// # Errors
    /// Too many are in it.
    pub fn join(self: &Arc<Self>, lane: Lane) -> Result<Place, Crowded> {
        let mut queues = self.queues();
        let new = || Queue { turns: Arc::new(Semaphore::new(lane.turns())), places: 0 };
        let queue = queues.entry(lane.clone()).or_insert_with(new);
        if queue.places >= lane.places() {
            return Err(Crowded);
        }
        queue.places += 1;
        Ok(Place { lanes: self.clone(), lane, turns: queue.turns.clone() })
    }
}

impl Place {
    /// Waits for a turn. A place may have several at the same time; whoever has one waits for no other.
    ///
    /// # Errors
    /// It took too long.
    pub fn turn(&self) -> impl Future<Output = Result<OwnedSemaphorePermit, Crowded>> + use<> {
        let (turns, patience) = (self.turns.clone(), self.lane.patience());
        async move {
            // No clock is asked where nobody waits.
            if let Ok(turn) = turns.clone().try_acquire_owned() {
                return Ok(turn);
            }
            let turn = tokio::time::timeout(patience, turns.acquire_owned()).await;
            turn.map_err(|_| Crowded)?.map_err(|_| Crowded)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.lanes.queues();
        if let Some(queue) = queues.get_mut(&self.lane) {
            queue.places -= 1;
            if queue.places == 0 {
                queues.remove(&self.lane);
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
        let places: Vec<_> = (0..limits::LANE_PLACES_MAX).map(|_| lanes.join(Lane::Channel(1))).collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(matches!(lanes.enter(Lane::Channel(1)).await, Err(Crowded)));
        assert!(lanes.enter(Lane::Channel(2)).await.is_ok());
    }
}
