//! Who asks for what is being done.
//!
//! Nobody alone has all that everybody needs: of connections for reads, of filters, of uploads, of large bodies and answers one asker has
//! a share (lanes.rs, docs/adr/0019). The edges say who it is as soon as they know ([`tell`]), and whoever shares something out looks
//! here. What runs in a task of its own is done for everybody and has no asker.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Kind};
use crate::lanes::{Crowded, Lane, Lanes, Place, Turn};

tokio::task_local! {
    static WORK: Work;
}

/// Those who have one share together. Guests and the anonymous have as many names as they like, and one may be both: it is the
/// address that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    User(Arc<str>),
    Strangers(IpAddr),
}

impl Asker {
    fn is_stranger(&self) -> bool {
        matches!(self, Self::Strangers(_))
    }
}

/// What is being done, for as long as it is.
#[derive(Default)]
struct Work {
    /// `None` for a server, which shares with nobody.
    asker: OnceCell<Option<Asker>>,
    /// Has somebody shown a token?
    has_token: Cell<bool>,
    /// In the lane of the asker's reads, from the first one on.
    reads: OnceCell<Place>,
    kept: Cell<Vec<Turn>>,
    /// Has it the turn of a large answer?
    answers: Cell<bool>,
    /// And one until that is sent.
    unsent: Cell<Option<Turn>>,
}

/// Does work for somebody who is not known yet.
pub fn unknown<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    WORK.scope(Work::default(), work)
}

/// Does work for somebody.
pub fn on_behalf<T>(asker: Option<Asker>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    WORK.scope(Work { asker: asker.into(), ..Work::default() }, work)
}

/// Does what others wait for too: it waits for no turn of whoever happens to be the first to need it.
pub fn for_everybody<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    on_behalf(None, work)
}

/// Says who asks for what is being done, a server being nobody in particular.
pub fn tell(asker: Option<Asker>, has_token: bool) {
    let _ = WORK.try_with(|work| {
        let _ = work.asker.set(asker);
        work.has_token.set(has_token);
    });
}

/// Has the asker proved who it is?
pub fn is_known() -> bool {
    WORK.try_with(|work| work.has_token.get()).unwrap_or_default()
}

