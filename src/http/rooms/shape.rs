//! Things in the form that this surface shows them. They are made from the JSON of the Stream surface, so that an answer, a frame
//! of a socket and a Stream client's view can never tell three stories.

use serde::Serialize;
use serde_json::{Value, json};

use crate::store::rooms::Thing;
use crate::store::users::User;

/// A type of the wire as JSON.
pub fn json_of(shown: &impl Serialize) -> Value {
    serde_json::to_value(shown).unwrap_or_default()
}

/// A message.
pub fn message(shown: &Value) -> Value {
    let author = &shown["user"];
    let reactions = shown["latest_reactions"].as_array().into_iter().flatten().map(reaction);
    json!({
        "id": shown["id"],
        "cid": shown["cid"],
        "text": shown["text"],
        "body": shown["text"],
        "sent_by": author["id"],
        "user_id": author["id"],
        "user": {"id": author["id"], "name": author["name"], "image": author["image"]},
        "created_at": shown["created_at"],
        "updated_at": shown["updated_at"],
        "deleted_at": shown["deleted_at"],
        "attachments": shown["attachments"],
        "parent_id": shown["parent_id"],
        "reply_to": shown["parent_id"],
        "show_in_channel": shown["show_in_channel"].as_bool().unwrap_or(false),
        "reply_count": shown["reply_count"],
        "pinned": shown["pinned"],
        "custom_data": shown.get("custom_data").cloned().unwrap_or_else(|| json!({})),
        "reactions": reactions.collect::<Vec<_>>(),
    })
}

/// Messages, in the order given.
pub fn messages(shown: &[wire::message::Message]) -> Vec<Value> {
    shown.iter().map(|shown| message(&json_of(shown))).collect()
}

/// A reaction. Its id is made of what makes it unique on its message.
pub fn reaction(shown: &Value) -> Value {
    let id =
        format!("{}:{}", shown["user_id"].as_str().unwrap_or_default(), shown["type"].as_str().unwrap_or_default());
    json!({"id": id, "type": shown["type"], "user_id": shown["user_id"], "created_at": shown["created_at"]})
}

/// A member.
pub fn member(shown: &wire::member::Member) -> Value {
    json!({"id": shown.user_id, "role": shown.role, "banned": shown.banned})
}

/// A room with what was loaded of it.
pub fn room(state: &wire::channel::ChannelState) -> Value {
    let channel = &state.channel;
    let archived = state.membership.as_ref().is_some_and(|member| member.archived_at.is_some());
    json!({
        "id": channel.cid.id(),
        "uuid": channel.cid.id(),
        "cid": channel.cid,
        "name": channel.custom.0.get("name"),
        "type": channel.kind,
        "client": channel.created_by.as_ref().map(|user| user.id.clone()),
        "agent": null,
        "messages": messages(&state.messages),
        "url": format!("/api/rooms/{}/", channel.cid),
        "data": channel.custom.0,
        "visible": !state.hidden,
        "status": if archived { "archived" } else { "active" },
        "created_at": channel.created_at,
    })
}

/// A user.
pub fn user(user: &User) -> Value {
    person(&user.id, user.name.as_deref())
}

/// The same from its parts.
pub fn person(id: &str, name: Option<&str>) -> Value {
    json!({"id": id, "username": name.unwrap_or(id)})
}

/// A flag, a reminder or the like; `about` is the name of the key that says what it belongs to.
pub fn thing(thing: &Thing, text: Option<&str>, about: Option<&str>) -> Value {
    // As text: ids have 64 bits, numbers in browsers 53.
    let mut shown = json!({"id": thing.id.to_string(), "user_id": thing.user_id, "created_at": thing.created_at});
    if let Some(key) = text {
        shown[key] = thing.text.clone().into();
    }
    if let Some(key) = about {
        shown[key] = thing.about.clone().into();
    }
    if let Some(due_at) = thing.due_at {
        shown["remind_at"] = json_of(&due_at);
    }
    shown
}
