//! Messages that stand aside: their channel is locked by somebody else, and the other channels of the writer go on.
//!
//! A channel stands aside whole. What comes for it later queues behind, so that its messages keep their order, and it comes back
//! whole when its head is free. If it has to stand aside again, because the lock is of something else than its head, it comes back
//! later each time: each attempt makes the others wait for that lock too.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::Job;
use crate::limits;

#[derive(Default)]
pub(super) struct Aside {
    channels: HashMap<i64, Queue>,
    /// When the heads were looked at last.
    looked: Option<Instant>,
}

/// The messages of one channel.
struct Queue {
    jobs: VecDeque<Job>,
    /// What they hold.
    bytes: usize,
    /// Not to be tried again before.
    rests_until: Instant,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.jobs.len() < limits::APPEND_ASIDE_MAX && self.bytes < limits::APPEND_ASIDE_BYTES_MAX
    }
}

impl Aside {
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Puts messages that could not be written aside, before what came for their channels since.
    pub fn put(&mut self, jobs: Vec<Job>) {
        let now = Instant::now();
        self.looked.get_or_insert(now);
        for mut job in jobs.into_iter().rev() {
            let since = *job.aside_since.get_or_insert(now);
            let queue = self.channels.entry(job.append.channel_id);
            let queue = queue.or_insert_with(|| Queue { jobs: VecDeque::new(), bytes: 0, rests_until: now });
            queue.rests_until = now + (now - since).min(limits::APPEND_ASIDE_REST_MAX);
            queue.bytes += job.append.bytes();
            queue.jobs.push_front(job);
        }
    }

    /// Keeps the messages whose channels stand aside, and gives back the others, and those that are too many.
    pub fn divert(&mut self, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
        let (mut go_on, mut too_many) = (jobs, Vec::new());
        if self.is_empty() {
            return (go_on, too_many);
        }
        let now = Instant::now();
        for mut job in std::mem::take(&mut go_on) {
            match self.channels.get_mut(&job.append.channel_id) {
                Some(queue) if queue.has_room() => {
                    queue.bytes += job.append.bytes();
                    job.aside_since = Some(now);
                    queue.jobs.push_back(job);
                }
                Some(_) => too_many.push(job),
                None => go_on.push(job),
            }
        }
        (go_on, too_many)
    }

    /// When to look at the heads again; `None` if nothing stands aside.
    pub fn next_look(&self) -> Option<Instant> {
        self.looked.filter(|_| !self.is_empty()).map(|looked| looked + limits::APPEND_ASIDE_EVERY)
    }

    /// The channels that stand aside and may be tried again, and those messages that have stood aside for too long.
    pub fn look(&mut self) -> (Vec<i64>, Vec<Job>) {
        let now = Instant::now();
        self.looked = Some(now);
        let mut late = Vec::new();
        for queue in self.channels.values_mut() {
            let is_late = |job: &Job| job.aside_since.is_some_and(|since| now >= since + limits::APPEND_ASIDE_WAIT);
            let count = queue.jobs.iter().take_while(|job| is_late(job)).count();
            let before = late.len();
            late.extend(queue.jobs.drain(..count));
            queue.bytes -= late[before..].iter().map(|job| job.append.bytes()).sum::<usize>();
        }
        self.channels.retain(|_, queue| !queue.jobs.is_empty());
        let rested = self.channels.iter().filter(|(_, queue)| queue.rests_until <= now);
        (rested.map(|(channel, _)| *channel).collect(), late)
    }

    /// Takes back the messages of channels that are free, about as many as one batch holds.
    pub fn take(&mut self, free: &[i64]) -> Vec<Job> {
        let mut jobs = Vec::new();
        for channel in free {
            if jobs.len() >= limits::APPEND_BATCH_MAX {
                break;
            }
            jobs.extend(self.channels.remove(channel).into_iter().flat_map(|queue| queue.jobs));
        }
        jobs
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::Append;
    use super::*;
    use crate::budget::Budget;
    use crate::store::messages::{Effects, NewMessage};

    fn job(channel_id: i64, id: &str) -> Job {
        let message = NewMessage {
            id: id.into(),
            user_id: "ada".into(),
            kind: "regular",
            text: String::new(),
            parent_id: None,
            show_in_channel: false,
            quoted_id: None,
            silent: false,
            shadowed: false,
            counts: true,
            data: None,
            pinned_by: None,
            pin_expires: None,
        };
        let effects = Effects { shows_channel: true, moves_last_message: true };
        let append = Append { channel_id, rights: 0, message, effects, body: String::new(), only_for: Vec::new() };
        let share = Budget::new(1).take(1).unwrap();
        Job { append, answer: oneshot::channel().0, share, aside_since: None }
    }

    fn ids(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.append.message.id.as_str()).collect()
    }

    #[test]
    fn a_channel_keeps_its_order_however_often_it_stands_aside() {
        let mut aside = Aside::default();
        aside.put(vec![job(1, "a"), job(2, "x"), job(1, "b")]);
        let (go_on, _) = aside.divert(vec![job(1, "c"), job(3, "z"), job(1, "d")]);
        assert_eq!(ids(&go_on), ["z"]);
        let taken = aside.take(&[1]);
        assert_eq!(ids(&taken), ["a", "b", "c", "d"]);
        aside.put(taken);
        aside.divert(vec![job(1, "e")]);
        assert_eq!(ids(&aside.take(&[1])), ["a", "b", "c", "d", "e"]);
        assert_eq!(aside.look().0, [2]);
        assert_eq!(ids(&aside.take(&[2])), ["x"]);
        assert!(aside.is_empty() && aside.next_look().is_none());
    }

    #[test]
    fn a_channel_that_stands_aside_again_comes_back_later() {
        let mut aside = Aside::default();
        let mut again = job(1, "again");
        again.aside_since = Some(Instant::now().checked_sub(limits::APPEND_ASIDE_REST_MAX).unwrap());
        aside.put(vec![again, job(2, "first")]);
        aside.divert(vec![job(1, "behind")]);
        assert_eq!(aside.look().0, [2]);
        assert_eq!(ids(&aside.take(&[1])), ["again", "behind"]);
        assert_eq!(aside.look().1.len(), 0, "it is not too late for it");
    }

    #[test]
    fn one_channel_has_only_so_much_room() {
        let mut aside = Aside::default();
        aside.put(vec![job(1, "first"), job(2, "other")]);
        let (go_on, too_many) = aside.divert((0..limits::APPEND_ASIDE_MAX).map(|_| job(1, "more")).collect());
        assert_eq!((go_on.len(), too_many.len()), (0, 1));
        let (_, too_many) = aside.divert(vec![job(2, "more")]);
        assert!(too_many.is_empty());
        // In bytes, too.
        let mut large = job(2, "large");
        large.append.body = "x".repeat(limits::APPEND_ASIDE_BYTES_MAX);
        aside.divert(vec![large]);
        let (_, too_many) = aside.divert(vec![job(2, "one more")]);
        assert_eq!(ids(&too_many), ["one more"]);
        assert_eq!(aside.take(&[2]).len(), 3);
        aside.put(vec![job(2, "again")]);
        assert!(aside.divert(vec![job(2, "behind")]).1.is_empty(), "they have taken their bytes with them");
    }
}
