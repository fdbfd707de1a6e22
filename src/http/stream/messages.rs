//! Messages.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use wire::message::{
    GetMessageResponse, MessagePage, MessageResponse, MessagesResponse, SendMessageRequest,
    UpdateMessagePartialRequest, UpdateMessageRequest,
};

use crate::chat::messages::{delete, history, send, update};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::http::extract::{Auth, Body, CidPath, Params, Segments};
use crate::http::reply::Reply;

/// Sends a message. Sending the same id again answers what is there.
#[utoipa::path(post, path = "/channels/{type}/{id}/message/", operation_id = "SendMessage", tag = "messages",
    request_body = SendMessageRequest, responses((status = 201, body = MessageResponse)))]
pub async fn send_message(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Body(request): Body<SendMessageRequest>,
) -> Result<Reply<MessageResponse>> {
    let caller = caller.acting_as(&ctx, request.message.user_id.as_deref(), request.message.user.as_ref()).await?;
    Ok(Reply(MessageResponse { message: send::send_message(&ctx, &caller, &cid, request).await? }))
}

/// Which messages.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ManyMessagesParams {
    /// Message ids, separated by commas.
    #[serde(default)]
    ids: String,
}

/// Messages of a channel by their ids.
#[utoipa::path(get, path = "/channels/{type}/{id}/messages/", operation_id = "GetManyMessages", tag = "messages",
    params(ManyMessagesParams), responses((status = 200, body = MessagesResponse)))]
pub async fn get_many_messages(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Params(params): Params<ManyMessagesParams>,
) -> Result<Reply<MessagesResponse>> {
    let ids: Vec<String> = params.ids.split(',').filter(|id| !id.is_empty()).map(Into::into).collect();
    Ok(Reply(MessagesResponse { messages: history::get_many_messages(&ctx, &caller, &cid, &ids).await? }))
}

/// How to show a message.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GetMessageParams {
    /// Show what a deleted message said. For servers.
    #[serde(default)]
    show_deleted_message: bool,
}

/// One message.
#[utoipa::path(get, path = "/messages/{id}/", operation_id = "GetMessage", tag = "messages", params(GetMessageParams),
    responses((status = 200, body = GetMessageResponse)))]
pub async fn get_message(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Params(params): Params<GetMessageParams>,
) -> Result<Reply<GetMessageResponse>> {
    Ok(Reply(GetMessageResponse {
        message: history::get_message(&ctx, &caller, &id, params.show_deleted_message).await?,
    }))
}

/// Replaces a message.
#[utoipa::path(post, path = "/messages/{id}/", operation_id = "UpdateMessage", tag = "messages", request_body = UpdateMessageRequest,
    responses((status = 201, body = MessageResponse)))]
pub async fn update_message(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Body(request): Body<UpdateMessageRequest>,
) -> Result<Reply<MessageResponse>> {
    let caller = caller.acting_as(&ctx, request.message.user_id.as_deref(), request.message.user.as_ref()).await?;
    Ok(Reply(MessageResponse { message: update::update_message(&ctx, &caller, &id, request.message).await? }))
}

/// Changes parts of a message.
#[utoipa::path(put, path = "/messages/{id}/", operation_id = "UpdateMessagePartial", tag = "messages",
    request_body = UpdateMessagePartialRequest, responses((status = 200, body = MessageResponse)))]
pub async fn update_message_partial(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Body(request): Body<UpdateMessagePartialRequest>,
) -> Result<Reply<MessageResponse>> {
    let caller = caller.acting_as(&ctx, request.user_id.as_deref(), request.user.as_ref()).await?;
    Ok(Reply(MessageResponse { message: update::update_message_partial(&ctx, &caller, &id, request).await? }))
}

/// How to delete.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteMessageParams {
    /// For good, with replies and reactions.
    #[serde(default)]
    hard: bool,
    /// For whom a server deletes.
    deleted_by: Option<String>,
}

/// Deletes a message.
#[utoipa::path(delete, path = "/messages/{id}/", operation_id = "DeleteMessage", tag = "messages", params(DeleteMessageParams),
    responses((status = 200, body = MessageResponse)))]
pub async fn delete_message(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Params(params): Params<DeleteMessageParams>,
) -> Result<Reply<MessageResponse>> {
    let caller = caller.acting_as(&ctx, params.deleted_by.as_deref(), None).await?;
    Ok(Reply(MessageResponse { message: delete::delete_message(&ctx, &caller, &id, params.hard).await? }))
}

/// A page of a thread's replies, oldest first.
#[utoipa::path(get, path = "/messages/{id}/replies/", operation_id = "GetReplies", tag = "messages",
    responses((status = 200, body = MessagesResponse)))]
pub async fn get_replies(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    Segments([id]): Segments<1>,
    Params(page): Params<MessagePage>,
) -> Result<Reply<MessagesResponse>> {
    Ok(Reply(MessagesResponse { messages: history::get_replies(&ctx, &caller, &id, &page).await? }))
}
