//! Things in the form that this surface shows them. They are made from the JSON of the Stream surface, so that an answer, a frame
//! of a socket and a Stream client's view can never tell three stories. What clients made up stays text on the way.

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wire::channel::ChannelState;
use wire::{Cid, RawObject, Timestamp};

use crate::store::rooms::Thing;
use crate::store::users::User;

/// A type of the wire as JSON.
pub fn json_of(shown: &impl Serialize) -> Value {
    serde_json::to_value(shown).unwrap_or_default()
}

/// A piece of JSON that nobody looks into; null where there is none.
type Text<'a> = Option<&'a RawValue>;

/// A message of the Stream surface, as far as this one shows it too.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub struct StreamMessage<'a> {
    id: Text<'a>,
    cid: Text<'a>,
    text: Text<'a>,
    user: Author<'a>,
    created_at: Text<'a>,
    updated_at: Text<'a>,
    deleted_at: Text<'a>,
    attachments: Text<'a>,
    parent_id: Text<'a>,
    show_in_channel: bool,
    reply_count: Text<'a>,
    pinned: Text<'a>,
    custom_data: Text<'a>,
    latest_reactions: Vec<Value>,
}

/// A message in the words of this surface.
#[derive(Serialize)]
pub struct Message<'a> {
    pub id: Text<'a>,
    cid: Text<'a>,
    pub text: Text<'a>,
    body: Text<'a>,
    sent_by: Text<'a>,
    user_id: Text<'a>,
    user: Author<'a>,
    pub created_at: Text<'a>,
    updated_at: Text<'a>,
    deleted_at: Text<'a>,
    attachments: Text<'a>,
    parent_id: Text<'a>,
    reply_to: Text<'a>,
    show_in_channel: bool,
    reply_count: Text<'a>,
    pinned: Text<'a>,
    #[serde(serialize_with = "object")]
    custom_data: Text<'a>,
    reactions: Vec<Value>,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Author<'a> {
    id: Text<'a>,
    name: Text<'a>,
    image: Text<'a>,
}

impl<'a> From<StreamMessage<'a>> for Message<'a> {
    fn from(shown: StreamMessage<'a>) -> Self {
        Self {
            id: shown.id,
            cid: shown.cid,
            text: shown.text,
            body: shown.text,
            sent_by: shown.user.id,
            user_id: shown.user.id,
            user: shown.user,
            created_at: shown.created_at,
            updated_at: shown.updated_at,
            deleted_at: shown.deleted_at,
            attachments: shown.attachments,
            parent_id: shown.parent_id,
            reply_to: shown.parent_id,
            show_in_channel: shown.show_in_channel,
            reply_count: shown.reply_count,
            pinned: shown.pinned,
            custom_data: shown.custom_data,
            reactions: shown.latest_reactions.iter().map(reaction).collect(),
        }
    }
}

fn object<S: Serializer>(data: &Text<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    match data {
        Some(data) => data.serialize(serializer),
        None => serializer.collect_map([((), ()); 0]),
    }
}

/// A message that becomes one of this surface when it is written: one after the other, and none of them is parsed.
pub struct Shown<'a>(pub &'a wire::message::Message);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_string(self.0).map_err(S::Error::custom)?;
        let shown: StreamMessage<'_> = serde_json::from_str(&json).map_err(S::Error::custom)?;
        Message::from(shown).serialize(serializer)
    }
}

/// Messages, in the order given.
pub fn messages(shown: &[wire::message::Message]) -> Vec<Shown<'_>> {
    shown.iter().map(Shown).collect()
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
#[derive(Serialize)]
pub struct Room<'a> {
    id: &'a str,
    uuid: &'a str,
    cid: &'a Cid,
    name: Text<'a>,
    #[serde(rename = "type")]
    kind: &'a str,
    client: Option<&'a str>,
    /// Always null: kept for the clients that require the key.
    agent: (),
    messages: Vec<Shown<'a>>,
    url: String,
    data: &'a RawObject,
    visible: bool,
    status: &'static str,
    created_at: Timestamp,
}

impl<'a> From<&'a ChannelState> for Room<'a> {
    fn from(state: &'a ChannelState) -> Self {
        let channel = &state.channel;
        let archived = state.membership.as_ref().is_some_and(|member| member.archived_at.is_some());
        Self {
            id: channel.cid.id(),
            uuid: channel.cid.id(),
            cid: &channel.cid,
            name: channel.custom.get("name"),
            kind: &channel.kind,
            client: channel.created_by.as_ref().map(|user| user.id.as_str()),
            agent: (),
            messages: messages(&state.messages),
            url: format!("/api/rooms/{}/", channel.cid),
            data: &channel.custom,
            visible: !state.hidden,
            status: if archived { "archived" } else { "active" },
            created_at: channel.created_at,
        }
    }
}

/// Rooms, in the order given.
pub fn rooms(states: &[ChannelState]) -> Vec<Room<'_>> {
    states.iter().map(Room::from).collect()
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
