//! The group commit: how new messages are written.
//!
//! Channels hash to a few writers. A writer takes everything that is waiting, writes it with one statement, answers each
//! sender after the commit, and announces in commit order. There is no timer: a batch is what arrived while the commit
//! before was on its way, so an idle server adds no delay and a busy one pays one flush for a hundred messages.
//!
//! The statement moves each channel's head once (the only lock it takes, in the order of keys), unless rights have been taken
//! away there since the messages were allowed (docs/adr/0022). It derives every row's number and time from the head, and inserts
//! messages and log entries. Times are Postgres's: the JSON comes with a token where the time belongs
//! ([`Timestamp::AT_COMMIT`]) and both sides put the same text there.
//!
//! Nobody waits for what concerns others. A channel that somebody else has locked stands aside with all its messages while
//! the others go on (`aside`). A bad row fails alone: the batch is written in halves until it is by itself. After a lost
//! connection the batch is written again: ids are unique, so what had been written all the same is found, not repeated.
//!
//! Replies and pinned messages change a second row and take the general path instead (`ChannelWrite::insert_message`).

mod aside;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use wire::Timestamp;

use self::aside::Aside;
use super::connection::{self, Patience, within};
use super::messages::{Effects, Message, NewMessage};
use super::{Address, Result, Store, StoreError};
use crate::budget::{Budget, Share};
use crate::events::{Audience, Event};
use crate::tasks::{self, Tasks};
use crate::{limits, telemetry};

/// Takes events after their commit, in order.
#[async_trait]
pub trait Announce: Send + Sync {
    async fn announce(&self, events: Vec<Event>);
}

/// A message on its way to a writer.
#[derive(Debug)]
pub struct Append {
    pub channel_id: i64,
    /// The channel's number of rights by which it was allowed ([`super::channels::Channel::rights`]).
    pub rights: i64,
    pub message: NewMessage,
    pub effects: Effects,
    /// The event, with [`Timestamp::AT_COMMIT`] where the time belongs.
    pub body: String,
    /// If not empty: the only watchers who hear it.
    pub only_for: Vec<String>,
}

impl Append {
    /// What it holds, about: the message is in the event, and beside it.
    fn bytes(&self) -> usize {
        2 * self.body.len()
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    Stored {
        at: Timestamp,
        /// The author had a draft for the channel; it is gone.
        ended_draft: bool,
    },
    /// The id was taken by this message.
    Duplicate(Box<Message>),
    /// Rights have been taken away in the channel since it was allowed, or the channel is gone: to be asked again.
    Outdated(Box<Append>),
}

type Answer = Result<Outcome>;

struct Job {
    append: Append,
    answer: oneshot::Sender<Answer>,
    /// Of what may wait, until it is announced or refused.
    share: Share,
    /// Since when its channel was locked by somebody else.
    aside_since: Option<Instant>,
}

/// The way to the writers. When the last clone is gone they finish what waits and stop.
#[derive(Clone)]
pub struct Appender {
    writers: Arc<[mpsc::Sender<Job>]>,
    room: Arc<Budget>,
    hasher: RandomState,
}

impl Appender {
    /// Starts the writers.
    pub fn start(store: &Store, writers: usize, announce: Arc<dyn Announce>, tasks: &Tasks) -> Self {
        let senders = (0..writers)
            .map(|_| {
                let (sender, inbox) = mpsc::channel(limits::APPEND_QUEUE_MAX);
                let (stored, committed) = mpsc::channel(limits::ANNOUNCE_BATCHES_MAX);
                let writer =
                    Writer { address: store.address.clone(), connection: None, stored, aside: Aside::default() };
                tasks.run("writer", writer.run(inbox));
                tasks.run("announcer", announce_all(committed, announce.clone()));
                sender
            })
            .collect();
        Self { writers: senders, room: Budget::new(limits::APPEND_QUEUE_BYTES_MAX), hasher: RandomState::new() }
    }

