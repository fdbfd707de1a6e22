//! What every node does from time to time. All of it may be done by any number of nodes at once. Each turn has an end: a
//! Postgres that does not even say no holds up one turn and not what comes after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::chat::users::connect::{refresh_presence, tell_of_gone};
use crate::ctx::Ctx;
use crate::limits;

const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// After somebody else had a lock.
const PARTITIONS_AGAIN: Duration = Duration::from_mins(1);

fn tick(period: Duration) -> Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// A turn that takes too long is given up, and comes again.
async fn turn(name: &'static str, longest: Duration, work: impl Future<Output = ()>) {
    if timeout(longest, work).await.is_err() {
        tracing::warn!(turn = name, "it took too long and was given up");
    }
}

/// Keeps presence alive and finds users of dead nodes. Runs until dropped.
pub async fn keep_presence(ctx: Arc<Ctx>) {
    let (found, untold) = mpsc::channel(limits::GONE_UNTOLD_MAX);
    let refresh = async {
        let mut presence = tick(limits::PRESENCE_REFRESH);
        loop {
            tokio::select! {
                _ = presence.tick() => {}
                () = ctx.engine.presence.forgotten() => {}
            }
            turn("presence", limits::TURN_TIME, refresh_presence(&ctx, &found)).await;
        }
    };
    tokio::join!(refresh, tell_of_gone(&ctx, untold));
}

/// Writes `last_active`, takes away what was deleted, makes room in the event log. Runs until dropped.
pub async fn run(ctx: Arc<Ctx>) {
    let mut last_active = tick(Duration::from_secs(limits::LAST_ACTIVE_REFRESH_SECONDS as u64));
    let mut partitions = tick(PARTITIONS_EVERY);
    let mut removal = tick(limits::REMOVAL_EVERY);
    // Each ticks at once. Users have just come, and the start has just seen to the partitions, as far as it could.
    last_active.tick().await;
    partitions.reset_after(PARTITIONS_AGAIN);
    loop {
        tokio::select! {
            _ = last_active.tick() => turn("last_active", limits::TURN_TIME, touch_last_active(&ctx)).await,
            _ = removal.tick() => turn("removal", limits::TURN_TIME, take_away(&ctx)).await,
            _ = partitions.tick() => {
                turn("partitions", limits::PARTITIONS_TURN_TIME, async {
                    if let Err(error) = ctx.store.keep_event_partitions().await {
                        tracing::warn!(%error, "partitions of the event log could not be made or dropped now");
                        partitions.reset_after(PARTITIONS_AGAIN);
                    }
                    if let Err(error) = ctx.store.forget_ended_sessions().await {
                        tracing::warn!(%error, "ended sessions could not be forgotten");
                    }
                })
                .await;
            }
        }
    }
}

async fn touch_last_active(ctx: &Ctx) {
    let users = ctx.realtime.users_here();
    if let Err(error) = ctx.store.touch_last_active(&users, limits::LAST_ACTIVE_REFRESH_SECONDS).await {
        tracing::warn!(%error, "last_active could not be written");
    }
}

/// Takes away some of what is hidden already: a few pieces in a row, and the rest the next time.
async fn take_away(ctx: &Ctx) {
    for _ in 0..limits::REMOVED_PIECES_AT_ONCE {
        match ctx.store.remove_piece().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::warn!(%error, "what is hidden could not be taken away"),
        }
    }
}
