//! How many bytes of JSON something will have, nearly and without making it: answers are measured before they are made.

use serde_json::{Map, Value};
use wire::user::User;

use crate::store::messages::Message;

/// Keys, times and numbers of a message; the same of a user.
const MESSAGE_FRAME: usize = 900;
const USER_FRAME: usize = 400;
/// A reaction without its user, type and data: times, and the id of its message.
const REACTION_FRAME: usize = 220;

/// What a message has of its own: everything but the data of the people around it, and the message that it quotes.
pub fn message(row: &Message) -> usize {
    let data = row.data.as_ref().map_or(0, |data| {
        let texts = data.html.iter().chain(&data.mml).chain(data.i18n.iter().flat_map(|texts| texts.values()));
        texts.map(|text| string(text)).sum::<usize>()
            + data.attachments.iter().map(value).sum::<usize>()
            + map(&data.custom)
            + data.mentioned_users.len() * USER_FRAME
    });
    let reactions = row.reactions.as_ref().map_or(0, |reactions| {
        // With one of the reader's own.
        let groups = reactions.groups.keys().map(|kind| 200 + 3 * string(kind) + REACTION_FRAME + string(kind));
        let latest = reactions.latest.iter().map(|one| 2 * USER_FRAME + string(&one.kind) + map(&one.custom));
        groups.sum::<usize>() + latest.sum::<usize>()
    });
    // Its HTML is at least as long.
    MESSAGE_FRAME + 2 * string(&row.text) + data + reactions
}

/// A user with all that it shows.
pub fn user(user: &User) -> usize {
    let names = [&user.name, &user.image].into_iter().flatten().map(|name| string(name));
    let roles = user.teams_role.iter().flatten().map(|(team, role)| string(team) + string(role));
    let teams = user.teams.iter().map(|team| string(team));
    USER_FRAME + names.chain(roles).chain(teams).sum::<usize>() + map(&user.custom.0)
}

fn map(map: &Map<String, Value>) -> usize {
    2 + map.iter().map(|(key, inner)| string(key) + 2 + value(inner)).sum::<usize>()
}

fn value(any: &Value) -> usize {
    match any {
        Value::String(text) => string(text) + 1,
        Value::Array(list) => 2 + list.iter().map(value).sum::<usize>(),
        Value::Object(inner) => map(inner) + 1,
        Value::Number(_) => 20,
        Value::Null | Value::Bool(_) => 6,
    }
}

/// With its quotes. Of what has to be escaped, control characters take the most.
fn string(text: &str) -> usize {
    let bytes = |byte: u8| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    3 + text.bytes().map(bytes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_larger_than_it_weighs(texts in prop::collection::vec(any::<String>(), 0..8), number in any::<f64>()) {
            let inner: Map<String, Value> = texts.iter().map(|text| (text.clone(), serde_json::json!([text, number, null, {}]))).collect();
            let length = serde_json::to_string(&inner).unwrap().len();
            prop_assert!(length <= map(&inner) + 10 * inner.len(), "{} > {}", length, map(&inner));
            prop_assert!(map(&inner) <= 2 * length + 60 * inner.len() + 10);
        }
    }
}
