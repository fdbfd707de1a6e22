//! What a push says: the keys that Stream's pushes have (wire-protocol facts, section 8), and a title and a body that a
//! service worker can show as they are.

use serde::Serialize;

use crate::access::caches::LoadedChannel;
use crate::limits;
use crate::store::messages::Message;
use crate::store::users::User;

#[derive(Serialize)]
struct Payload<'a> {
    sender: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
    message_id: &'a str,
    id: &'a str,
    channel_type: &'a str,
    channel_id: &'a str,
    cid: &'a str,
    receiver_id: &'a str,
    title: &'a str,
    body: &'a str,
}

/// The JSON of a push, small enough to be encrypted and sent: the text is cut where it does not fit.
///
/// # Errors
/// None in practice: our own types always serialise.
pub fn payload(
    message: &Message,
    channel: &LoadedChannel,
    author: Option<&User>,
    receiver_id: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    const BYTES_MAX: usize = limits::PUSH_BYTES_MAX - limits::PUSH_OVERHEAD_BYTES;
    let cid = &channel.row.cid;
    let title = title(message, channel, author);
    let mut payload = Payload {
        sender: "stream.chat",
        kind: "message.new",
        version: "v2",
        message_id: &message.id,
        id: &message.id,
        channel_type: cid.channel_type(),
        channel_id: cid.id(),
        cid: cid.as_str(),
        receiver_id,
        title: &title,
        body: "",
    };
    let room = BYTES_MAX.saturating_sub(serde_json::to_vec(&payload)?.len());
    let body = cut(text_of(message), room)?;
    payload.body = &body;
    serde_json::to_vec(&payload)
}

/// Who says it, and where, if the place has a name.
fn title(message: &Message, channel: &LoadedChannel, author: Option<&User>) -> String {
    let author = author.and_then(|author| author.name.as_deref()).filter(|name| !name.is_empty());
    let author = author.unwrap_or(&message.user_id);
    let title = match channel.row.custom.get::<String>("name") {
        Some(name) if !name.is_empty() => format!("{author} · {name}"),
        _ => author.to_owned(),
    };
    title.chars().take(limits::PUSH_TITLE_CHARS_MAX).collect()
}

fn text_of(message: &Message) -> &str {
    match (message.text.trim(), &message.data().attachments) {
        ("", none) if none.is_empty() => "New message",
        ("", some) if some.len() == 1 => "Attachment",
        ("", _) => "Attachments",
        (text, _) => text,
    }
}

/// The beginning of a text that takes at most so many bytes inside of JSON.
fn cut(text: &str, bytes_max: usize) -> Result<String, serde_json::Error> {
    const MORE: &str = "…";
    let in_json = |text: &str| serde_json::to_string(text).map(|json| json.len() - 2);
    if in_json(text)? <= bytes_max {
        return Ok(text.into());
    }
    let (mut kept, mut size) = (String::new(), MORE.len());
    for char in text.chars() {
        size += in_json(char.encode_utf8(&mut [0; 4]))?;
        if size > bytes_max {
            break;
        }
        kept.push(char);
    }
    Ok(kept + MORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("hello", 5).unwrap(), "hello");
        assert_eq!(cut("hello", 4).unwrap(), "h…");
        // Two bytes each.
        assert_eq!(cut("ääää", 7).unwrap(), "ää…");
        // A quote takes two inside of JSON, a control character six.
        assert_eq!(cut("\"\"\"\"", 7).unwrap(), "\"\"…");
        assert_eq!(cut("\u{1}\u{1}", 9).unwrap(), "\u{1}…");
    }
}
