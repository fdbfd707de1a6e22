//! `POST /channels`: the channels that match, with their states; the connection watches all of them if that is asked for.

use std::collections::HashSet;
use std::sync::Arc;

use query::{parse_filter, parse_sort};
use serde_json::Value;
use wire::channel::{ChannelState, QueryChannelsRequest};

use super::state::{self, Wanted};
use super::watch;
use crate::access::app::App;
use crate::access::caches::LoadedChannel;
use crate::access::{Action, Caller};
use crate::chat::messages::history::{checked_limit, page_size};
use crate::chat::users::query::{checked_offset, follow};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::members::MemberPage;
use crate::store::query::channels::{CHANNEL_SCHEMA, ChannelQuery, Granted, Readable};

/// Finds channels that the caller may read.
///
/// # Errors
/// A filter, sort or page that cannot be; `watch` without a connection.
pub async fn query_channels(ctx: &Ctx, caller: &Caller, request: QueryChannelsRequest) -> Result<Vec<ChannelState>> {
    let filter = parse_filter(
        request.filter_conditions.as_ref().unwrap_or(&Value::Null),
        &CHANNEL_SCHEMA,
        limits::FILTER_BOUNDS,
    )?;
    let sort = parse_sort(request.sort.as_ref().unwrap_or(&Value::Null), &CHANNEL_SCHEMA)?;
    for field in ["hidden", "muted", "pinned", "archived", "joined", "invite", "has_unread", "unread_count"] {
        if filter.mentions(field) && caller.user().is_none() {
            return Err(Error::input(format!("a filter on {field} needs a user: provide user_id")));
        }
    }
    let app = ctx.caches.app();
    let client = caller.user().filter(|_| !caller.is_server() && !app.disable_permissions_checks);
    let readable = client.map(|user| readable(&app, &user.role));
    let query = ChannelQuery {
        filter: &filter,
        sort: &sort,
        limit: checked_limit(request.limit, limits::QUERY_CHANNELS_LIMIT_DEFAULT, limits::QUERY_CHANNELS_LIMIT_MAX)?,
        offset: checked_offset(request.offset, limits::QUERY_OFFSET_MAX)?,
        viewer: caller.user_id(),
        readable: readable.as_ref(),
    };
    let wanted = Wanted {
        messages: page_size(request.message_limit, limits::MESSAGE_LIMIT_DEFAULT, limits::MESSAGE_LIMIT_MAX)?,
        members: MemberPage {
            limit: page_size(request.member_limit, limits::STATE_MEMBERS_DEFAULT, limits::STATE_MEMBERS_MAX)?,
            offset: 0,
        },
        watchers: None,
        bare: request.state == Some(false),
    };
    let keys = ctx.store.query_channels(&query).await?;
    let mut found = ctx.caches.channels_by_keys(&keys).await?;
    let channels: Vec<Arc<LoadedChannel>> = keys.iter().filter_map(|key| found.remove(key)).collect();
    let connection = request.connection_id.as_deref();
    if request.watch == Some(true) && !channels.is_empty() {
        watch::watch(ctx, caller, connection, &channels).await?;
    }
    let states = state::states(ctx, caller, &channels, wanted).await?;
    if request.presence == Some(true) {
        let users: HashSet<String> =
            states.iter().flat_map(|state| &state.members).map(|member| member.user_id.clone()).collect();
        follow(ctx, caller, connection, users.into_iter().collect()).await?;
    }
    Ok(states)
}

/// What a user role may read, type by type.
fn readable(app: &App, role: &str) -> Readable {
    let mut readable = Readable {
        user_role: role.to_owned(),
        read: granted(app, Action::ReadChannel),
        read_disabled: granted(app, Action::ReadDisabledChannel),
        ..Readable::default()
    };
    for (name, kind) in &app.types {
        if kind.grants.allow([role], Action::ReadChannel, false) {
            readable.types.push(name.clone());
            continue;
        }
        if kind.grants.allow([role], Action::ReadChannel, true) {
            readable.own_types.push(name.clone());
        }
    }
    readable
}

/// Whom the types grant an action.
fn granted(app: &App, action: Action) -> Granted {
    let mut granted = Granted { id: action.id(), ..Granted::default() };
    for (name, kind) in &app.types {
        for (role, any, own) in kind.grants.roles_allowed(action) {
            let lists = [(any, &mut granted.any), (own, &mut granted.own)];
            lists.into_iter().filter(|(has, _)| *has).for_each(|(_, list)| list.push(format!("{name} {role}")));
        }
    }
    granted
}
