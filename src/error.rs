//! The one error type of Millrace.
//!
//! An [`Error`] says what kind of thing went wrong, in words for the caller, and keeps the cause for the log. It knows no
//! HTTP: [`catalog`] maps kinds to status and Stream code at the edge, and each surface dresses it in its own envelope.

pub mod catalog;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use catalog::Kind;

use crate::limits;

pub type Result<T> = std::result::Result<T, Error>;

type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong. Cheap to clone, so that many waiters may share one.
#[derive(Clone)]
pub struct Error {
    pub kind: Kind,
    /// For the caller: never a secret, never internals.
    pub message: Cow<'static, str>,
    /// What was wrong, by field of the request.
    pub fields: BTreeMap<String, String>,
    /// For the log.
    cause: Option<Cause>,
    at: &'static Location<'static>,
}

impl Error {
    #[track_caller]
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: cut(message.into()), fields: BTreeMap::new(), cause: None, at: Location::caller() }
    }

    /// Bad input (code 4).
    #[track_caller]
    pub fn input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Input, message)
    }

    #[track_caller]
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    #[track_caller]
    pub fn not_allowed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotAllowed, message)
    }

    /// A fault of the server. The caller hears nothing of the cause.
    #[track_caller]
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "something went wrong on our side, please try again").because(cause)
    }

    /// Something that Millrace needs (Postgres, Redis, an object store) does not answer now.
    #[track_caller]
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Kind::Unavailable, "the service is not available right now, please try again").because(cause)
    }

    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(Cause::from(cause.into()));
        self
    }

    pub fn field(mut self, name: &str, problem: impl Into<String>) -> Self {
        self.fields.insert(cut(name.to_owned().into()).into(), problem.into());
        self
    }

    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync)> {
        self.cause.as_deref()
    }

    /// Where in the source the error was made.
    pub fn at(&self) -> &'static Location<'static> {
        self.at
    }
}

/// What went wrong is often said with what the caller sent: not with all of it.
fn cut(message: Cow<'static, str>) -> Cow<'static, str> {
    if message.len() <= limits::ERROR_MESSAGE_BYTES_MAX {
        return message;
    }
    let end = message.floor_char_boundary(limits::ERROR_MESSAGE_BYTES_MAX);
    format!("{}…", &message[..end]).into()
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {} (at {})", self.kind, self.message, self.at)?;
        if let Some(cause) = &self.cause {
            write!(out, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<query::QueryError> for Error {
    #[track_caller]
    fn from(error: query::QueryError) -> Self {
        Self::input(error.0)
    }
}

impl From<wire::cid::CidError> for Error {
    #[track_caller]
    fn from(error: wire::cid::CidError) -> Self {
        Self::input(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    /// Serialising our own types cannot fail for a reason of the caller's.
    #[track_caller]
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_say_all_that_was_sent() {
        let error = Error::input(format!("{} is wrong", "ä".repeat(100_000)));
        assert!(error.message.len() <= limits::ERROR_MESSAGE_BYTES_MAX + "…".len() && error.message.ends_with("ä…"));
        assert_eq!(Error::input("short").message, "short");
        let error = Error::input("x").field(&"k".repeat(100_000), "wrong kind");
        assert!(error.fields.keys().all(|name| name.len() < 2 * limits::ERROR_MESSAGE_BYTES_MAX));
    }
}
