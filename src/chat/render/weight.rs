//! How many bytes of JSON something will have, nearly and without making it: answers are measured before they are made.

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
            + data.attachments.as_str().len()
            + data.custom.as_str().len()
            + data.mentioned_users.len() * USER_FRAME
    });
    let reactions = row.reactions.as_ref().map_or(0, |reactions| {
        // With one of the reader's own.
        let groups = reactions.groups.keys().map(|kind| 200 + 3 * string(kind) + REACTION_FRAME + string(kind));
        let latest = reactions.latest.iter().map(|one| 2 * USER_FRAME + string(&one.kind) + one.custom.as_str().len());
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
    USER_FRAME + names.chain(roles).chain(teams).sum::<usize>() + user.custom.as_str().len()
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
        fn no_text_is_longer_than_it_weighs(text in any::<String>()) {
            let length = serde_json::to_string(&text).unwrap().len();
            prop_assert!(length <= string(&text), "{} > {}", length, string(&text));
        }
    }
}
