//! `POST /users` and `PATCH /users`. All users of a call change, or none.

use std::collections::{BTreeMap, HashMap};

use wire::user::{FullUser, PartialUserUpdate, User as Shown, UserRequest};

use super::change::{self, Author};
use super::full::full_users;
use super::updated_event;
use crate::access::caller::{USER_ROLE, check_user_id};
use crate::access::{Action, Caller};
use crate::chat::render::People;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::Write;
use crate::store::users::User;

/// Creates or replaces users.
///
/// # Errors
/// One wrong user refuses all; a client may write nobody but itself.
pub async fn update_users(
    ctx: &Ctx,
    caller: &Caller,
    users: HashMap<String, UserRequest>,
) -> Result<BTreeMap<String, FullUser>> {
    let mut requests = BTreeMap::new();
    for (key, mut request) in users {
        if request.id.is_empty() {
            request.id = key;
        }
        requests.insert(request.id.clone(), request);
    }
    let author = check(ctx, caller, requests.keys())?;
    let now = ctx.clock.now();
    let mut write = ctx.store.write().await?;
    let mut rows = locked(&mut write, requests.keys()).await?;
    for (id, request) in requests {
        let row = rows.entry(id.clone()).or_insert_with(|| (User::new(&id, USER_ROLE, now), false));
        change::replace(&mut row.0, request, author)?;
    }
    finish(ctx, caller, write, rows).await
}

/// Changes parts of users.
///
/// # Errors
/// As [`update_users`]; an unknown user.
pub async fn update_users_partial(
    ctx: &Ctx,
    caller: &Caller,
    updates: Vec<PartialUserUpdate>,
) -> Result<BTreeMap<String, FullUser>> {
    let author = check(ctx, caller, updates.iter().map(|update| &update.id))?;
    let mut write = ctx.store.write().await?;
    let mut rows = locked(&mut write, updates.iter().map(|update| &update.id)).await?;
    for update in updates {
        let row = rows.get_mut(&update.id).filter(|(row, _)| row.deleted_at.is_none());
        let row = row.ok_or_else(|| Error::not_found(format!("user {} does not exist", update.id)))?;
        change::patch(&mut row.0, update.set.0, &update.unset, author)?;
    }
    finish(ctx, caller, write, rows).await
}

fn check<'a>(ctx: &Ctx, caller: &Caller, ids: impl ExactSizeIterator<Item = &'a String>) -> Result<Author> {
    if ids.len() == 0 || ids.len() > limits::USERS_PER_CALL_MAX {
        return Err(Error::input(format!("users must name 1 to {} users", limits::USERS_PER_CALL_MAX)));
    }
    for id in ids {
        check_user_id(id)?;
        if !caller.is_server() && caller.user_id() != Some(id) {
            return Err(Error::not_allowed("a client can change its own user only"));
        }
    }
    let app = ctx.caches.app();
    if !caller.is_server() && !app.disable_permissions_checks {
        let role = caller.acting()?.role.as_str();
        if !app.grants.allow([role], Action::UpdateUser, true) {
            return Err(Error::not_allowed(format!("role {role} is not allowed to change its own user")));
        }
    }
    Ok(if caller.is_server() { Author::Server } else { Author::Oneself })
}

/// The rows that exist, locked.
async fn locked<'a>(
    write: &mut Write,
    ids: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, (User, bool)>> {
    let ids: Vec<String> = ids.cloned().collect();
    let rows = write.lock_users(&ids).await?;
    Ok(rows.into_iter().map(|row| (row.id.clone(), (row, true))).collect())
}

async fn finish(
    ctx: &Ctx,
    caller: &Caller,
    mut write: Write,
    rows: BTreeMap<String, (User, bool)>,
) -> Result<BTreeMap<String, FullUser>> {
    let mut written = Vec::with_capacity(rows.len());
    for (row, existed) in rows.into_values() {
        let row = write.put_user(&row).await?;
        if existed {
            write.event(updated_event(ctx, &row)?);
        }
        written.push(row);
    }
    ctx.announcer.tell(write.commit().await?).await;
    let users = full_users(ctx, caller, &written).await?;
    Ok(users.into_iter().map(|user| (user.user.id.clone(), user)).collect())
}

/// A user alone, as an answer shows it.
///
/// # Errors
/// Postgres.
pub async fn shown(ctx: &Ctx, id: &str) -> Result<Shown> {
    Ok((*People::load(ctx, [id.to_owned()]).await?.get(id)).clone())
}
