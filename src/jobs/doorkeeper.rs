//! Closes doors: sockets whose tokens were revoked, whose users are gone, or who watch what they may no longer read.
//!
//! Whoever leaves a channel is let go while the event that tells of it waits. Everything else is a doubt (access/revocation.rs)
//! that is looked into from what is true now, some hundred watches at a time; one that cannot be looked into, because Postgres is
//! away, is raised again. Doubts of one kind never wait for those of another: closing a socket is quick, looking at all that
//! everybody watches is not. Sockets whose token ends are closed by the worker that they live in (realtime/registry.rs).
//!
//! A right ends in the workers, which wait for nobody. That somebody no longer watches is told afterwards, to the engine and to
//! those who still watch, and nobody here waits for that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::access::app::App;
use crate::access::caller::{ANONYMOUS_ROLE, is_revoked};
use crate::access::channel::which_are_readable;
use crate::access::revocation::{Doubts, Facts, Waiting, same_rights};
use crate::chat::channels::watch;
use crate::chat::users::connect::check_active;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::announce::Left;
use crate::limits;
use crate::realtime::{CloseReason, Connection};
use crate::store::users::User;

/// Runs until it is dropped.
pub async fn run(ctx: Arc<Ctx>, leaving: UnboundedReceiver<Left>, doubts: Arc<Doubts>) {
    let (stopped, untold) = unbounded_channel();
    let doorkeeper = Doorkeeper { ctx: &ctx, doubts: &doubts, stopped };
    tokio::join!(
        doorkeeper.let_go(leaving),
        doorkeeper.close_sockets(),
        doorkeeper.look_at_channels(),
        doorkeeper.look_at_users(),
        doorkeeper.look_at_belongings(),
        doorkeeper.look_at_everybody(),
        tell_of_stopped(&ctx, untold),
    );
}

/// A user no longer watches a channel here, and nobody has been told. There are never more of them than there were watches.
type Stopped = (Arc<User>, i64);

async fn tell_of_stopped(ctx: &Ctx, mut untold: UnboundedReceiver<Stopped>) {
    let stopped = stream::poll_fn(|context| untold.poll_recv(context));
    let tell = async |(user, channel): Stopped| watch::stopped(ctx, &user, &[channel]).await;
    stopped.for_each_concurrent(limits::REDIS_CALLS_MAX, tell).await;
}

/// A user with connections of this node.
struct Guest {
    user: Arc<User>,
    connections: Vec<Arc<Connection>>,
}

/// A channel as it was when those who watch it were last looked at: what it allowed, and who had begun to watch it.
type Known = HashMap<i64, (Facts, u64)>;

struct Doorkeeper<'a> {
    ctx: &'a Ctx,
    doubts: &'a Arc<Doubts>,
    stopped: UnboundedSender<Stopped>,
}

