//! The tasks of a node, and work that is finished though nobody waits for it any more.
//!
//! - [`Tasks::run`]: parts of the node that run for as long as it does. One that ends or panics leaves a node that looks well
//!   and is not: it is logged, counted, told to `/readyz`, and the node leaves so that its supervisor starts it again (main.rs).
//! - [`Tasks::restart`]: jobs that hold nothing and can simply begin anew.
//! - [`Tasks::finish`]: a request. Its future is dropped when the client hangs up or its time is over; from its first change on
//!   ([`begin`]) the rest of it runs in a task of its own instead. Until then nothing has happened and it ends there, and with it
//!   the statement that it was waiting for (store.rs).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::SetOnce;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits;

tokio::task_local! {
    /// Has the work that is being polled begun to change something?
    static BEGUN: Cell<bool>;
}

/// Called before the first step of a change: the work that does it must now run to its end.
pub fn begin() {
    let _ = BEGUN.try_with(|begun| begun.set(true));
}

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// All tasks of a node. Clones share; the tasks end with the last one.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    running: Mutex<JoinSet<()>>,
    /// The first part of the node that has ended.
    failed: SetOnce<&'static str>,
    /// Work that goes on without those who wanted it.
    unfinished: TaskTracker,
    stopped: CancellationToken,
}

impl Tasks {
    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a part of the node that does not end before the node does.
    pub fn run(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let inner = Arc::downgrade(&self.0);
        self.running().spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            if let Some(inner) = inner.upgrade().filter(|inner| !inner.stopped.is_cancelled()) {
                tell_of_end(name, ended.is_err());
                let _ = inner.failed.set(name);
            }
        });
    }

    /// Runs a job that can begin anew at any time, and does so whenever it ends.
    pub fn restart<W>(&self, name: &'static str, job: impl Fn() -> W + Send + 'static)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        self.run(name, async move {
            loop {
                let ended = AssertUnwindSafe(job()).catch_unwind().await;
                tell_of_end(name, ended.is_err());
                tokio::time::sleep(limits::RESTART_PAUSE).await;
            }
        });
    }

    /// The part of the node that has ended, if one has.
    pub fn failed(&self) -> Option<&'static str> {
        self.0.failed.get().copied()
    }

    /// Returns when a part of the node has ended: its name.
    pub async fn failure(&self) -> &'static str {
        self.0.failed.wait().await
    }

    /// Work that runs to its end once it has begun to change something, whoever stops waiting for it.
    pub fn finish<W>(&self, work: W) -> Finish<W>
    where
        W: Future + Send + 'static,
    {
        Finish { tasks: self.clone(), work: Some(Box::pin(work)), begun: false }
    }

    /// Runs work that nobody waits for. It has a bound: what hangs must not hold its connections and locks for ever.
    pub fn see_through(&self, work: impl Future + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let stopped = self.0.stopped.clone();
        let work = async move {
            let bounded = tokio::time::timeout(limits::UNFINISHED_WORK, AssertUnwindSafe(work).catch_unwind());
            tokio::select! {
                ended = bounded => match ended {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => tracing::error!("work that nobody waited for panicked"),
                    Err(_) => tracing::error!("work that nobody waited for took too long and was given up"),
                },
                () = stopped.cancelled() => {}
            }
        };
        drop(self.0.unfinished.spawn_on(work, &runtime));
    }

    /// Waits until no work is left that nobody waits for.
    pub async fn unfinished(&self) {
        self.0.unfinished.close();
        self.0.unfinished.wait().await;
        self.0.unfinished.reopen();
    }

    /// Ends everything where it is.
    pub async fn stop(&self) {
        self.0.stopped.cancel();
        let mut running = std::mem::take(&mut *self.running());
        // A task that computes and never waits does not hear that it is to end.
        if tokio::time::timeout(limits::STOP_PATIENCE, running.shutdown()).await.is_err() {
            tracing::warn!("a task did not stop");
            running.detach_all();
        }
    }
}

fn tell_of_end(name: &'static str, panicked: bool) {
    tracing::error!(task = name, panicked, "a background task has ended");
    metrics::counter!("millrace_tasks_ended_total", "task" => name).increment(1);
}

/// See [`Tasks::finish`].
pub struct Finish<W: Future + Send + 'static> {
    tasks: Tasks,
    /// Taken out while it is polled: what has panicked is not polled again.
    work: Option<Pin<Box<W>>>,
    begun: bool,
}

impl<W: Future + Send + 'static> Future for Finish<W> {
    type Output = Result<W::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(mut work) = this.work.take() else { return Poll::Ready(Err(Panicked)) };
        let polled = BEGUN.sync_scope(Cell::new(this.begun), || {
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
            this.begun = BEGUN.with(Cell::get);
            polled
        });
        match polled {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => {
                this.work = Some(work);
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

impl<W: Future + Send + 'static> Drop for Finish<W> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take().filter(|_| self.begun) {
            metrics::counter!("millrace_requests_abandoned_total").increment(1);
            self.tasks.see_through(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Polls work once and drops it; then lets it go on. True if it came to its end.
    async fn ends_when_dropped(begins: bool) -> bool {
        let tasks = Tasks::default();
        let (go, wait) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let work = tasks.finish(async move {
            if begins {
                begin();
            }
            let _ = wait.await;
            let _ = end.send(());
        });
        assert!(work.now_or_never().is_none(), "it waits");
        let _ = go.send(());
        tasks.unfinished().await;
        ended.await.is_ok()
    }

    #[tokio::test]
    async fn what_has_begun_is_finished_and_what_has_not_is_dropped() {
        assert!(ends_when_dropped(true).await);
        assert!(!ends_when_dropped(false).await);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let panics = async { panic!("as it is meant to") };
        assert_eq!(Tasks::default().finish(panics).await, Err::<(), _>(Panicked));
    }

    #[tokio::test]
    async fn a_part_that_ends_is_told() {
        let tasks = Tasks::default();
        tasks.run("lives", std::future::pending());
        assert_eq!(tasks.failed(), None);
        tasks.run("dies", async { panic!("as it is meant to") });
        assert_eq!(tasks.failure().await, "dies");
        tasks.stop().await;
    }

    #[tokio::test]
    async fn a_job_begins_anew() {
        let tasks = Tasks::default();
        let (count, (again, mut begun)) = (AtomicU32::new(0), tokio::sync::mpsc::unbounded_channel());
        tasks.restart("job", move || {
            let _ = again.send(count.fetch_add(1, Ordering::Relaxed));
            async { panic!("as it is meant to") }
        });
        assert_eq!((begun.recv().await, begun.recv().await), (Some(0), Some(1)));
        assert_eq!(tasks.failed(), None);
        tasks.stop().await;
    }
}
