//! Who hears an event: the classes of Stream's event table.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The connections that hear an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// The watchers of the channel, or of them only these users. Members of the channel who do not watch it hear the
    /// `notification.*` twin, where there is one (realtime/notify.rs).
    Channel { only: Option<Arc<[String]>> },
    /// Every connection of the user.
    User(String),
    /// The user's connections that do not watch the channel.
    AbsentUser(String),
    /// The connections of these users that do not watch the channel, each with its own numbers (realtime/notify.rs).
    AbsentUsers(Arc<[String]>),
    /// Connections that asked for the presence of the user, and the user's own.
    Presence(String),
    /// No client.
    Nobody,
}

impl Audience {
    /// Everybody who watches the channel.
    pub const CHANNEL: Self = Self::Channel { only: None };

    pub fn user(id: &str) -> Self {
        Self::User(id.into())
    }

    /// As columns of the log: name, user, the chosen few.
    pub fn columns(&self) -> (&'static str, Option<&str>, Option<&[String]>) {
        match self {
            Self::Channel { only } => ("channel", None, only.as_deref()),
            Self::User(user) => ("user", Some(user), None),
            Self::AbsentUser(user) => ("absent_user", Some(user), None),
            Self::AbsentUsers(users) => ("absent_users", None, Some(users)),
            Self::Presence(user) => ("presence", Some(user), None),
            Self::Nobody => ("none", None, None),
        }
    }

    /// Back from the columns of the log.
    pub fn from_columns(name: &str, user: Option<&str>, only: Option<Vec<String>>) -> Option<Self> {
        Some(match (name, user) {
            ("channel", _) => Self::Channel { only: only.map(Into::into) },
            ("user", Some(user)) => Self::User(user.into()),
            ("absent_user", Some(user)) => Self::AbsentUser(user.into()),
            ("absent_users", _) => Self::AbsentUsers(only?.into()),
            ("presence", Some(user)) => Self::Presence(user.into()),
            ("none", _) => Self::Nobody,
            _ => return None,
        })
    }
}
