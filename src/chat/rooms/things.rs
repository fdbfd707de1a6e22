//! Small things that the rooms surface keeps and chat has no noun for. They are their owner's; nobody else sees them.

use wire::Timestamp;

use crate::access::Caller;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::rooms::Thing;

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThingKind {
    Flag,
    Poll,
    PollOption,
    Reminder,
    Attachment,
    Action,
    UserAgent,
    CoreUserAgent,
}

impl ThingKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Poll => "poll",
            Self::PollOption => "poll_option",
            Self::Reminder => "reminder",
            Self::Attachment => "attachment",
            Self::Action => "action",
            Self::UserAgent => "user_agent",
            Self::CoreUserAgent => "core_user_agent",
        }
    }

    /// How many of them everybody has. Of some it is one: a new one takes the place of the last.
    const fn most(self) -> i64 {
        match self {
            Self::UserAgent | Self::CoreUserAgent => 1,
            _ => limits::ROOM_THINGS_MAX,
        }
    }
}

/// Keeps a thing for the caller.
///
/// # Errors
/// A text that is too long.
pub async fn keep(
    ctx: &Ctx,
    caller: &Caller,
    kind: ThingKind,
    about: &str,
    text: &str,
    due_at: Option<Timestamp>,
) -> Result<Thing> {
    if text.chars().count() > limits::ROOM_TEXT_CHARS_MAX || text.contains('\0') {
        return Err(Error::input(format!("a text has at most {} characters", limits::ROOM_TEXT_CHARS_MAX)));
    }
    let thing = Thing {
        id: ctx.snowflakes.next().await? as i64,
        kind: kind.name().into(),
        user_id: caller.acting()?.id.clone(),
        about: about.into(),
        text: text.into(),
        due_at,
        created_at: ctx.clock.now(),
    };
    ctx.store.insert_thing(&thing, kind.most()).await?;
    Ok(thing)
}

/// The caller's newest things of a kind.
///
/// # Errors
/// Postgres.
pub async fn list(ctx: &Ctx, caller: &Caller, kind: ThingKind) -> Result<Vec<Thing>> {
    Ok(ctx.store.things(&caller.acting()?.id, kind.name(), None, limits::ROOM_LIST_MAX).await?)
}

/// Those of them that are due.
///
/// # Errors
/// Postgres.
pub async fn due(ctx: &Ctx, caller: &Caller, kind: ThingKind) -> Result<Vec<Thing>> {
    let now = ctx.clock.now();
    Ok(ctx.store.things(&caller.acting()?.id, kind.name(), Some(now), limits::ROOM_LIST_MAX).await?)
}

/// A thing of the caller's.
///
/// # Errors
/// There is none with this id.
pub async fn find(ctx: &Ctx, caller: &Caller, kind: ThingKind, id: &str) -> Result<Thing> {
    let missing = || Error::not_found(format!("there is no {} {id}", kind.name()));
    let thing = ctx.store.thing(id.parse().map_err(|_| missing())?, kind.name()).await?;
    thing.filter(|thing| caller.user_id() == Some(&thing.user_id)).ok_or_else(missing)
}

/// Deletes a thing of the caller's, and what belongs to it.
///
/// # Errors
/// There is none with this id.
pub async fn delete(ctx: &Ctx, caller: &Caller, kind: ThingKind, id: &str) -> Result<()> {
    let thing = find(ctx, caller, kind, id).await?;
    Ok(ctx.store.delete_thing(thing.id).await?)
}
