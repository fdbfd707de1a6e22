//! How many bytes of memory the entries of the caches take, nearly. What somebody puts into a user or a channel is nothing or
//! kilobytes, so caches are bounded by bytes and not by entries.

use std::mem::size_of;

use wire::channel::ChannelConfig;
use wire::{Cid, RawObject};

use super::caches::{LoadedChannel, Membership};
use crate::store::users::User;

/// An entry without its key and value: its places in the map and in the queues that say what goes first, and counters.
const ENTRY: usize = 256;
/// What a piece of memory takes beside what is in it.
const PIECE: usize = 16;
/// Settings and grants of a channel's own, for each byte of JSON: parsed they are many small pieces.
const OVERRIDES_PER_BYTE: usize = 24;

pub(super) fn user(id: &str, user: &User) -> usize {
    let roles =
        user.teams_role.iter().flatten().map(|(team, role)| piece(team) + piece(role) + 2 * size_of::<String>());
    let names = [&user.name, &user.image].into_iter().flatten().chain([&user.id, &user.role, &user.language]);
    ENTRY
        + size_of::<User>()
        + piece(id)
        + names.map(|name| piece(name)).sum::<usize>()
        + texts(&user.teams)
        + roles.sum::<usize>()
        + object(&user.custom)
}

pub(super) fn channel(channel: &LoadedChannel) -> usize {
    let row = &channel.row;
    let names = [&row.team, &row.created_by, &row.truncated_by].into_iter().flatten();
    let overrides = row.config_overrides.as_ref().map_or(0, |overrides| {
        size_of::<ChannelConfig>() + object(overrides) + OVERRIDES_PER_BYTE * overrides.as_str().len()
    });
    ENTRY
        + size_of::<LoadedChannel>()
        + piece(row.cid.as_str())
        + names.map(|name| piece(name)).sum::<usize>()
        + texts(&row.filter_tags)
        + object(&row.custom)
        + overrides
}

pub(super) fn membership(user_id: &str, membership: Option<&Membership>) -> usize {
    let member = membership.map_or(0, |member| size_of::<Membership>() + PIECE + piece(&member.channel_role));
    ENTRY + size_of::<(i64, String)>() + piece(user_id) + member
}

pub(super) fn key(cid: &Cid) -> usize {
    ENTRY + size_of::<Cid>() + piece(cid.as_str())
}

fn piece(text: &str) -> usize {
    PIECE + text.len()
}

fn texts(list: &[String]) -> usize {
    list.iter().map(|text| size_of::<String>() + piece(text)).sum()
}

fn object(object: &RawObject) -> usize {
    if object.is_empty() { 0 } else { piece(object.as_str()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::Timestamp;

    use super::*;
    use crate::limits;

    #[test]
    fn what_somebody_puts_into_it_weighs_what_it_takes() {
        let mut ada = User::new("ada", "user", Timestamp::from_micros(0));
        let plain = user("ada", &ada);
        assert!(plain as u64 * 100_000 < limits::CACHED_USERS_BYTES_MAX, "a hundred thousand ordinary ones have room");
        let data = json!({"data": vec![json!({}); 1_000]});
        ada.custom = serde_json::from_value(data.clone()).unwrap();
        let heavy = user("ada", &ada) - plain;
        assert!((data.to_string().len()..data.to_string().len() + 100).contains(&heavy), "{heavy}");
    }
}
