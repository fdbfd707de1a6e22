//! A message as its author wants it, checked by itself: before any channel, role or row is looked at.

use serde_json::{Map, Value};
use wire::message::{MESSAGE_KEYS, MessageRequest, MessageType, UserReference};
use wire::{RawList, Timestamp};

use crate::access::caller::check_user_id;
use crate::chat::custom;
use crate::error::{Error, Kind, Result};
use crate::store::messages::MessageData;
use crate::{ids, limits};

/// A checked message.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub id: String,
    pub text: String,
    /// Regular or system; whether it is a reply follows from `parent_id`.
    pub kind: MessageType,
    pub parent_id: Option<String>,
    pub show_in_channel: bool,
    pub quoted_id: Option<String>,
    pub silent: bool,
    pub pinned: bool,
    pub pin_expires: Option<Timestamp>,
    pub data: MessageData,
}

impl Draft {
    /// Checks what a client or server sent. Servers may give HTML of their own.
    ///
    /// # Errors
    /// Anything that is too long, too much or of the wrong kind, with the documented code.
    pub fn parse(request: MessageRequest, text_chars_max: i64, from_server: bool) -> Result<Self> {
        let draft = Self::unfinished(request, text_chars_max, from_server)?;
        if draft.text.trim().is_empty()
            && draft.data.attachments.is_empty()
            && draft.data.custom.is_empty()
            && draft.quoted_id.is_none()
        {
            return Err(Error::input("message text and attachments are both empty"));
        }
        Ok(draft)
    }

    /// The same for something that is not to be sent yet, and may be empty.
    ///
    /// # Errors
    /// As [`Draft::parse`].
    pub fn unfinished(request: MessageRequest, text_chars_max: i64, from_server: bool) -> Result<Self> {
        let id = match request.id.filter(|id| !id.is_empty()) {
            Some(id) => checked_id(id)?,
            None => ids::message_id(),
        };
        let kind = match request.kind.as_deref() {
            None | Some("" | "regular" | "reply") => MessageType::Regular,
            Some("system") => MessageType::System,
            Some(other) => {
                return Err(Error::input(format!("message.type {other:?} cannot be sent, only regular and system")));
            }
        };
        let text = checked_text(request.text.unwrap_or_default(), text_chars_max)?;
        let custom = request.custom.without(MESSAGE_KEYS).0;
        check_values(&request.attachments, &custom)?;
        let custom = custom::checked(&custom, limits::CUSTOM_BYTES_MAX, "message")?;
        let given = |text: Option<String>| text.filter(|text| from_server && !text.is_empty() && !text.contains('\0'));
        let draft = Self {
            id,
            text,
            kind,
            show_in_channel: request.show_in_channel.unwrap_or(false),
            parent_id: request.parent_id.filter(|id| !id.is_empty()).map(checked_id).transpose()?,
            quoted_id: request.quoted_message_id.filter(|id| !id.is_empty()).map(checked_id).transpose()?,
            silent: request.silent,
            pinned: request.pinned,
            pin_expires: request.pin_expires,
            data: MessageData {
                attachments: checked_attachments(&request.attachments)?,
                mentioned_users: checked_mentions(request.mentioned_users)?,
                mentioned_channel: request.mentioned_channel,
                mentioned_here: request.mentioned_here,
                mentioned_roles: checked_mentioned_roles(request.mentioned_roles)?,
                html: given(request.html),
                mml: given(request.mml),
                i18n: None,
                command: None,
                args: None,
                restricted_visibility: checked_visibility(request.restricted_visibility)?,
                skip_push: false,
                deleted_by: None,
                custom,
            },
        };
        check_size(&draft.text, &draft.data)?;
        Ok(draft)
    }

    /// The type under which it is stored.
    pub fn stored_kind(&self) -> MessageType {
        if self.parent_id.is_some() && self.kind == MessageType::Regular { MessageType::Reply } else { self.kind }
    }

    /// Does it count as unread for others?
    pub fn counts(&self, shadowed: bool) -> bool {
        !self.silent
            && !shadowed
            && self.kind != MessageType::System
            && self.data.restricted_visibility.is_empty()
            && (self.parent_id.is_none() || self.show_in_channel)
    }
}