    /// Writes a message and waits for its commit.
    ///
    /// # Errors
    /// Postgres. After `Locked` nothing was written. After `Unavailable` the message may have been written or not; sending it
    /// again with its id is safe.
    pub async fn append(&self, append: Append) -> Answer {
        telemetry::count_query();
        let share = self.room.wait(append.bytes()).await;
        tasks::begin();
        let writer = self.hasher.hash_one(append.channel_id) as usize % self.writers.len();
        let (answer, wait) = oneshot::channel();
        let closed = || StoreError::Unavailable(sqlx::Error::WorkerCrashed);
        self.writers[writer].send(Job { append, answer, share, aside_since: None }).await.map_err(|_| closed())?;
        wait.await.map_err(|_| closed())?
    }
}

struct Writer {
    address: Address,
    connection: Option<PgConnection>,
    /// To the task that announces, in commit order, while the next batch is written.
    stored: mpsc::Sender<Vec<Stored>>,
    aside: Aside,
}

/// Where a batch's row came to stand.
#[derive(sqlx::FromRow)]
struct Placed {
    /// Position in the batch, from 1.
    position: i64,
    number: i64,
    at: Timestamp,
    ended_draft: bool,
}

/// A message that is written, with its share of what may wait.
type Stored = (Append, Placed, Share);

/// What helps after a batch was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// Some ids are taken: their senders are answered with what is there.
    AnswerDuplicates,
    /// Somebody holds a lock: whoever it is that waits for it stands aside.
    StandAside,
    /// It lost to another transaction: the same once more.
    Again,
    /// The connection is gone. Whether the batch was written or not: the same once more, on a new one.
    Reconnect,
    /// There is something wrong with one of the rows.
    Split,
    /// Trying again would only make it worse.
    GiveUp,
}

impl Remedy {
    fn after(error: &StoreError) -> Self {
        match error {
            StoreError::Conflict(constraint) if constraint == "messages_id" => Self::AnswerDuplicates,
            StoreError::Locked => Self::StandAside,
            StoreError::Unavailable(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                Self::GiveUp
            }
            StoreError::Unavailable(sqlx::Error::Database(error)) => match error.code().as_deref() {
                Some(code) if code.starts_with("40") => Self::Again,
                // The statement took too long, or the disk, the memory or the connections are used up.
                Some(code) if code == "57014" || code.starts_with("53") => Self::GiveUp,
                _ => Self::Reconnect,
            },
            StoreError::Unavailable(_) => Self::Reconnect,
            _ => Self::Split,
        }
    }
}