/// Does somebody ask for whom nobody vouches?
pub fn is_stranger() -> bool {
    WORK.try_with(|work| work.asker.get().is_some_and(|asker| asker.as_ref().is_some_and(Asker::is_stranger)))
        .unwrap_or_default()
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

/// Waits for the turn to make a large answer, which lasts until the work is done, and among those that are not sent yet
/// ([`take_unsent`]). Work has one such turn, however much it answers.
///
/// # Errors
/// Too many wait, or it took too long (9).
pub async fn turn_to_answer(lanes: &Arc<Lanes>) -> Result<(), Error> {
    let Some(asker) = current() else { return Ok(()) };
    if WORK.try_with(|work| work.answers.replace(true)).unwrap_or(true) {
        return Ok(());
    }
    let crowded =
        |_| Error::new(Kind::RateLimited, "too many large answers at once: take those that you have asked for first");
    let unsent = lanes.enter(Lane::Unsent(asker.clone())).await.map_err(crowded)?;
    keep(lanes.enter(Lane::Answers(asker)).await.map_err(crowded)?);
    keep(lanes.enter(Lane::AllAnswers).await.map_err(crowded)?);
    let _ = WORK.try_with(|work| work.unsent.set(Some(unsent)));
    Ok(())
}

/// The turn of a large answer among those that are not sent yet, for whoever sends it.
pub fn take_unsent() -> Option<Turn> {
    WORK.try_with(|work| work.unsent.take()).ok().flatten()
}

/// Waits until one of the asker's may read from the pool, and lets it until what is given back is dropped.
///
/// # Errors
/// Too many of the asker's wait, or it took too long.
pub async fn turn_to_read(lanes: &Arc<Lanes>) -> Result<Option<OwnedSemaphorePermit>, Crowded> {
    let turn = WORK.try_with(|work| {
        let Some(Some(asker)) = work.asker.get() else { return Ok(None) };
        let place = if let Some(place) = work.reads.get() {
            place
        } else {
            let place = lanes.join(Lane::Reads(asker.clone()))?;
            work.reads.get_or_init(|| place)
        };
        Ok(Some(place.turn()))
    });
    match turn {
        Ok(Ok(Some(turn))) => turn.await.map(Some),
        Ok(Err(crowded)) => Err(crowded),
        Ok(Ok(None)) | Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;
    use crate::limits;

    fn user(id: &str) -> Asker {
        Asker::User(id.into())
    }

    #[tokio::test]
    async fn one_asker_waits_and_nobody_else() {
        let lanes: Arc<Lanes> = Arc::default();
        let ada = async {
            let turns = join_all((0..limits::READS_AT_ONCE_MAX).map(|_| turn_to_read(&lanes))).await;
            assert!(turns.iter().all(|turn| matches!(turn, Ok(Some(_)))));
            assert!(turn_to_read(&lanes).now_or_never().is_none());
            assert!(
                on_behalf(Some(user("ada")), turn_to_read(&lanes)).now_or_never().is_none(),
                "another request of hers"
            );
            assert!(matches!(for_everybody(turn_to_read(&lanes)).now_or_never(), Some(Ok(None))));
            assert!(matches!(on_behalf(Some(user("grace")), turn_to_read(&lanes)).now_or_never(), Some(Ok(Some(_)))));
            drop(turns);
            assert!(matches!(turn_to_read(&lanes).now_or_never(), Some(Ok(Some(_)))));
        };
        on_behalf(Some(user("ada")), ada).await;
        assert!(matches!(turn_to_read(&lanes).await, Ok(None)), "what nobody asked for");
    }

    #[tokio::test]
    async fn what_is_kept_is_given_up_with_the_work() {
        let lanes: Arc<Lanes> = Arc::default();
        let large = || lanes.enter(Lane::Bodies(user("ada")));
        let work = async {
            for _ in 0..limits::LARGE_BODIES_AT_ONCE_MAX {
                keep(large().await.unwrap());
            }
            assert!(large().now_or_never().is_none());
        };
        unknown(work).await;
        assert!(large().now_or_never().is_some());
    }

    #[tokio::test]
    async fn large_answers_of_one_wait_for_each_other() {
        let lanes: Arc<Lanes> = Arc::default();
        let first = async {
            // However much one request answers, it has one turn, and waits for no other.
            turn_to_answer(&lanes).await.unwrap();
            turn_to_answer(&lanes).await.unwrap();
            assert!(on_behalf(Some(user("ada")), turn_to_answer(&lanes)).now_or_never().is_none());
            assert!(on_behalf(Some(user("grace")), turn_to_answer(&lanes)).now_or_never().is_some());
            assert!(on_behalf(None, turn_to_answer(&lanes)).now_or_never().is_some(), "a server");
            take_unsent()
        };
        let mut unsent = vec![on_behalf(Some(user("ada")), first).await];
        for _ in 1..limits::LARGE_ANSWERS_UNSENT_MAX {
            let more = async { turn_to_answer(&lanes).await.map(|()| take_unsent()).unwrap() };
            unsent.push(on_behalf(Some(user("ada")), more).await);
        }
        assert!(on_behalf(Some(user("ada")), turn_to_answer(&lanes)).now_or_never().is_none(), "they are not sent yet");
        unsent.pop();
        assert!(on_behalf(Some(user("ada")), turn_to_answer(&lanes)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn nobody_is_known_before_it_is_told() {
        let work = async {
            assert!(!is_known() && current().is_none());
            tell(Some(Asker::Strangers([192, 0, 2, 1].into())), false);
            assert!(!is_known() && is_stranger());
        };
        unknown(work).await;
        let server = async {
            tell(None, true);
            assert!(is_known() && current().is_none() && !is_stranger());
        };
        unknown(server).await;
    }
}
