//! Polls, reminders and what else a room's people keep: real rows, but no more than that. Nobody votes, nothing rings.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::Timestamp;

use super::auth::RoomAuth;
use super::shape;
use crate::chat::rooms::things::{self, ThingKind};
use crate::chat::rooms::threads;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::http::extract::{Body, Segments};
use crate::limits;

fn required(name: &'static str, value: Option<String>) -> Result<String> {
    let missing = || Error::input(format!("{name} is missing")).field(name, "This field is required.");
    value.filter(|value| !value.is_empty()).ok_or_else(missing)
}

#[derive(Debug, Default, Deserialize)]
pub struct NewPoll {
    question: Option<String>,
    #[serde(default)]
    options: Vec<PollOption>,
}

/// An option, as its text or as an object with it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum PollOption {
    Text(String),
    Object { text: String },
}

pub async fn create_poll(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(new): Body<NewPoll>,
) -> Result<(StatusCode, Json<Value>)> {
    let question = required("question", new.question)?;
    if new.options.len() as i64 > limits::ROOM_LIST_MAX {
        return Err(Error::input(format!("a poll has at most {} options", limits::ROOM_LIST_MAX)));
    }
    let poll = things::keep(&ctx, &auth.caller, ThingKind::Poll, "", &question, None).await?;
    let mut options = Vec::with_capacity(new.options.len());
    for PollOption::Text(text) | PollOption::Object { text } in new.options {
        options.push(add_option(&ctx, &auth, poll.id, &text).await?);
    }
    let mut shown = shape::thing(&poll, Some("question"), None);
    shown["options"] = options.into();
    Ok((StatusCode::CREATED, Json(json!({"poll": shown}))))
}

async fn add_option(ctx: &Ctx, auth: &RoomAuth, poll: i64, text: &str) -> Result<Value> {
    let option = things::keep(ctx, &auth.caller, ThingKind::PollOption, &poll.to_string(), text, None).await?;
    Ok(shape::thing(&option, Some("text"), Some("poll_id")))
}

pub async fn polls(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    let polls = things::list(&ctx, &auth.caller, ThingKind::Poll).await?;
    Ok(Json(polls.iter().map(|poll| shape::thing(poll, Some("question"), None)).collect()))
}

pub async fn delete_poll(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
) -> Result<StatusCode> {
    things::delete(&ctx, &auth.caller, ThingKind::Poll, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
pub struct NewOption {
    text: Option<String>,
}

pub async fn create_option(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Segments([id]): Segments<1>,
    Body(new): Body<NewOption>,
) -> Result<(StatusCode, Json<Value>)> {
    let poll = things::find(&ctx, &auth.caller, ThingKind::Poll, &id).await?;
    let option = add_option(&ctx, &auth, poll.id, &required("text", new.text)?).await?;
    Ok((StatusCode::CREATED, Json(json!({"poll_option": option}))))
}

#[derive(Debug, Default, Deserialize)]
pub struct NewReminder {
    text: Option<String>,
    remind_at: Option<Timestamp>,
}

pub async fn create_reminder(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(new): Body<NewReminder>,
) -> Result<(StatusCode, Json<Value>)> {
    let text = required("text", new.text)?;
    let reminder = things::keep(&ctx, &auth.caller, ThingKind::Reminder, "", &text, new.remind_at).await?;
    Ok((StatusCode::CREATED, Json(json!({"reminder": shape::thing(&reminder, Some("text"), None)}))))
}

/// The caller's reminders that are due.
pub async fn notifications(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Json<Value>> {
    let due = things::due(&ctx, &auth.caller, ThingKind::Reminder).await?;
    let shown =
        due.iter().map(|thing| json!({"id": thing.id.to_string(), "text": thing.text, "created_at": thing.created_at}));
    Ok(Json(shown.collect()))
}

/// The first messages of the threads that the caller takes part in.
pub async fn threads(State(ctx): State<Arc<Ctx>>, auth: RoomAuth) -> Result<Response> {
    Ok(Json(shape::messages(&threads::threads_of(&ctx, &auth.caller).await?)).into_response())
}

#[derive(Debug, Default, Deserialize)]
pub struct NewAttachment {
    name: Option<String>,
}

/// Announces an attachment. Its bytes go through the Stream surface.
pub async fn create_attachment(
    State(ctx): State<Arc<Ctx>>,
    auth: RoomAuth,
    Body(new): Body<NewAttachment>,
) -> Result<(StatusCode, Json<Value>)> {
    let name = required("name", new.name)?;
    let kept = things::keep(&ctx, &auth.caller, ThingKind::Attachment, "", &name, None).await?;
    Ok((StatusCode::CREATED, Json(json!({"attachment": {"id": kept.id.to_string(), "name": name}}))))
}

#[derive(Debug, Default, Deserialize)]
pub struct Link {
    url: Option<String>,
}

/// A link with its title. Nothing is fetched for it yet, so there is none.
pub async fn link_preview(_: RoomAuth, Body(link): Body<Link>) -> (StatusCode, Json<Value>) {
    match link.url.filter(|url| !url.is_empty()) {
        Some(url) => (StatusCode::OK, Json(json!({"url": url, "title": null}))),
        None => (StatusCode::BAD_REQUEST, Json(json!({"error": "url required"}))),
    }
}