impl Writer {
    async fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let queue = metrics::gauge!("millrace_append_queue");
        let mut waiting = Vec::with_capacity(limits::APPEND_BATCH_MAX);
        loop {
            let arrived = inbox.recv_many(&mut waiting, limits::APPEND_BATCH_MAX);
            let is_open = match self.aside.next_look() {
                None => arrived.await > 0,
                Some(at) => tokio::select! {
                    count = arrived => count > 0,
                    () = tokio::time::sleep_until(at.into()) => true,
                },
            };
            if !is_open {
                return;
            }
            queue.set(inbox.len() as f64);
            self.write_all(std::mem::take(&mut waiting)).await;
            if self.aside.next_look().is_some_and(|at| at <= Instant::now()) {
                self.look_aside().await;
            }
        }
    }

    /// The same id twice in one batch: the second finds the first, in the round after.
    async fn write_all(&mut self, mut waiting: Vec<Job>) {
        while !waiting.is_empty() {
            let mut ids = HashSet::new();
            let (batch, again) = std::mem::take(&mut waiting)
                .into_iter()
                .partition(|job: &Job| ids.insert(job.append.message.id.clone()));
            waiting = again;
            self.write(batch).await;
        }
    }

    /// Writes a batch, whole if that is possible; what cannot be written does not keep the rest from it.
    async fn write(&mut self, batch: Vec<Job>) {
        let mut retries = 0;
        // What is still to be written; the last part is the next.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let (mut part, too_many) = self.aside.divert(part);
            refuse(too_many, StoreError::Locked);
            if part.is_empty() {
                continue;
            }
            let error = match self.write_at_once(&part).await {
                Ok(placed) => {
                    self.settle(part, placed).await;
                    continue;
                }
                Err(error) => error,
            };
            match Remedy::after(&error) {
                Remedy::StandAside => parts.extend(self.stand_aside(part).await),
                Remedy::AnswerDuplicates if retries < limits::APPEND_RETRIES_MAX => {
                    let count = part.len();
                    if let Some(rest) = self.answer_duplicates(part).await {
                        // Nobody's is taken: it was until just now.
                        retries += u32::from(rest.len() == count);
                        parts.push(rest);
                    }
                }
                remedy @ (Remedy::Again | Remedy::Reconnect) if retries < limits::APPEND_RETRIES_MAX => {
                    retries += 1;
                    if remedy == Remedy::Reconnect {
                        self.connection = None;
                    }
                    tokio::time::sleep(limits::APPEND_RETRY_PAUSE).await;
                    parts.push(part);
                }
                Remedy::Split if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                _ => {
                    if matches!(error, StoreError::Unavailable(_)) {
                        self.connection = None;
                        tracing::warn!(%error, messages = part.len(), "a batch was not written");
                    }
                    refuse(part, error);
                }
            }
        }
    }

    /// Puts the messages aside that wait for a lock, and gives back the others.
    async fn stand_aside(&mut self, part: Vec<Job>) -> Vec<Vec<Job>> {
        let mut channels: Vec<i64> = part.iter().map(|job| job.append.channel_id).collect();
        channels.sort_unstable();
        channels.dedup();
        let locked = match self.locked_heads(&channels).await {
            Ok(locked) => locked,
            Err(error) => {
                self.connection = None;
                refuse(part, error);
                return Vec::new();
            }
        };
        if locked.is_empty() && channels.len() > 1 {
            // It is free by now, or the lock is of something else than a head: whose it is shows when each is by itself.
            let middle = channels[channels.len() / 2];
            let (these, those) = part.into_iter().partition(|job| job.append.channel_id < middle);
            return vec![those, these];
        }
        let (aside, rest): (Vec<_>, Vec<_>) =
            part.into_iter().partition(|job| locked.is_empty() || locked.contains(&job.append.channel_id));
        metrics::counter!("millrace_append_aside_total").increment(aside.len() as u64);
        self.aside.put(aside);
        vec![rest]
    }

    /// Writes what stands aside and need not any more.
    async fn look_aside(&mut self) {
        let (channels, late) = self.aside.look();
        refuse(late, StoreError::Locked);
        match self.locked_heads(&channels).await {
            Ok(locked) => {
                let free: Vec<i64> = channels.into_iter().filter(|channel| !locked.contains(channel)).collect();
                let back = self.aside.take(&free);
                self.write_all(back).await;
            }
            // It stays aside until the next look, or until its time is over.
            Err(error) => {
                self.connection = None;
                tracing::warn!(%error, "channels that stand aside could not be looked at");
            }
        }
    }

    /// Which of these channels somebody else has locked. Those that are gone are not among them.
    async fn locked_heads(&mut self, channels: &[i64]) -> Result<Vec<i64>> {
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.connection().await?;
        let locked = async {
            let locked = sqlx::query_scalar(
                "WITH free AS (
                     SELECT channel_id FROM channel_heads WHERE channel_id = ANY($1) ORDER BY 1 FOR UPDATE SKIP LOCKED
                 )
                 SELECT channel_id FROM channel_heads
                 WHERE channel_id = ANY($1) AND channel_id <> ALL (ARRAY(SELECT channel_id FROM free))",
            );
            Ok(locked.bind(channels).fetch_all(connection).await?)
        };
        within(limits::APPEND_TIME, locked).await
    }

    /// Answers the senders whose ids are taken and gives back the others; nothing if Postgres went away.
    async fn answer_duplicates(&mut self, batch: Vec<Job>) -> Option<Vec<Job>> {
        let ids: Vec<&str> = batch.iter().map(|job| job.append.message.id.as_str()).collect();
        let connection = self.connection.as_mut()?;
        let taken = async {
            Ok(sqlx::query_as("SELECT * FROM messages WHERE id = ANY($1)").bind(ids).fetch_all(connection).await?)
        };
        let Ok(mut taken) = within::<Vec<Message>>(limits::APPEND_TIME, taken).await else {
            self.connection = None;
            return None;
        };
        let mut rest = Vec::with_capacity(batch.len());
        for job in batch {
            match taken.iter().position(|message| message.id == job.append.message.id) {
                Some(index) => {
                    let _ = job.answer.send(Ok(Outcome::Duplicate(Box::new(taken.swap_remove(index)))));
                }
                None => rest.push(job),
            }
        }
        Some(rest)
    }

    /// Answers everybody and leaves the announcing to others: senders have waited long enough.
    async fn settle(&self, batch: Vec<Job>, placed: Vec<Placed>) {
        let mut places: Vec<Option<Placed>> = Vec::new();
        places.resize_with(batch.len(), || None);
        for place in placed {
            let index = (place.position - 1) as usize;
            places[index] = Some(place);
        }
        let mut stored = Vec::with_capacity(batch.len());
        for (job, place) in batch.into_iter().zip(places) {
            let Some(place) = place else {
                let _ = job.answer.send(Ok(Outcome::Outdated(Box::new(job.append))));
                continue;
            };
            let _ = job.answer.send(Ok(Outcome::Stored { at: place.at, ended_draft: place.ended_draft }));
            stored.push((job.append, place, job.share));
        }
        // It ends after the writers do.
        let _ = self.stored.send(stored).await;
    }

    /// The writer's connection, opened if there is none.
    ///
    /// Its plans are made once and go by indexes: with the default settings the statement would be planned for nearly empty
    /// tables on a fresh database, and scan them for as long as the plan lives.
    async fn connection(&mut self) -> Result<&mut PgConnection> {
        const PLANS: &[(&str, &str)] = &[
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ];
        let patience = Patience { statement: limits::APPEND_STATEMENT_TIME, lock: limits::APPEND_LOCK_PATIENCE };
        Ok(match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connection::open(&self.address, patience, PLANS).await?),
        })
    }

    /// One statement, one round trip, one commit.
    async fn write_at_once(&mut self, batch: &[Job]) -> Result<Vec<Placed>> {
        let started = Instant::now();
        let mut columns = Columns::default();
        columns.fill(batch);
        let connection = self.connection().await?;
        let append = sqlx::query_as(APPEND)
            .bind(&columns.heads.channel_id)
            .bind(&columns.heads.messages)
            .bind(&columns.heads.counting)
            .bind(&columns.heads.shown_at)
            .bind(&columns.heads.moves_last)
            .bind(&columns.channel_id)
            .bind(&columns.id)
            .bind(&columns.user_id)
            .bind(&columns.kind)
            .bind(&columns.text)
            .bind(&columns.quoted_id)
            .bind(&columns.silent)
            .bind(&columns.shadowed)
            .bind(&columns.counts)
            .bind(&columns.data)
            .bind(&columns.body)
            .bind(&columns.only_for)
            .bind(&columns.rank)
            .bind(&columns.counted_rank)
            .bind(&columns.last_of_author)
            .bind(Timestamp::commit_token())
            .bind(&columns.heads.rights);
        let placed = within(limits::APPEND_TIME, async { Ok(append.fetch_all(connection).await?) }).await?;
        metrics::histogram!("millrace_append_batch_messages").record(batch.len() as f64);
        metrics::histogram!("millrace_append_commit_seconds").record(started.elapsed());
        Ok(placed)
    }
}

