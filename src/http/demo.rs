//! The demo: a page to look at in the first five minutes, with users and a channel. Only with the development secret, which
//! everybody knows, and so only on loopback addresses and for pages of this machine (middleware/own_machine.rs).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use wire::channel::GetOrCreateChannelRequest;
use wire::message::SendMessageRequest;

use super::host;
use crate::access::Caller;
use crate::chat::channels::get_or_create::get_or_create;
use crate::chat::messages::send::send_message;
use crate::chat::users::upsert::update_users;
use crate::ctx::Ctx;
use crate::error::{Error, Result};

/// Who talks in the demo: id, name.
const USERS: &[(&str, &str)] =
    &[("ada", "Ada Lovelace"), ("grace", "Grace Hopper"), ("linus", "Linus"), ("margaret", "Margaret Hamilton")];
const CHANNEL: &str = "lobby";

const PAGE: &str = include_str!("../../web/demo/index.html");
const SCRIPT: &str = include_str!("../../web/demo/app.js");
const STYLE: &str = include_str!("../../web/demo/style.css");

/// The page.
pub async fn page(State(ctx): State<Arc<Ctx>>) -> Response {
    if !ctx.config.demo {
        return "Millrace\n".into_response();
    }
    served("text/html; charset=utf-8", PAGE.into())
}

/// What the page loads: its script, its style, and the session of a demo user.
pub async fn file(
    State(ctx): State<Arc<Ctx>>,
    Path(file): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response> {
    let missing = || Error::not_found("there is no such file");
    if !ctx.config.demo {
        return Err(missing());
    }
    match file.as_str() {
        "app.js" => Ok(served("text/javascript; charset=utf-8", SCRIPT.into())),
        "style.css" => Ok(served("text/css; charset=utf-8", STYLE.into())),
        // A token: for the page itself and no other, whichever port of this machine that came from.
        "session.json" if !is_same_origin(&headers) => Err(missing()),
        "session.json" => {
            let asked = query.get("user").map(String::as_str);
            let (id, name) = USERS.iter().find(|(id, _)| asked.is_none_or(|asked| asked == *id)).ok_or_else(missing)?;
            let session = json!({
                "api_key": ctx.config.api_key,
                "user": {"id": id, "name": name},
                "token": ctx.tokens.for_user(id, None, None)?,
                "channel": {"type": "messaging", "id": CHANNEL},
                "users": USERS.iter().map(|(id, name)| json!({"id": id, "name": name})).collect::<Vec<_>>(),
            });
            Ok(served("application/json", session.to_string()))
        }
        _ => Err(missing()),
    }
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map_or(&b"none"[..], |site| site.as_bytes());
    matches!(site, b"none" | b"same-origin")
        && host::of_page(headers).is_none_or(|page| host::of(headers) == Some(page))
}

fn served(mime_type: &'static str, body: String) -> Response {
    ([(CONTENT_TYPE, mime_type), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Makes the demo's users and channel, the first time.
///
/// # Errors
/// Postgres.
pub async fn seed(ctx: &Ctx) -> Result<()> {
    let cid = wire::Cid::new("messaging", CHANNEL)?;
    if ctx.caches.channel(&cid).await?.is_some() {
        return Ok(());
    }
    let server = Caller::server();
    let request = |value: serde_json::Value| serde_json::from_value(value).map_err(Error::from);
    let users = USERS.iter().map(|(id, name)| Ok(((*id).to_owned(), request(json!({"id": id, "name": name}))?)));
    update_users(ctx, &server, users.collect::<Result<_>>()?).await?;
    let members: Vec<&str> = USERS.iter().map(|(id, _)| *id).collect();
    let create: GetOrCreateChannelRequest =
        serde_json::from_value(json!({"data": {"created_by_id": USERS[0].0, "members": members, "name": "Lobby"}}))?;
    get_or_create(ctx, &server, "messaging", Some(CHANNEL), create).await?;
    for (user, text) in [
        ("ada", "Welcome to **Millrace**. Open this page twice, as two people, and talk."),
        (
            "grace",
            "Everything you see here went through the Stream protocol: HTTP for what you say, a WebSocket for what you hear.",
        ),
    ] {
        let message: SendMessageRequest = serde_json::from_value(json!({"message": {"text": text}}))?;
        let author = server.clone().acting_as(ctx, Some(user), None).await?;
        send_message(ctx, &author, &cid, message).await?;
    }
    Ok(())
}

/// What a newcomer reads in the terminal.
///
/// # Errors
/// None in practice: our own tokens always sign.
pub fn welcome(ctx: &Ctx, listen: SocketAddr) -> Result<String> {
    let (key, url) = (&ctx.config.api_key, format!("http://{listen}"));
    let token = ctx.tokens.for_user(USERS[0].0, None, None)?;
    Ok(format!(
        "
  Millrace is ready.

    look        {url}/
    API key     {key}
    secret      {secret}   (development: known to everybody, works on this machine only)
    base URL    {url}   for any Stream client, in place of the hosted one
    a token     millrace token --user grace

    say something as ada:

    curl -s '{url}/channels/messaging/{CHANNEL}/message?api_key={key}' \\
      -H 'stream-auth-type: jwt' -H 'content-type: application/json' \\
      -H 'authorization: {token}' \\
      -d '{{\"message\": {{\"text\": \"hello from curl\"}}}}'
",
        secret = ctx.config.api_secret.reveal(),
    ))
}
