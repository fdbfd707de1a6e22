//! Ids that Millrace makes.

use uuid::Uuid;

/// An id for a message that came without one. Ordered by time, so that the index of ids grows at its end.
pub fn message_id() -> String {
    Uuid::now_v7().to_string()
}

/// An id for a connection. Random: whoever knows it may subscribe the connection to channels of its user.
pub fn connection_id() -> String {
    Uuid::new_v4().to_string()
}

/// A word that nobody guesses: 128 random bits in hex.
pub fn unguessable() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The id of a guest user: the wished one with something random in front, so that a guest never becomes somebody else.
pub fn guest_user_id(wished: &str) -> String {
    format!("guest-{}-{wished}", Uuid::new_v4())
}
