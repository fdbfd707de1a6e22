//! Who a caller was found to be, and when: for whatever comes after a wait.
//!
//! A caller is known by its headers, and its body may take half a minute, an upload five. What was true at the beginning need not be
//! true at the end: tokens end and are revoked, roles are taken. So the end of a body asks again.

use std::sync::Arc;
use std::time::Instant;

use axum::http::request::Parts;

use super::caller;
use crate::access::Caller;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::rooms::auth;
use crate::limits;

/// Which surface's word a caller's token is.
#[derive(Clone, Copy, Debug)]
pub enum Surface {
    Stream,
    Rooms,
}

/// Lies beside a request ([`Parts::extensions`]) as soon as its caller is known.
#[derive(Clone, Debug)]
pub struct Proof {
    caller: Caller,
    surface: Surface,
    at: Instant,
}

impl Proof {
    /// Notes who the caller of a request is.
    pub fn note(parts: &mut Parts, surface: Surface, caller: &Caller) {
        parts.extensions.insert(Self { caller: caller.clone(), surface, at: Instant::now() });
    }

    /// Is the caller of a request still who it was found to be, if that is a while ago or something may have changed since?
    ///
    /// # Errors
    /// Those of authentication; a caller whose rights are no longer the same.
    pub async fn check_again(ctx: &Arc<Ctx>, parts: &Parts) -> Result<()> {
        let Some(proof) = parts.extensions.get::<Self>() else { return Ok(()) };
        if proof.at.elapsed() <= limits::PROOF_LIFE && !proof.caller.may_have_changed(ctx) {
            return Ok(());
        }
        let now = match proof.surface {
            Surface::Stream => Box::pin(caller::authenticated(ctx, &parts.uri, &parts.headers)).await?,
            Surface::Rooms => Box::pin(auth::authenticated(ctx, &parts.headers)).await?.0,
        };
        if proof.caller.has_the_rights_of(&now) {
            return Ok(());
        }
        Err(Error::not_allowed("your rights have changed while this was being sent: send it again"))
    }
}
