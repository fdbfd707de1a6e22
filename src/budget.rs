//! Room in bytes for what waits.
//!
//! Queues count entries, and one entry may be a thousand times as large as another. So what waits takes a share of a budget
//! before it comes into a queue, and gives it back when it is dropped. Where there is no room it is as where the queue is
//! full: whoever brings something waits, or it is dropped. Taking a share and giving it back are one atomic step each; only
//! while somebody waits is anybody woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

pub struct Budget {
    most: usize,
    taken: AtomicUsize,
    /// Those who wait for room.
    waiting: AtomicUsize,
    freed: Notify,
}

/// Bytes of a budget, until it is dropped.
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Somebody waits, for as long as this is there.
struct Waiting<'a>(&'a Budget);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0), waiting: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// A share, if there is room for it. For something by itself there always is.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let add = |taken: usize| (taken == 0 || taken.saturating_add(bytes) <= self.most).then(|| taken + bytes);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).ok()?;
        Some(Share { budget: self.clone(), bytes })
    }

    /// A share, as soon as there is room for it.
    pub async fn wait(self: &Arc<Self>, bytes: usize) -> Share {
        if let Some(share) = self.take(bytes) {
            return share;
        }
        // Counted before it is looked again: whoever gives back in between sees that somebody waits.
        let _waiting = Waiting::among(self);
        loop {
            if let Some(share) = self.take(bytes) {
                // There may be room for the next one too.
                self.freed.notify_one();
                return share;
            }
            self.freed.notified().await;
        }
    }

    #[cfg(test)]
    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.budget.waiting.load(Ordering::SeqCst) > 0 {
            self.budget.freed.notify_one();
        }
    }
}

impl<'a> Waiting<'a> {
    fn among(budget: &'a Budget) -> Self {
        budget.waiting.fetch_add(1, Ordering::SeqCst);
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_is_never_more_than_the_bound(steps in prop::collection::vec((1_usize..60, any::<bool>()), 0..200)) {
            let budget = Budget::new(100);
            let mut shares: Vec<Share> = Vec::new();
            for (bytes, comes) in steps {
                let before: usize = shares.iter().map(|share| share.bytes).sum();
                if comes {
                    let share = budget.take(bytes);
                    prop_assert_eq!(share.is_some(), before + bytes <= 100);
                    shares.extend(share);
                } else {
                    shares.pop();
                }
                prop_assert_eq!(budget.taken(), shares.iter().map(|share| share.bytes).sum::<usize>());
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_bound_waits_until_it_is_alone() {
        let budget = Budget::new(100);
        let small = budget.take(1).unwrap();
        assert!(budget.take(1_000).is_none());
        drop(small);
        let _large = budget.take(1_000).unwrap();
        assert!(budget.take(1).is_none());
    }

    #[tokio::test]
    async fn all_who_wait_come_in() {
        let budget = Budget::new(100);
        let all = (0..1_000).map(|number| {
            let budget = budget.clone();
            tokio::spawn(async move {
                let _share = budget.wait(1 + number % 70).await;
                tokio::task::yield_now().await;
            })
        });
        for done in join_all(all).await {
            done.unwrap();
        }
        assert_eq!(budget.taken(), 0);
    }

    #[tokio::test]
    async fn who_stops_waiting_keeps_nobody_else_from_it() {
        let budget = Budget::new(100);
        let all = budget.take(100).unwrap();
        let (mut gone, mut stays) = (Box::pin(budget.wait(50)), Box::pin(budget.wait(50)));
        assert!((&mut gone).now_or_never().is_none() && (&mut stays).now_or_never().is_none());
        drop(all);
        drop(gone);
        stays.await;
    }
}
