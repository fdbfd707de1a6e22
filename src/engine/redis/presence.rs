//! Presence in Redis: who is online, and who watches what.
//!
//! Each set of users is two keys in one slot: a sorted set of `user|node` by the time at which it expires, and a hash that
//! counts the nodes of each user. Scripts change both together, so exactly one caller learns that a user came or went.
//! A node says every [`limits::PRESENCE_REFRESH`] that its users are still there, and when Redis is back after it was away. With
//! it, it sweeps each of these sets: what others keep alive never ends by itself, and who is found there was on a node that has
//! died. Sets are said many at a time: a large node has as many as channels are watched.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, stream};
use redis::Script;
use tokio::sync::watch;

use super::client::Client;
use crate::engine::{Gone, Presence, Present, Refreshed, Settled};
use crate::limits;

/// Online users are spread over so many sets.
const ONLINE_SHARDS: u64 = 16;
/// Users in one call of a script.
const SCRIPT_USERS_MAX: usize = 500;

/// Changes a set. KEYS: expiry set, counts. ARGV: life, node, a verb, how many expired entries to sweep, users of the node. Answers
/// the number of users in the set, those who were not in it before, those who are not in it any more, how many entries were
/// swept, and the time. Time is Redis's: nodes whose clocks differ would take each other's users for gone, and an earlier change
/// for a later one. A set ends with the last of its entries: where only a dead node's users watch, nobody sweeps.
static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000 + time[2] / 1000
        local expiry = string.format('%.0f', now + ARGV[1])
        local new, gone = {}, {}
        local function add(user)
            if redis.call('ZADD', KEYS[1], expiry, user .. '|' .. ARGV[2]) == 1 then
                if redis.call('HINCRBY', KEYS[2], user, 1) == 1 then new[#new + 1] = user end
            end
        end
        local function renew(user)
            local member = user .. '|' .. ARGV[2]
            if redis.call('ZSCORE', KEYS[1], member) then redis.call('ZADD', KEYS[1], expiry, member)
            else new[#new + 1] = user end
        end
        local function remove(member)
            if redis.call('ZREM', KEYS[1], member) == 1 then
                local user = string.sub(member, 1, #member - string.find(string.reverse(member), '|', 1, true))
                if redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then
                    redis.call('HDEL', KEYS[2], user)
                    gone[#gone + 1] = user
                end
            end
        end
        for i = 5, #ARGV do
            if ARGV[3] == 'add' then add(ARGV[i])
            elseif ARGV[3] == 'renew' then renew(ARGV[i])
            else remove(ARGV[i] .. '|' .. ARGV[2]) end
        end
        local before = string.format('%.0f', now)
        local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, ARGV[4])
        for _, member in ipairs(expired) do remove(member) end
        if ARGV[3] ~= 'remove' then
            redis.call('PEXPIRE', KEYS[1], ARGV[1])
            redis.call('PEXPIRE', KEYS[2], ARGV[1])
        end
        return {redis.call('HLEN', KEYS[2]), new, gone, #expired, time[1] * 1000000 + time[2]}
        ",
    )
});

/// What became of a set: users in it now, users who are new in it, users who are not in it any more, entries swept, when.
type Changed = (i64, Vec<String>, Vec<String>, usize, i64);

/// What to do with users of this node.
#[derive(Clone, Copy)]
enum Verb {
    Add,
    /// Of whom it is not known that they are there nothing is said: whether they still are is not for the refresh to say.
    Renew,
    Remove,
}

pub(super) struct RedisPresence {
    client: Client,
    prefix: String,
    node: String,
    /// What this node said: all that it knows while Redis is away.
    said: Mutex<Said>,
    returns: tokio::sync::Mutex<watch::Receiver<u64>>,
}

#[derive(Default)]
struct Said {
    online: HashSet<String>,
    watching: HashMap<i64, HashSet<String>>,
}

impl Said {
    /// True if the user was said to watch.
    fn stop(&mut self, channel: i64, user: &str) -> bool {
        let Some(users) = self.watching.get_mut(&channel) else { return false };
        let was_there = users.remove(user);
        if users.is_empty() {
            self.watching.remove(&channel);
        }
        was_there
    }
}

/// What Redis made of one user who came or went.
fn settled((watcher_count, came, gone, _, at): Changed) -> Settled {
    Settled { is_news: !came.is_empty() || !gone.is_empty(), watcher_count, at: Some(at) }
}

impl RedisPresence {
    pub(super) fn new(client: Client, prefix: String, node: String) -> Self {
        let returns = tokio::sync::Mutex::new(client.returns());
        Self { client, prefix, node, said: Mutex::default(), returns }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The two keys of a set.
    fn keys(&self, set: &str) -> [String; 2] {
        [format!("{{{}:{set}}}:until", self.prefix), format!("{{{}:{set}}}:nodes", self.prefix)]
    }

    fn shard_of(user: &str) -> u64 {
        // FNV-1a: every node of every version must agree.
        let hash = user
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        hash % ONLINE_SHARDS
    }

    fn online_set(user: &str) -> String {
        format!("online:{}", Self::shard_of(user))
    }

    fn watching_set(channel: i64) -> String {
        format!("watching:{channel}")
    }

    /// Who sweeps has to tell who is gone: nobody else learns it.
    async fn change(&self, set: &str, verb: Verb, users: &[String], sweep: usize) -> Option<Changed> {
        let [until, nodes] = self.keys(set);
        let verb = match verb {
            Verb::Add => "add",
            Verb::Renew => "renew",
            Verb::Remove => "remove",
        };
        let life = limits::PRESENCE_LIFE.as_millis().to_string();
        let mut arguments = vec![life, self.node.clone(), verb.to_owned(), sweep.to_string()];
        arguments.extend_from_slice(users);
        self.client.script(&CHANGE, &[&until, &nodes], &arguments).await.ok()
    }

    /// Says that users of this node are still in a set, of those who are online or who watch a channel, and takes out of it all who
    /// have expired. What was found before Redis did not answer any more is found: nobody finds it again.
    async fn refresh_set(&self, channel: Option<i64>, set: String, users: &[String]) -> Refreshed {
        let (mut parts, mut unknown, mut gone) = (users.chunks(SCRIPT_USERS_MAX), Vec::new(), Vec::new());
        let mut watcher_count = 0;
        loop {
            let part = parts.next().unwrap_or_default();
            // Not before all of this node are renewed.
            let sweep = if parts.len() == 0 { SCRIPT_USERS_MAX } else { 0 };
            let Some((left, new, found, swept, at)) = self.change(&set, Verb::Renew, part, sweep).await else { break };
            unknown.extend(new);
            gone.extend(found.into_iter().map(|user| (user, at)));
            watcher_count = left;
            if parts.len() == 0 && swept < SCRIPT_USERS_MAX {
                break;
            }
        }
        let stopped = channel.map(|channel| (channel, watcher_count));
        let gone = gone.into_iter().map(|(user, at)| Gone { user, stopped, at: Some(at) }).collect();
        let mut refreshed = Refreshed { gone, ..Refreshed::default() };
        match channel {
            None => refreshed.unknown.online = unknown,
            Some(_) if unknown.is_empty() => {}
            Some(channel) => drop(refreshed.unknown.watching.insert(channel, unknown)),
        }
        refreshed
    }

    fn watching_here(&self, channel: i64) -> i64 {
        self.said().watching.get(&channel).map_or(0, |users| users.len() as i64)
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn connect(&self, user: &str) -> Settled {
        let is_news = self.said().online.insert(user.into());
        let answer = self.change(&Self::online_set(user), Verb::Add, &[user.to_owned()], 0).await;
        answer.map_or(Settled { is_news, ..Settled::default() }, settled)
    }

    async fn disconnect(&self, user: &str) -> Settled {
        let is_news = self.said().online.remove(user);
        let answer = self.change(&Self::online_set(user), Verb::Remove, &[user.to_owned()], 0).await;
        answer.map_or(Settled { is_news, ..Settled::default() }, settled)
    }

    async fn online(&self, users: &[String]) -> HashSet<String> {
        let mut shards: HashMap<u64, Vec<&String>> = HashMap::new();
        for user in users {
            shards.entry(Self::shard_of(user)).or_default().push(user);
        }
        let lookups = shards.into_values().map(|users| async move {
            let [_, nodes] = self.keys(&Self::online_set(users[0]));
            let found: redis::RedisResult<Vec<Option<i64>>> =
                self.client.command(redis::cmd("HMGET").arg(nodes).arg(&users)).await;
            (users, found)
        });
        let mut online = HashSet::new();
        for (users, found) in join_all(lookups).await {
            if let Ok(counts) = found {
                online.extend(users.into_iter().zip(counts).filter(|(_, n)| n.is_some()).map(|(u, _)| u.clone()));
            } else {
                let said = self.said();
                online.extend(users.into_iter().filter(|user| said.online.contains(*user)).cloned());
            }
        }
        online
    }

    async fn watch(&self, channel: i64, user: &str) -> Settled {
        let is_news = self.said().watching.entry(channel).or_default().insert(user.into());
        let answer = self.change(&Self::watching_set(channel), Verb::Add, &[user.to_owned()], 0).await;
        let alone = || Settled { is_news, watcher_count: self.watching_here(channel), at: None };
        answer.map_or_else(alone, settled)
    }

    async fn unwatch(&self, channel: i64, user: &str) -> Settled {
        let is_news = self.said().stop(channel, user);
        let answer = self.change(&Self::watching_set(channel), Verb::Remove, &[user.to_owned()], 0).await;
        let alone = || Settled { is_news, watcher_count: self.watching_here(channel), at: None };
        answer.map_or_else(alone, settled)
    }

    async fn watcher_counts(&self, channels: &[i64]) -> Vec<i64> {
        let counts = channels.iter().map(|channel| async move {
            let [_, nodes] = self.keys(&Self::watching_set(*channel));
            let count = self.client.command(redis::cmd("HLEN").arg(nodes)).await;
            count.unwrap_or_else(|_| self.watching_here(*channel))
        });
        join_all(counts).await
    }

    async fn watched(&self, user: &str, channels: &[i64]) -> Vec<i64> {
        let watches = channels.iter().map(|channel| async move {
            let [_, nodes] = self.keys(&Self::watching_set(*channel));
            let watches = self.client.command(redis::cmd("HEXISTS").arg(nodes).arg(user)).await;
            let here = || self.said().watching.get(channel).is_some_and(|users| users.contains(user));
            watches.unwrap_or_else(|_| here()).then_some(*channel)
        });
        join_all(watches).await.into_iter().flatten().collect()
    }

    async fn watchers(&self, channel: i64, limit: usize, offset: usize) -> Vec<String> {
        let [until, _] = self.keys(&Self::watching_set(channel));
        // A user on two nodes stands there twice: read a little more than the page and drop what repeats.
        let read = redis::cmd("ZRANGE").arg(until).arg(0).arg(2 * (offset + limit)).to_owned();
        let Ok(members) = self.client.command::<Vec<String>>(&read).await else {
            let said = self.said();
            return said.watching.get(&channel).into_iter().flatten().skip(offset).take(limit).cloned().collect();
        };
        let mut seen = HashSet::new();
        let users = members.iter().filter_map(|member| member.rsplit_once('|')).map(|(user, _)| user.to_owned());
        users.filter(|user| seen.insert(user.clone())).skip(offset).take(limit).collect()
    }

    async fn refresh(&self, present: &Present) -> Refreshed {
        // All sets of who is online, also those that nobody of this node is in: somebody has to find the users of dead nodes.
        let mut online = vec![Vec::new(); ONLINE_SHARDS as usize];
        for user in &present.online {
            online[Self::shard_of(user) as usize].push(user.clone());
        }
        let mut says = Vec::with_capacity(online.len() + present.watching.len());
        for (shard, users) in online.iter().enumerate() {
            says.push(self.refresh_set(None, format!("online:{shard}"), users).boxed());
        }
        for (channel, users) in &present.watching {
            says.push(self.refresh_set(Some(*channel), Self::watching_set(*channel), users).boxed());
        }
        let mut says = stream::iter(says).buffer_unordered(limits::REDIS_CALLS_MAX);
        let mut refreshed = Refreshed::default();
        while let Some(found) = says.next().await {
            refreshed.unknown.online.extend(found.unknown.online);
            refreshed.unknown.watching.extend(found.unknown.watching);
            refreshed.gone.extend(found.gone);
        }
        refreshed
    }

    async fn forgotten(&self) {
        // The sender lives as long as the client, which is here.
        let _ = self.returns.lock().await.changed().await;
    }
}
