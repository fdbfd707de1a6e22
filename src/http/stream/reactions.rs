//! Reactions.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use wire::reaction::{GetReactionsResponse, ReactionResponse, SendReactionRequest};

use crate::chat::reactions;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, Params, Segments};
use crate::http::reply::Reply;

/// Reacts to a message.
#[utoipa::path(post, path = "/messages/{id}/reaction/", operation_id = "SendReaction", tag = "reactions",
    request_body = SendReactionRequest, responses((status = 201, body = ReactionResponse)))]
pub async fn send_reaction(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Body(request): Body<SendReactionRequest>,
) -> Result<Reply<ReactionResponse>> {
    let caller = caller.acting_as(&ctx, request.reaction.user_id.as_deref(), request.reaction.user.as_ref()).await?;
    let (message, reaction) = reactions::send_reaction(&ctx, &caller, &id, request).await?;
    Ok(Reply(ReactionResponse { message, reaction }))
}

/// Takes a reaction back.
#[utoipa::path(delete, path = "/messages/{id}/reaction/{type}/", operation_id = "DeleteReaction", tag = "reactions",
    responses((status = 200, body = ReactionResponse)))]
pub async fn delete_reaction(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id, kind]): Segments<2>,
) -> Result<Reply<ReactionResponse>> {
    let (message, reaction) = reactions::delete_reaction(&ctx, &caller, &id, &kind).await?;
    Ok(Reply(ReactionResponse { message, reaction }))
}

/// Which reactions.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReactionsPage {
    limit: Option<i64>,
    offset: Option<i64>,
}

/// A page of a message's reactions, newest first.
#[utoipa::path(get, path = "/messages/{id}/reactions/", operation_id = "GetReactions", tag = "reactions", params(ReactionsPage),
    responses((status = 200, body = GetReactionsResponse)))]
pub async fn get_reactions(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Params(page): Params<ReactionsPage>,
) -> Result<Reply<GetReactionsResponse>> {
    Ok(Reply(GetReactionsResponse {
        reactions: reactions::get_reactions(&ctx, &caller, &id, page.limit, page.offset).await?,
    }))
}