/// # Errors
/// An id that no message can have.
pub fn checked_id(id: String) -> Result<String> {
    if id.len() > limits::MESSAGE_ID_BYTES_MAX || id.chars().any(|c| matches!(c, ',' | '%') || c.is_control()) {
        return Err(Error::input(format!(
            "the id of a message has at most {} bytes, none of which is , or % or a control character",
            limits::MESSAGE_ID_BYTES_MAX
        )));
    }
    Ok(id)
}

/// Are there few enough values in what a message is to hold?
///
/// # Errors
/// There are too many.
pub fn check_values(attachments: &[Value], custom: &Map<String, Value>) -> Result<()> {
    let values = attachments.iter().chain(custom.values()).map(custom::values).sum::<usize>();
    if values > limits::MESSAGE_VALUES_MAX {
        return Err(Error::input(format!(
            "the attachments and custom data of a message may have {} values, these have {values}",
            limits::MESSAGE_VALUES_MAX
        )));
    }
    Ok(())
}

/// Is what the author puts into a message small enough, all of it together, for the events that will carry it?
///
/// # Errors
/// Code 20.
pub fn check_size(text: &str, data: &MessageData) -> Result<()> {
    // A character of text has at most six bytes of JSON: most messages need not be measured.
    if text.len() <= limits::MESSAGE_BYTES_MAX / 6 && data.is_empty() {
        return Ok(());
    }
    if custom::json_bytes(&text)? + custom::json_bytes(data)? > limits::MESSAGE_BYTES_MAX {
        return Err(Error::new(
            Kind::MessageTooLong,
            format!("a message may have {} bytes of JSON with all that is in it", limits::MESSAGE_BYTES_MAX),
        ));
    }
    if data.html.is_some() && custom::json_bytes(&data.html)? > limits::HTML_BYTES_MAX {
        return Err(Error::new(
            Kind::MessageTooLong,
            format!("the html of a message may have {} bytes", limits::HTML_BYTES_MAX),
        ));
    }
    Ok(())
}

/// # Errors
/// A text that is too long (code 20), or has a NUL.
pub fn checked_text(text: String, chars_max: i64) -> Result<String> {
    // Bytes first: counting characters of a short text would be wasted.
    if text.len() as i64 > chars_max && text.chars().count() as i64 > chars_max {
        return Err(Error::new(Kind::MessageTooLong, format!("message text may have {chars_max} characters")));
    }
    if text.contains('\0') {
        return Err(Error::input("message text contains a NUL"));
    }
    Ok(text)
}

/// # Errors
/// Too many attachments, or something that is no object.
pub fn checked_attachments(attachments: &[Value]) -> Result<RawList> {
    if attachments.len() > limits::ATTACHMENTS_MAX {
        return Err(Error::input(format!("a message may have {} attachments", limits::ATTACHMENTS_MAX)));
    }
    if !attachments.iter().all(Value::is_object) {
        return Err(Error::input("an attachment must be an object"));
    }
    if attachments.iter().any(custom::has_nul) {
        return Err(Error::input("an attachment contains a NUL"));
    }
    Ok(RawList::new(attachments)?)
}

/// # Errors
/// Too many.
pub fn checked_mentions(mentions: Vec<UserReference>) -> Result<Vec<String>> {
    let mut ids: Vec<String> = Vec::new();
    // Nobody has another id, and who does not exist is not mentioned.
    for id in mentions.into_iter().map(UserReference::into_id).filter(|id| check_user_id(id).is_ok()) {
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > limits::MENTIONS_MAX {
            return Err(Error::input(format!("a message may mention {} users", limits::MENTIONS_MAX)));
        }
    }
    Ok(ids)
}

fn checked_mentioned_roles(roles: Vec<String>) -> Result<Vec<String>> {
    if roles.len() > limits::MENTIONS_MAX || roles.iter().any(|role| role.len() > limits::ROLE_BYTES_MAX) {
        return Err(Error::input(format!(
            "a message may mention {} roles with names of up to {} bytes",
            limits::MENTIONS_MAX,
            limits::ROLE_BYTES_MAX
        )));
    }
    Ok(roles)
}

