//! Who is calling: a server that holds the secret, a user, or somebody anonymous.
//!
//! Somebody anonymous has an id that no user can have, reads what its role may read, and owns nothing: no row ever names it
//! (docs/adr/0013).

use std::sync::Arc;

use wire::Timestamp;
use wire::user::UserRequest;

use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::users::User;

/// The role of users who connect without a token.
pub const ANONYMOUS_ROLE: &str = "anonymous";
/// The role of users made by `POST /guest`.
pub const GUEST_ROLE: &str = "guest";
/// The role of everybody else, unless a server says otherwise.
pub const USER_ROLE: &str = "user";

/// What ids of anonymous callers begin with. No user's id can: `!` is none of their characters.
const ANONYMOUS_PREFIX: &str = "!anon-";

/// The author of a call.
#[derive(Clone, Debug)]
pub struct Caller {
    standing: Standing,
    user: Option<Arc<User>>,
    /// See [`Caller::as_of`].
    as_of: Option<u64>,
}

/// What a caller has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// That it has the secret.
    Server,
    /// That it is its user.
    User,
    /// Nothing.
    Anonymous,
}

impl Caller {
    /// A server, as nobody in particular.
    pub fn server() -> Self {
        Self { standing: Standing::Server, user: None, as_of: None }
    }

    /// A user, or somebody anonymous: the id says which.
    pub fn client(user: Arc<User>) -> Self {
        let is_anonymous = user.id.starts_with(ANONYMOUS_PREFIX);
        let standing = if is_anonymous { Standing::Anonymous } else { Standing::User };
        Self { standing, user: Some(user), as_of: None }
    }

    /// The same, with what the caches had forgotten ([`crate::access::Caches::forgotten`]) before it was known who the caller is.
    pub fn as_of(self, forgotten: u64) -> Self {
        Self { as_of: Some(forgotten), ..self }
    }

    /// May something have changed since it was known who the caller is? Where that is not known, it may.
    pub fn may_have_changed(&self, ctx: &Ctx) -> bool {
        self.as_of != Some(ctx.caches.forgotten())
    }

    /// Has the other the same standing, and its user the same rights?
    pub fn has_the_rights_of(&self, other: &Self) -> bool {
        let same = |one: &User, other: &User| {
            (&one.id, &one.role, &one.teams, &one.teams_role)
                == (&other.id, &other.role, &other.teams, &other.teams_role)
                && (one.banned, one.shadow_banned, one.ban_expires)
                    == (other.banned, other.shadow_banned, other.ban_expires)
        };
        self.standing == other.standing
            && match (&self.user, &other.user) {
                (Some(one), Some(other)) => same(one, other),
                (one, other) => self.is_server() || (one.is_none() && other.is_none()),
            }
    }

    /// Somebody without a token, under the name that it gave itself. The same name is the same id on a socket and in a call, so
    /// that the two find each other; a name that has been an answer of ours is taken as it is.
    ///
    /// # Errors
    /// A name that could not be a user's id.
    pub fn anonymous(named: &str, now: Timestamp) -> Result<Self> {
        let name = named.strip_prefix(ANONYMOUS_PREFIX).unwrap_or(named);
        check_user_id(name)?;
        let id = format!("{ANONYMOUS_PREFIX}{name}");
        Ok(Self::client(Arc::new(User::new(&id, ANONYMOUS_ROLE, now))))
    }

    /// The same without what servers may: what its user may do itself.
    pub fn as_client(&self) -> Option<Self> {
        self.user.clone().map(Self::client)
    }

    /// Servers skip every permission check.
    pub fn is_server(&self) -> bool {
        self.standing == Standing::Server
    }

    /// Somebody anonymous reads, whatever else its role is granted: what it wrote would be nobody's.
    pub fn is_anonymous(&self) -> bool {
        self.standing == Standing::Anonymous
    }

