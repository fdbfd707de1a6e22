//! Presence in Redis: who is online, and who watches what.
//!
//! Each set of users is two keys in one slot: a sorted set of `user|node` by the time at which it expires, and a hash that
//! counts the nodes of each user. Scripts change both together, so exactly one caller learns that a user came or went.
//! A node says every [`limits::PRESENCE_REFRESH`] that its users are still there, and when Redis is back after it was away;
//! whoever sweeps finds those of dead nodes. Sets are said many at a time: a large node has as many as channels are watched.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, stream};
use redis::Script;
use tokio::sync::watch;

use super::client::Client;
use crate::engine::Presence;
use crate::limits;

/// Online users are spread over so many sets.
const ONLINE_SHARDS: u64 = 16;
/// Users in one call of a script.
const SCRIPT_USERS_MAX: usize = 500;

/// Adds users of a node. KEYS: expiry set, counts. ARGV: life, node, users. Answers the number of users in the set and those
/// who were not in it before. Time is Redis's: nodes whose clocks differ would take each other's users for gone.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local expiry = string.format('%.0f', time[1] * 1000 + time[2] / 1000 + ARGV[1])
        local came = {}
        for i = 3, #ARGV do
            local user = ARGV[i]
            if redis.call('ZADD', KEYS[1], expiry, user .. '|' .. ARGV[2]) == 1 then
                if redis.call('HINCRBY', KEYS[2], user, 1) == 1 then came[#came + 1] = user end
            end
        end
        redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
        redis.call('PEXPIRE', KEYS[2], 2 * ARGV[1])
        return {redis.call('HLEN', KEYS[2]), came}
        ",
    )
});

/// Removes users of a node, and everybody who has expired. KEYS: expiry set, counts. ARGV: node, users. Answers the number of
/// users left and those who are gone.
static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local gone = {}
        local function remove(member)
            if redis.call('ZREM', KEYS[1], member) == 1 then
                local user = string.sub(member, 1, #member - string.find(string.reverse(member), '|', 1, true))
                if redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then
                    redis.call('HDEL', KEYS[2], user)
                    gone[#gone + 1] = user
                end
            end
        end
        for i = 2, #ARGV do remove(ARGV[i] .. '|' .. ARGV[1]) end
        local time = redis.call('TIME')
        local now = string.format('%.0f', time[1] * 1000 + time[2] / 1000)
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 500)) do remove(member) end
        return {redis.call('HLEN', KEYS[2]), gone}
        ",
    )
});

pub(super) struct RedisPresence {
    client: Client,
    prefix: String,
    node: String,
    /// What this node said, to say it again.
    said: Mutex<Said>,
    returns: tokio::sync::Mutex<watch::Receiver<u64>>,
}

#[derive(Default)]
struct Said {
    online: HashSet<String>,
    watching: HashMap<i64, HashSet<String>>,
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

    async fn add(&self, set: &str, users: &[String]) -> Option<(i64, Vec<String>)> {
        let [until, nodes] = self.keys(set);
        let mut arguments = vec![limits::PRESENCE_LIFE.as_millis().to_string(), self.node.clone()];
        arguments.extend_from_slice(users);
        self.client.script(&ADD, &[&until, &nodes], &arguments).await.ok()
    }

    async fn remove(&self, set: &str, users: &[String]) -> Option<(i64, Vec<String>)> {
        let [until, nodes] = self.keys(set);
        let mut arguments = vec![self.node.clone()];
        arguments.extend_from_slice(users);
        self.client.script(&REMOVE, &[&until, &nodes], &arguments).await.ok()
    }

    fn watching_here(&self, channel: i64) -> i64 {
        self.said().watching.get(&channel).map_or(0, |users| users.len() as i64)
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn connect(&self, user: &str) -> bool {
        let new_here = self.said().online.insert(user.into());
        let answer = self.add(&Self::online_set(user), &[user.to_owned()]).await;
        answer.map_or(new_here, |(_, came)| !came.is_empty())
    }

    async fn disconnect(&self, user: &str) -> bool {
        let was_here = self.said().online.remove(user);
        let answer = self.remove(&Self::online_set(user), &[user.to_owned()]).await;
        answer.map_or(was_here, |(_, gone)| gone.iter().any(|name| name == user))
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

    async fn watch(&self, channel: i64, user: &str) -> i64 {
        self.said().watching.entry(channel).or_default().insert(user.into());
        match self.add(&Self::watching_set(channel), &[user.to_owned()]).await {
            Some((count, _)) => count,
            None => self.watching_here(channel),
        }
    }

    async fn unwatch(&self, channel: i64, user: &str) -> i64 {
        {
            let mut said = self.said();
            if let Some(users) = said.watching.get_mut(&channel) {
                users.remove(user);
                if users.is_empty() {
                    said.watching.remove(&channel);
                }
            }
        }
        match self.remove(&Self::watching_set(channel), &[user.to_owned()]).await {
            Some((count, _)) => count,
            None => self.watching_here(channel),
        }
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

    async fn refresh(&self) -> Vec<String> {
        let mut sets: HashMap<String, Vec<String>> = HashMap::new();
        {
            let said = self.said();
            for user in &said.online {
                sets.entry(Self::online_set(user)).or_default().push(user.clone());
            }
            for (channel, users) in &said.watching {
                sets.entry(Self::watching_set(*channel)).or_default().extend(users.iter().cloned());
            }
        }
        let mut says = Vec::with_capacity(sets.len());
        for (set, users) in &sets {
            says.extend(users.chunks(SCRIPT_USERS_MAX).map(|part| self.add(set, part).boxed()));
        }
        let mut said = stream::iter(says).buffer_unordered(limits::REDIS_CALLS_MAX);
        while let Some(answer) = said.next().await {
            if answer.is_none() {
                return Vec::new();
            }
        }
        let sweeps = (0..ONLINE_SHARDS).map(|shard| async move { self.remove(&format!("online:{shard}"), &[]).await });
        let gone = join_all(sweeps).await;
        gone.into_iter().flatten().flat_map(|(_, users)| users).collect()
    }

    async fn forgotten(&self) {
        // The sender lives as long as the client, which is here.
        let _ = self.returns.lock().await.changed().await;
    }
}