/// Announces batches in the order of their commits, until the writer is gone.
async fn announce_all(mut committed: mpsc::Receiver<Vec<Stored>>, announce: Arc<dyn Announce>) {
    while let Some(batch) = committed.recv().await {
        announce.announce(batch.into_iter().map(|(append, place, _)| event_of(append, place)).collect()).await;
    }
}

fn event_of(append: Append, place: Placed) -> Event {
    let only = (!append.only_for.is_empty()).then(|| append.only_for.into());
    Event {
        kind: "message.new".into(),
        audience: Audience::Channel { only },
        channel_id: Some(append.channel_id),
        number: Some(place.number),
        id: None,
        subject: Some(append.message.user_id),
        watcher_count: None,
        state: None,
        created_at: place.at,
        body: place.at.settle(&append.body).into(),
    }
}

/// Tells senders that their messages were not written. The first one hears the error itself, the others its kind.
fn refuse(jobs: Vec<Job>, error: StoreError) {
    let is_locked = matches!(error, StoreError::Locked);
    let mut first = Some(error);
    for job in jobs {
        let other = || if is_locked { StoreError::Locked } else { StoreError::Unavailable(sqlx::Error::WorkerCrashed) };
        let _ = job.answer.send(Err(first.take().unwrap_or_else(other)));
    }
}