    /// The same caller with its user as Postgres knows it now. Somebody anonymous is nowhere but in the request.
    pub fn with_user(&self, user: Arc<User>) -> Self {
        if self.is_anonymous() { self.clone() } else { Self { user: Some(user), ..self.clone() } }
    }

    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    pub fn user_id(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.id.as_str())
    }

    /// The user who acts: whose is what the call writes, and whose own things it may ask for.
    ///
    /// # Errors
    /// A server that did not name one, or somebody anonymous, who has nothing of its own.
    pub fn acting(&self) -> Result<&Arc<User>> {
        if self.is_anonymous() {
            return Err(Error::not_allowed("somebody anonymous has nothing of its own: connect with a token"));
        }
        self.user
            .as_ref()
            .ok_or_else(|| Error::input("either user or user_id must be provided when using server side auth."))
    }

    /// # Errors
    /// Anybody but a server.
    pub fn require_server(&self) -> Result<()> {
        if self.is_server() {
            Ok(())
        } else {
            Err(Error::not_allowed("this call is for servers: it needs a server token"))
        }
    }

    /// The caller as the user whom the request names. A server may name anybody, and whom nobody knows is created; a client
    /// acts as itself.
    ///
    /// # Errors
    /// An id that cannot be one, or a client that names somebody else.
    pub async fn acting_as(self, ctx: &Ctx, user_id: Option<&str>, user: Option<&UserRequest>) -> Result<Self> {
        let named =
            user_id.filter(|id| !id.is_empty()).or(user.map(|user| user.id.as_str()).filter(|id| !id.is_empty()));
        let Some(id) = named else {
            return Ok(self);
        };
        if !self.is_server() {
            let own = |own: &str| own == id || (self.is_anonymous() && own.strip_prefix(ANONYMOUS_PREFIX) == Some(id));
            return if self.user_id().is_some_and(own) {
                Ok(self)
            } else {
                Err(Error::not_allowed("a client cannot act as somebody else"))
            };
        }
        // Boxed: clients never come here, and every handler's future would be larger for it.
        Ok(Self { user: Some(Box::pin(known_user(ctx, id)).await?), ..self })
    }
}

/// A user whom a server names, made if there is none.
async fn known_user(ctx: &Ctx, id: &str) -> Result<Arc<User>> {
    check_user_id(id)?;
    if let Some(user) = ctx.caches.user(id).await? {
        return Ok(user);
    }
    if let Some(created) = ctx.store.create_missing_users(&[id.to_owned()], USER_ROLE).await?.pop() {
        return Ok(Arc::new(created));
    }
    ctx.caches.user(id).await?.ok_or_else(|| Error::not_found(format!("user {id} does not exist")))
}

/// # Errors
/// An id that is empty, too long, or has a character that is not allowed.
pub fn check_user_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > limits::USER_ID_CHARS_MAX {
        return Err(Error::input(format!("a user id has 1 to {} characters", limits::USER_ID_CHARS_MAX)));
    }
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@_-.".contains(&byte)) {
        return Err(Error::input(format!("user id {id:?} has a character other than a-z A-Z 0-9 @ _ - .")));
    }
    Ok(())
}

/// # Errors
/// The token was issued before what the user or the app allows. A user's revocation takes tokens without a date too.
pub fn check_revoked(ctx: &Ctx, user: &User, issued_at: Option<i64>) -> Result<()> {
    if is_revoked(ctx, user, issued_at) {
        return Err(Error::new(Kind::TokenExpired, "the token has been revoked"));
    }
    Ok(())
}

/// Has a token of this user, issued then, been revoked?
pub fn is_revoked(ctx: &Ctx, user: &User, issued_at: Option<i64>) -> bool {
    let before = |limit: Option<Timestamp>| {
        limit.is_some_and(|limit: Timestamp| issued_at.is_none_or(|issued| issued < limit.seconds()))
    };
    before(user.revoke_tokens_issued_before) || before(ctx.caches.app().revoke_tokens_issued_before)
}
