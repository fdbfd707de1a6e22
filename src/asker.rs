//! Who asks for what is being done.
//!
//! Nobody alone has all that everybody needs: of connections for reads, of filters, of uploads and of large bodies one asker has a
//! share (lanes.rs, docs/adr/0019). The edges say who it is as soon as they know ([`tell`]), and whoever shares something out looks
//! here. What runs in a task of its own is done for everybody and has no asker.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::lanes::{Crowded, Lane, Lanes, Place, Turn};

tokio::task_local! {
    static WORK: Work;
}

/// Those who have one share together. Guests and the anonymous have as many names as they like, so it is the address that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    User(Arc<str>),
    Guests(IpAddr),
    Anonymous(IpAddr),
}

impl Asker {
    /// Somebody for whom nobody vouches.
    pub fn is_stranger(&self) -> bool {
        !matches!(self, Self::User(_))
    }
}

/// What is being done, for as long as it is.
#[derive(Default)]
struct Work {
    /// `None` for a server, which shares with nobody.
    asker: OnceCell<Option<Asker>>,
    /// In the lane of the asker's reads, from the first one on.
    reads: OnceCell<Place>,
    kept: Cell<Vec<Turn>>,
}

/// Does work for somebody who is not known yet.
pub async fn unknown<T>(work: impl Future<Output = T>) -> T {
    WORK.scope(Work::default(), work).await
}

/// Does work for somebody.
pub async fn on_behalf<T>(asker: Option<Asker>, work: impl Future<Output = T>) -> T {
    WORK.scope(Work { asker: asker.into(), ..Work::default() }, work).await
}

/// Does what others wait for too: it waits for no turn of whoever happens to be the first to need it.
pub async fn for_everybody<T>(work: impl Future<Output = T>) -> T {
    on_behalf(None, work).await
}

/// Says who asks for what is being done, a server being nobody in particular.
pub fn tell(asker: Option<Asker>) {
    let _ = WORK.try_with(|work| work.asker.set(asker));
}

/// Has the asker proved who it is?
pub fn is_known() -> bool {
    let known = |work: &Work| work.asker.get().is_some_and(|asker| !matches!(asker, Some(Asker::Anonymous(_))));
    WORK.try_with(known).unwrap_or_default()
}

/// Who asks, if it is somebody who has a share.
pub fn current() -> Option<Asker> {
    WORK.try_with(|work| work.asker.get().cloned().flatten()).ok().flatten()
}

/// Keeps a turn until the work is done.
pub fn keep(turn: Turn) {
    let keep = |work: &Work| {
        let mut kept = work.kept.take();
        kept.push(turn);
        work.kept.set(kept);
    };
    let _ = WORK.try_with(keep);
}

/// Waits until one of the asker's may read from the pool, and lets it until what is given back is dropped.
///
/// # Errors
/// Too many of the asker's wait, or it took too long.
pub async fn turn_to_read(lanes: &Arc<Lanes>) -> Result<Option<OwnedSemaphorePermit>, Crowded> {
    let turn = WORK.try_with(|work| {
        let Some(Some(asker)) = work.asker.get() else { return Ok(None) };
        let place = match work.reads.get() {
            Some(place) => place,
            None => {
                let place = lanes.join(Lane::Reads(asker.clone()))?;
                work.reads.get_or_init(|| place)
            }
        };
        Ok(Some(place.turn()))
    });
    match turn {
        Ok(Ok(Some(turn))) => turn.await.map(Some),
        Ok(Err(crowded)) => Err(crowded),
        Ok(Ok(None)) | Err(_) => Ok(None),
    }
}