/// The batch by columns, as Postgres takes it.
#[derive(Default)]
struct Columns {
    heads: HeadColumns,
    channel_id: Vec<i64>,
    id: Vec<String>,
    user_id: Vec<String>,
    kind: Vec<&'static str>,
    text: Vec<String>,
    quoted_id: Vec<Option<String>>,
    silent: Vec<bool>,
    shadowed: Vec<bool>,
    counts: Vec<bool>,
    data: Vec<Option<String>>,
    body: Vec<String>,
    only_for: Vec<Option<String>>,
    /// Place within the channel's part of the batch, from 1.
    rank: Vec<i64>,
    /// How many of them count as unread, up to this one.
    counted_rank: Vec<i64>,
    /// Is it the last one of its author in its channel?
    last_of_author: Vec<bool>,
}

/// One entry per channel of the batch, in the order of keys: that is the order in which the heads are locked.
#[derive(Default)]
struct HeadColumns {
    channel_id: Vec<i64>,
    messages: Vec<i64>,
    counting: Vec<i64>,
    /// Rank of the last message that brings the channel back, or 0.
    shown_at: Vec<i64>,
    moves_last: Vec<bool>,
    /// The least of what its messages were allowed by: if the head has another, all of them are asked again.
    rights: Vec<i64>,
}

impl Columns {
    fn fill(&mut self, batch: &[Job]) {
        let heads = &mut self.heads;
        heads.channel_id = batch.iter().map(|job| job.append.channel_id).collect();
        heads.channel_id.sort_unstable();
        heads.channel_id.dedup();
        let channels = heads.channel_id.len();
        heads.messages.resize(channels, 0);
        heads.counting.resize(channels, 0);
        heads.shown_at.resize(channels, 0);
        heads.moves_last.resize(channels, false);
        heads.rights.resize(channels, i64::MAX);
        for Job { append, .. } in batch {
            let message = &append.message;
            let head = heads.channel_id.binary_search(&append.channel_id).expect("every channel of the batch is there");
            heads.messages[head] += 1;
            heads.counting[head] += i64::from(message.counts);
            if append.effects.shows_channel {
                heads.shown_at[head] = heads.messages[head];
            }
            heads.moves_last[head] |= append.effects.moves_last_message;
            heads.rights[head] = heads.rights[head].min(append.rights);
            self.channel_id.push(append.channel_id);
            self.id.push(message.id.clone());
            self.user_id.push(message.user_id.clone());
            self.kind.push(message.kind);
            self.text.push(message.text.clone());
            self.quoted_id.push(message.quoted_id.clone());
            self.silent.push(message.silent);
            self.shadowed.push(message.shadowed);
            self.counts.push(message.counts);
            self.data.push(message.data.as_ref().and_then(|data| serde_json::to_string(data).ok()));
            self.body.push(append.body.clone());
            let only_for = (!append.only_for.is_empty()).then(|| serde_json::to_string(&append.only_for).ok());
            self.only_for.push(only_for.flatten());
            self.rank.push(heads.messages[head]);
            self.counted_rank.push(heads.counting[head]);
        }
        let mut seen = HashSet::new();
        self.last_of_author = batch
            .iter()
            .rev()
            .map(|job| seen.insert((job.append.channel_id, job.append.message.user_id.as_str())))
            .collect();
        self.last_of_author.reverse();
    }
}

