//! Users and channels for the load, made through the API like anybody else's.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use client::{Client, server_token};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{API_KEY, API_SECRET, Server};

const USERS_PER_CALL: usize = 100;
const CALLS_AT_ONCE: usize = 16;
const LOOKS_MAX: usize = 300;
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub struct Furnisher(Client);

impl Furnisher {
    pub fn new(server: &Server) -> Self {
        let base = format!("http://{}", server.address);
        Self(Client::new(&base, API_KEY).with_token(&server_token(API_SECRET)))
    }

    /// Users [`user`] 0 up to `count`.
    pub async fn users(&self, count: usize) -> Result<()> {
        let calls = (0..count).step_by(USERS_PER_CALL).map(|first| {
            let ids = (first..count.min(first + USERS_PER_CALL)).map(user);
            let users: serde_json::Map<String, Value> = ids.map(|id| (id.clone(), json!({"id": id}))).collect();
            ("/users".to_owned(), json!({"users": users}))
        });
        self.call_all(calls).await
    }

    /// A channel with these members.
    pub async fn channels(&self, kind: &str, channels: impl IntoIterator<Item = (String, Vec<String>)>) -> Result<()> {
        let calls = channels.into_iter().map(|(id, members)| {
            let data = json!({"created_by_id": user(0), "members": members});
            (format!("/channels/{kind}/{id}/query"), json!({"data": data, "state": false}))
        });
        self.call_all(calls).await
    }

    /// Makes users 0 up to `count` members of a channel.
    pub async fn members(&self, channel: &str, count: usize) -> Result<()> {
        for first in (0..count).step_by(USERS_PER_CALL) {
            let members: Vec<String> = (first..count.min(first + USERS_PER_CALL)).map(user).collect();
            call(self.0.clone(), format!("/channels/{channel}"), json!({"add_members": members})).await?;
        }
        Ok(())
    }

    /// Waits until so many users watch a channel.
    pub async fn watchers_of(&self, channel: &str, count: usize) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            let path = format!("/channels/{channel}/query");
            let answer = self.0.call("POST".parse()?, &path, &[], Some(&json!({"state": true}))).await?;
            if answer.body["watcher_count"] == count {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("fewer than {count} watch {channel}")
    }

    async fn call_all(&self, calls: impl Iterator<Item = (String, Value)>) -> Result<()> {
        let mut under_way = JoinSet::new();
        for (path, body) in calls {
            if under_way.len() == CALLS_AT_ONCE
                && let Some(done) = under_way.join_next().await
            {
                done??;
            }
            under_way.spawn(call(self.0.clone(), path, body));
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(())
    }
}

async fn call(client: Client, path: String, body: Value) -> Result<()> {
    let answer = client.call("POST".parse()?, &path, &[], Some(&body)).await?;
    ensure!(answer.is_success(), "{path}: {} {}", answer.status, answer.text);
    Ok(())
}

/// Id of a user.
pub fn user(index: usize) -> String {
    format!("user-{index}")
}