fn checked_visibility(users: Vec<String>) -> Result<Vec<String>> {
    if users.len() > limits::RESTRICTED_VISIBILITY_MAX {
        return Err(Error::input(format!(
            "restricted_visibility has more than {} users",
            limits::RESTRICTED_VISIBILITY_MAX
        )));
    }
    users.iter().try_for_each(|id| check_user_id(id))?;
    Ok(users)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(message: Value) -> Result<Draft> {
        Draft::parse(serde_json::from_value(message).unwrap(), 10, false)
    }

    #[test]
    fn keeps_what_is_the_authors_and_drops_what_is_the_servers() {
        let draft = parse(json!({
            "id": "m1", "text": "hi", "reaction_counts": {"love": 3}, "color": "red", "html": "<b>hi</b>",
            "mentioned_users": ["ada", {"id": "ada"}, "", "grace"], "user": {"id": "eve"}, "created_at": "2020-01-01T00:00:00Z",
        }))
        .unwrap();
        assert_eq!((draft.id.as_str(), draft.text.as_str(), draft.data.html), ("m1", "hi", None));
        assert_eq!(draft.data.mentioned_users, ["ada", "grace"]);
        assert_eq!(serde_json::to_value(draft.data.custom).unwrap(), json!({"color": "red"}));
    }

    #[test]
    fn servers_may_send_html() {
        let request = serde_json::from_value(json!({"text": "hi", "html": "<b>hi</b>", "mml": "<x/>"})).unwrap();
        let draft = Draft::parse(request, 10, true).unwrap();
        assert_eq!((draft.data.html.as_deref(), draft.data.mml.as_deref()), (Some("<b>hi</b>"), Some("<x/>")));
    }

    #[test]
    fn says_what_is_wrong() {
        let attachments: Vec<_> = (0..31).map(|_| json!({"type": "image"})).collect();
        let mentions: Vec<_> = (0..26).map(|n| format!("u{n}")).collect();
        for (message, kind) in [
            (json!({}), Kind::Input),
            (json!({"text": "  "}), Kind::Input),
            (json!({"text": "12345678901"}), Kind::MessageTooLong),
            (json!({"text": "a\0b"}), Kind::Input),
            (json!({"text": "x", "id": "a,b"}), Kind::Input),
            (json!({"text": "x", "id": "x".repeat(256)}), Kind::Input),
            (json!({"text": "x", "type": "deleted"}), Kind::Input),
            (json!({"text": "x", "attachments": attachments}), Kind::Input),
            (json!({"text": "x", "attachments": ["image"]}), Kind::Input),
            (json!({"text": "x", "mentioned_users": mentions}), Kind::Input),
            (json!({"text": "x", "big": "y".repeat(6_000)}), Kind::Input),
            (json!({"text": "x", "parent_id": "x".repeat(256)}), Kind::Input),
            (json!({"text": "x", "quoted_message_id": "x".repeat(1_000_000)}), Kind::Input),
            (json!({"text": "x", "mentioned_roles": vec!["admin"; 26]}), Kind::Input),
            (json!({"text": "x", "mentioned_roles": ["x".repeat(65)]}), Kind::Input),
            (json!({"text": "x", "restricted_visibility": ["x".repeat(256)]}), Kind::Input),
            (json!({"text": "x", "attachments": [{"title": "y".repeat(33_000)}]}), Kind::MessageTooLong),
        ] {
            assert_eq!(parse(message.clone()).unwrap_err().kind, kind, "{message}");
        }
        assert!(parse(json!({"text": "ääääääääää"})).is_ok(), "length is in characters");
        assert!(parse(json!({"attachments": [{"type": "image"}]})).is_ok());
    }

    #[test]
    fn many_small_values_are_no_message() {
        let with = |attachment: Value| parse(json!({"text": "x", "attachments": vec![attachment; 30]}));
        let fields: Map<_, _> = (0..60).map(|n| (format!("f{n}"), n.into())).collect();
        assert!(with(fields.into()).is_ok());
        assert_eq!(with(json!({"type": "x", "a": vec![0; 490]})).unwrap_err().kind, Kind::Input);
        assert_eq!(with(json!({"type": "x", "a": vec![json!([]); 70]})).unwrap_err().kind, Kind::Input);
    }

    #[test]
    fn replies_count_only_where_they_are_shown() {
        let reply = parse(json!({"text": "x", "parent_id": "p"})).unwrap();
        assert_eq!((reply.stored_kind(), reply.counts(false)), (MessageType::Reply, false));
        assert!(parse(json!({"text": "x", "parent_id": "p", "show_in_channel": true})).unwrap().counts(false));
        assert!(!parse(json!({"text": "x", "silent": true})).unwrap().counts(false));
        assert!(!parse(json!({"text": "x"})).unwrap().counts(true));
    }
}
