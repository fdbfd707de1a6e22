//! Guests: users without a token of their own, made on request.

use wire::user::{CreateGuestResponse, UserRequest};

use super::change::{self, Author};
use crate::access::caller::{GUEST_ROLE, check_user_id};
use crate::chat::render;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::ids;
use crate::store::users::User;

/// Creates a guest and gives it a token.
///
/// # Errors
/// An id that cannot be one, or data that is too large.
pub async fn create_guest(ctx: &Ctx, request: UserRequest) -> Result<CreateGuestResponse> {
    check_user_id(&request.id)?;
    let id = ids::guest_user_id(&request.id);
    check_user_id(&id)?;
    let mut user = User::new(&id, GUEST_ROLE, ctx.clock.now());
    let request = UserRequest { role: None, teams: None, teams_role: None, id: id.clone(), ..request };
    change::replace(&mut user, request, Author::Oneself)?;
    let mut write = ctx.store.write().await?;
    let row = write.put_user(&user).await?;
    ctx.announcer.tell(write.commit().await?).await;
    let access_token = ctx.tokens.for_user(&id, Some(ctx.clock.now().seconds()), None)?;
    Ok(CreateGuestResponse { user: render::users::public(&row, false), access_token })
}