impl Doorkeeper<'_> {
    /// Who has left a channel and may not read it stops hearing of it.
    async fn let_go(&self, mut leaving: UnboundedReceiver<Left>) {
        let leaving = stream::poll_fn(|context| leaving.poll_recv(context));
        leaving
            .for_each_concurrent(limits::LET_GO_AT_ONCE, async |Left { user, channel, done }| {
                self.look_at_user((user, Some(channel))).await;
                drop(done);
            })
            .await;
    }

    async fn close_sockets(&self) {
        loop {
            for user in self.doubts.sockets.take().await {
                let looked = self.close_unwelcome(user.as_deref()).await;
                self.again_if_failed(looked, |doubts| &doubts.sockets, user);
            }
        }
    }

    async fn look_at_channels(&self) {
        let mut known = Known::new();
        loop {
            for channel in self.doubts.channels.take().await {
                let looked = self.look_at_channel(channel, &mut known).await;
                self.again_if_failed(looked, |doubts| &doubts.channels, channel);
            }
        }
    }

    async fn look_at_users(&self) {
        loop {
            for user in self.doubts.users.take().await {
                self.look_at_user(user).await;
            }
        }
    }

    /// Changes of a membership may be heard in another order than they were made in, so what is true now is told at the end.
    async fn look_at_belongings(&self) {
        loop {
            let doubted = Vec::from_iter(self.doubts.belongings.take().await);
            for some in doubted.chunks(limits::RECHECK_BATCH) {
                match self.ctx.caches.memberships(some).await {
                    Ok(memberships) => {
                        for ((channel, user), membership) in some.iter().zip(memberships) {
                            match membership {
                                Some(_) => self.ctx.realtime.join(user, *channel).await,
                                None => self.ctx.realtime.leave(user, *channel).await,
                            }
                        }
                    }
                    Err(error) => {
                        for one in some {
                            self.again(&error, |doubts| &doubts.belongings, one.clone());
                        }
                    }
                }
            }
        }
    }

    async fn look_at_everybody(&self) {
        let mut known = (self.ctx.caches.app(), 0);
        loop {
            self.doubts.app.take().await;
            let looked = self.look_at_app(&mut known).await;
            self.again_if_failed(looked, |doubts| &doubts.app, ());
        }
    }

    /// What could not be looked at is doubted again after a pause, in which others have their turn.
    fn again_if_failed<T: Eq + std::hash::Hash + Send + std::fmt::Debug + 'static>(
        &self,
        looked: Result<()>,
        queue: fn(&Doubts) -> &Waiting<T>,
        thing: T,
    ) {
        if let Err(error) = looked {
            self.again(&error, queue, thing);
        }
    }

    fn again<T: Eq + std::hash::Hash + Send + std::fmt::Debug + 'static>(
        &self,
        error: &Error,
        queue: fn(&Doubts) -> &Waiting<T>,
        thing: T,
    ) {
        tracing::warn!(?error, ?thing, "rights could not be checked; it is tried again");
        let doubts = self.doubts.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limits::RECHECK_AGAIN).await;
            queue(&doubts).add(thing);
        });
    }

    /// Closes the sockets of users who are gone, and of tokens that were revoked.
    async fn close_unwelcome(&self, user: Option<&str>) -> Result<()> {
        let ctx = self.ctx;
        if user.is_none() {
            ctx.caches.settle_app().await?;
        }
        for batch in ctx.realtime.find(user).await.chunks(limits::RECHECK_BATCH) {
            for Guest { user, connections } in self.guests(batch).await? {
                let unwelcome = |connection: &&Arc<Connection>| {
                    check_active(&user).is_err() || is_revoked(ctx, &user, connection.token_issued_at)
                };
                let known = connections.iter().filter(|connection| connection.counts_as_presence);
                known.filter(unwelcome).for_each(|connection| connection.socket.close(CloseReason::Revoked));
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Looks at one channel that a user watches, or at all of them.
    async fn look_at_user(&self, (user, channel): (String, Option<i64>)) {
        let look = async {
            let connections = self.ctx.realtime.find(Some(&user)).await;
            let guests = self.guests(&connections).await?;
            match channel {
                Some(channel) => self.check(&guests, &in_channel(&guests, channel)).await,
                None => self.check_all(&guests).await,
            }
        };
        let looked = look.await;
        self.again_if_failed(looked, |doubts| &doubts.users, (user, channel));
    }

    /// Looks at those who watch a channel. If it is what it was when that was last done, and nobody has begun to watch it since,
    /// there is nothing to be found, whatever it was in between.
    async fn look_at_channel(&self, key: i64, known: &mut Known) -> Result<()> {
        let Some(begun) = self.ctx.realtime.watch_begun(key) else {
            known.remove(&key);
            return Ok(());
        };
        let channel = self.ctx.caches.channel_by_key(key).await?;
        let now = channel.as_deref().map(|channel| (Facts::of(channel), begun));
        if now.is_some() && known.get(&key) == now.as_ref() {
            return Ok(());
        }
        self.check_watchers(key).await?;
        if known.len() >= limits::CHECKED_CHANNELS_MAX {
            known.clear();
        }
        known.extend(now.map(|now| (key, now)));
        Ok(())
    }

    /// Looks at all that is watched, or, where the settings give the same rights as when that was last done, at the channels that
    /// somebody has begun to watch since: the settings may have been others in between.
    async fn look_at_app(&self, known: &mut (Arc<App>, u64)) -> Result<()> {
        let ctx = self.ctx;
        let begun = ctx.realtime.watches_begun();
        ctx.caches.settle_app().await?;
        let app = ctx.caches.app();
        if same_rights(&known.0, &app) {
            for channel in ctx.realtime.watched_since(known.1) {
                self.check_watchers(channel).await?;
            }
        } else {
            for batch in ctx.realtime.find(None).await.chunks(limits::RECHECK_BATCH) {
                self.check_all(&self.guests(batch).await?).await?;
            }
        }
        *known = (app, begun);
        Ok(())
    }

    async fn check_watchers(&self, channel: i64) -> Result<()> {
        for batch in self.ctx.realtime.watchers(channel).await.chunks(limits::RECHECK_BATCH) {
            let guests = self.guests(batch).await?;
            self.check(&guests, &in_channel(&guests, channel)).await?;
        }
        Ok(())
    }

    async fn check_all(&self, guests: &[Guest]) -> Result<()> {
        let mut watches = Vec::new();
        for (index, guest) in guests.iter().enumerate() {
            // What several sockets of a user watch is looked at once.
            let mut watched = HashSet::new();
            for connection in &guest.connections {
                watched.extend(self.ctx.realtime.watched(&connection.id).await);
            }
            watches.extend(watched.into_iter().map(|channel| (index, channel)));
            if watches.len() >= limits::RECHECK_BATCH {
                self.check(guests, &std::mem::take(&mut watches)).await?;
            }
        }
        self.check(guests, &watches).await
    }

    /// Ends those of the watches whose users may not read the channel. A watch is a guest, by place, and a channel.
    async fn check(&self, guests: &[Guest], watches: &[(usize, i64)]) -> Result<()> {
        for batch in watches.chunks(limits::RECHECK_BATCH) {
            let keys: HashSet<i64> = batch.iter().map(|(_, channel)| *channel).collect();
            let channels = self.ctx.caches.channels_by_keys(&Vec::from_iter(keys)).await?;
            let (known, mut ended): (Vec<_>, Vec<_>) =
                batch.iter().partition(|(_, channel)| channels.contains_key(channel));
            let pairs: Vec<_> =
                known.iter().map(|(guest, channel)| (channels[channel].clone(), guests[*guest].user.clone())).collect();
            let readable = which_are_readable(self.ctx, &pairs).await?;
            ended.extend(known.into_iter().zip(readable).filter(|(_, yes)| !yes).map(|(watch, _)| watch));
            self.end(guests, ended).await;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Ends watches: all workers at once, then whoever is to be told.
    async fn end(&self, guests: &[Guest], watches: Vec<(usize, i64)>) {
        let mut by_guest: HashMap<usize, Vec<i64>> = HashMap::new();
        for (guest, channel) in watches {
            by_guest.entry(guest).or_default().push(channel);
        }
        let forget = by_guest.iter().flat_map(|(guest, channels)| {
            let Guest { user, connections } = &guests[*guest];
            connections.iter().map(async |connection| {
                let unwatched = self.ctx.realtime.unwatch(&connection.id, &user.id, channels).await;
                for channel in unwatched.unwrap_or_default() {
                    // The one who tells lives as long as this one.
                    let _ = self.stopped.send((user.clone(), channel));
                }
            })
        });
        join_all(forget).await;
    }

    /// Connections by their users. Somebody without a token is in no table.
    async fn guests(&self, connections: &[Arc<Connection>]) -> Result<Vec<Guest>> {
        let mut by_user: HashMap<&str, Vec<Arc<Connection>>> = HashMap::new();
        for connection in connections {
            by_user.entry(&connection.user_id).or_default().push(connection.clone());
        }
        let ids: Vec<String> = by_user.keys().map(ToString::to_string).collect();
        let users = self.ctx.caches.users(&ids).await?;
        let without_row = |id| Arc::new(User::new(id, ANONYMOUS_ROLE, self.ctx.clock.now()));
        let guest = |(id, connections)| {
            let user = users.get(id).cloned().unwrap_or_else(|| without_row(id));
            Guest { user, connections }
        };
        Ok(by_user.into_iter().map(guest).collect())
    }
}

/// The watches of one channel by some guests.
fn in_channel(guests: &[Guest], channel: i64) -> Vec<(usize, i64)> {
    (0..guests.len()).map(|guest| (guest, channel)).collect()
}