const APPEND: &str = r#"
WITH moved AS (
    UPDATE channel_heads h SET
        message_seq = h.message_seq + i.messages,
        message_count = h.message_count + i.messages,
        counted = h.counted + i.counting,
        shown_seq = CASE WHEN i.shown_at = 0 THEN h.shown_seq ELSE h.message_seq + i.shown_at END,
        event_number = h.event_number + i.messages,
        event_at = greatest(now(), h.event_at + interval '1 microsecond') + (i.messages - 1) * interval '1 microsecond',
        last_message_at = CASE WHEN i.moves_last
            THEN greatest(now(), h.event_at + interval '1 microsecond') + (i.messages - 1) * interval '1 microsecond'
            ELSE h.last_message_at END
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $22::bigint[])
         AS i (channel_id, messages, counting, shown_at, moves_last, rights)
    WHERE h.channel_id = i.channel_id AND h.rights = i.rights
    RETURNING h.channel_id, h.message_seq - i.messages AS seq, h.counted - i.counting AS counted,
              h.event_number - i.messages AS number, h.event_at - i.messages * interval '1 microsecond' AS at
), placed AS MATERIALIZED (
    SELECT i.*, m.seq + i.rank AS seq, m.counted + i.counted_rank AS counted, m.number + i.rank AS number,
           m.at + i.rank * interval '1 microsecond' AS at
    FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::boolean[], $13::boolean[],
                $14::boolean[], $15::text[], $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::boolean[])
         WITH ORDINALITY AS i (channel_id, id, user_id, type, text, quoted_id, silent, shadowed, counts, data, body,
                               only_for, rank, counted_rank, last_of_author, position)
    JOIN moved m ON m.channel_id = i.channel_id
), stored AS (
    INSERT INTO messages (channel_id, seq, id, user_id, type, text, quoted_id, silent, shadowed, counts, counted, data,
                          created_at, updated_at)
    SELECT channel_id, seq, id, user_id, type, text, quoted_id, silent, shadowed, counts, counted, data::jsonb, at, at
    FROM placed
), logged AS (
    INSERT INTO events (channel_id, number, type, audience, subject, only_for, body, created_at)
    SELECT channel_id, number, 'message.new', 'channel', user_id,
           CASE WHEN only_for IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(only_for::jsonb)) END,
           replace(body, $21, '"' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'), at
    FROM placed
), read AS (
    UPDATE members m SET last_read_at = p.at, last_read_seq = p.seq, last_read_counted = p.counted,
                         last_read_message_id = p.id
    FROM placed p
    WHERE p.last_of_author AND m.channel_id = p.channel_id AND m.user_id = p.user_id
), ended AS (
    -- OFFSET 0: one probe for each author. Planned as a join, it would read every draft there is.
    DELETE FROM drafts d USING (
        SELECT p.position, x.place FROM placed p CROSS JOIN LATERAL (
            SELECT ctid AS place FROM drafts
            WHERE user_id = p.user_id AND channel_id = p.channel_id AND parent_id = '' OFFSET 0) x
        WHERE p.last_of_author) f
    WHERE d.ctid = f.place
    RETURNING f.position
)
SELECT position, number, at, position IN (SELECT position FROM ended) AS ended_draft FROM placed
"#;
