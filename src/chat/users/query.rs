//! `GET /users`.

use query::{parse_filter, parse_sort};
use serde_json::Value;
use wire::user::{FullUser, QueryUsersRequest};

use super::full::full_users;
use crate::access::{Action, Caller};
use crate::chat::messages::history::checked_limit;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::realtime::remote::Wish;
use crate::store::query::users::{USER_SCHEMA, UserQuery};
use crate::store::users::User;

/// Finds users.
///
/// # Errors
/// A filter, sort or page that cannot be; a role that may not search.
pub async fn query_users(ctx: &Ctx, caller: &Caller, request: QueryUsersRequest) -> Result<Vec<FullUser>> {
    if let (false, Some(user)) = (caller.is_server(), caller.user()) {
        let app = ctx.caches.app();
        if !app.disable_permissions_checks && !app.grants.allow([user.role.as_str()], Action::SearchUser, false) {
            return Err(Error::not_allowed(format!("role {} may not search users", user.role)));
        }
    }
    let filter =
        parse_filter(request.filter_conditions.as_ref().unwrap_or(&Value::Null), &USER_SCHEMA, limits::FILTER_BOUNDS)?;
    let sort = parse_sort(request.sort.as_ref().unwrap_or(&Value::Null), &USER_SCHEMA)?;
    // Who is shadow-banned is not to know, and by others neither.
    let tells_shadows = filter.mentions("shadow_banned")
        || sort.iter().any(|key| key.field.known().is_some_and(|name| name == "shadow_banned"));
    if tells_shadows && !caller.is_server() {
        return Err(Error::not_allowed("only servers ask who is shadow-banned"));
    }
    let query = UserQuery {
        filter: &filter,
        sort: &sort,
        limit: checked_limit(request.limit, limits::QUERY_USERS_LIMIT_DEFAULT, limits::QUERY_USERS_LIMIT_MAX)?,
        offset: checked_offset(request.offset, limits::QUERY_OFFSET_MAX)?,
        include_deactivated: request.include_deactivated_users.unwrap_or(false) && caller.is_server(),
    };
    let rows = ctx.store.query_users(&query).await?;
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    if request.presence == Some(true) {
        follow(ctx, caller, request.connection_id.as_deref(), ids.clone()).await?;
    }
    full_users(ctx, caller, &rows).await
}

/// An offset within its bounds.
///
/// # Errors
/// An offset that is negative or too large.
pub fn checked_offset(offset: Option<i64>, most: i64) -> Result<i64> {
    match offset.unwrap_or(0) {
        offset if (0..=most).contains(&offset) => Ok(offset),
        offset => {
            Err(Error::input(format!("offset {offset} is not between 0 and {most}")).field("offset", "out of range"))
        }
    }
}

/// Makes a connection follow the presence of users.
///
/// # Errors
/// No connection was named, or there is no such connection of the caller.
pub async fn follow(ctx: &Ctx, caller: &Caller, connection_id: Option<&str>, users: Vec<String>) -> Result<()> {
    let (connection, user) = require_connection(caller, connection_id)?;
    let wish = Wish::Follow { users };
    let done = ctx.remote.fulfil(&ctx.realtime, &*ctx.engine.bus, connection, &user.id, wish).await;
    done.map(|_| ()).map_err(|_| no_connection())
}

/// The connection that `watch` and `presence` need.
///
/// # Errors
/// Code 4, in the words that clients know.
pub fn require_connection<'a>(caller: &'a Caller, connection_id: Option<&'a str>) -> Result<(&'a str, &'a User)> {
    match (connection_id.filter(|id| !id.is_empty()), caller.user()) {
        (Some(connection), Some(user)) => Ok((connection, user)),
        _ => Err(Error::input(
            "Watch or Presence requires an active websocket connection, please make sure to include your websocket connection_id",
        )),
    }
}

/// # Errors
/// Always: there is no such connection.
pub fn no_connection() -> Error {
    Error::input("there is no websocket connection with this connection_id: connect again and use the new one")
}
