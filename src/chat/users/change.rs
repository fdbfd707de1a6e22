//! What a request makes of a user's row. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wire::Timestamp;
use wire::user::{USER_KEYS, UserRequest};

use crate::chat::custom;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::users::User;

/// Who changes the user decides what may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    Server,
    /// The user; a role or teams other than those it has are refused.
    Oneself,
}

/// The whole user anew, as `POST /users` means it: name, image and custom data are what the request says, the rest stays
/// where the request says nothing.
///
/// # Errors
/// Something too large, of the wrong kind, or not the author's to change.
pub fn replace(row: &mut User, request: UserRequest, author: Author) -> Result<()> {
    row.name = checked_name(request.name)?;
    row.image = checked_name(request.image)?;
    row.custom = custom::checked(&request.custom.without(USER_KEYS).0, limits::CUSTOM_BYTES_MAX, "user")?;
    if let Some(role) = request.role.filter(|role| !role.is_empty()) {
        set_role(row, role, author)?;
    }
    if let Some(teams) = request.teams {
        set_teams(row, teams, author)?;
    }
    if let Some(roles) = request.teams_role {
        if author == Author::Oneself && row.teams_role.as_ref() != Some(&roles) {
            return Err(Error::not_allowed("a user cannot change its own teams_role"));
        }
        row.teams_role = checked_teams_role(Some(roles))?;
    }
    if let Some(language) = request.language {
        row.language = checked_language(language)?;
    }
    row.invisible = request.invisible.unwrap_or(row.invisible);
    row.privacy_settings = request.privacy_settings.or(row.privacy_settings.take());
    Ok(())
}

/// What a connecting client says about its user: what it names changes, nothing is taken away. Clients often say no more
/// than their id.
///
/// # Errors
/// As [`replace`].
pub fn merge(row: &mut User, request: UserRequest) -> Result<()> {
    let mut custom = row.custom.parse()?;
    custom.extend(request.custom.clone().without(USER_KEYS).0);
    let merged = UserRequest {
        name: request.name.or(row.name.clone()),
        image: request.image.or(row.image.clone()),
        custom: custom.into(),
        ..request
    };
    replace(row, merged, Author::Oneself)
}

/// Sets and removes keys, as `PATCH /users` means it. Keys may be dotted paths into custom data.
///
/// # Errors
/// As [`replace`], and keys that cannot be set.
pub fn patch(row: &mut User, set: Map<String, Value>, unset: &[String], author: Author) -> Result<()> {
    custom::check_keys(&set, unset)?;
    let mut data = row.custom.parse()?;
    for (key, value) in set {
        let wrong = || Error::input(format!("set.{key} is of the wrong kind")).field(&key, "wrong kind");
        let text = |value: Value| match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(wrong()),
        };
        match key.as_str() {
            "name" => row.name = checked_name(text(value)?)?,
            "image" => row.image = checked_name(text(value)?)?,
            "role" => set_role(row, text(value)?.ok_or_else(wrong)?, author)?,
            "language" => row.language = checked_language(text(value)?.unwrap_or_default())?,
            "invisible" => row.invisible = value.as_bool().ok_or_else(wrong)?,
            "teams" => set_teams(row, serde_json::from_value(value).map_err(|_| wrong())?, author)?,
            "teams_role" if author == Author::Server => {
                row.teams_role = checked_teams_role(serde_json::from_value(value).map_err(|_| wrong())?)?;
            }
            "privacy_settings" => {
                let mut merged = serde_json::to_value(&row.privacy_settings)?;
                merge_deep(&mut merged, value);
                row.privacy_settings = serde_json::from_value(merged).map_err(|_| wrong())?;
            }
            "revoke_tokens_issued_before" if author == Author::Server => {
                row.revoke_tokens_issued_before = match value {
                    Value::Null => None,
                    value => Some(value.as_str().and_then(Timestamp::parse).ok_or_else(wrong)?),
                };
            }
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be set")).field(key, "cannot be set"));
            }
            key => custom::set(&mut data, key, value)?,
        }
    }
    for key in unset {
        match key.as_str() {
            "name" => row.name = None,
            "image" => row.image = None,
            "language" => row.language = String::new(),
            "privacy_settings" => row.privacy_settings = None,
            "teams" if author == Author::Server => row.teams.clear(),
            "teams_role" if author == Author::Server => row.teams_role = None,
            "revoke_tokens_issued_before" if author == Author::Server => row.revoke_tokens_issued_before = None,
            key if is_reserved(key) => {
                return Err(Error::input(format!("{key} cannot be unset")).field(key, "cannot be unset"));
            }
            key => custom::unset(&mut data, key)?,
        }
    }
    row.custom = custom::checked(&data, limits::CUSTOM_BYTES_MAX, "user")?;
    Ok(())
}

fn is_reserved(key: &str) -> bool {
    USER_KEYS.contains(&key.split('.').next().unwrap_or_default())
}

fn merge_deep(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge_deep(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn checked_name(name: Option<String>) -> Result<Option<String>> {
    match name {
        Some(name) if name.chars().count() > limits::NAME_CHARS_MAX => {
            Err(Error::input(format!("name and image may have {} characters", limits::NAME_CHARS_MAX)))
        }
        Some(name) if name.contains('\0') => Err(Error::input("name or image contains a NUL")),
        name => Ok(name),
    }
}

fn checked_language(language: String) -> Result<String> {
    if language.len() > 8 || !language.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Error::input("language must be a code such as en"));
    }
    Ok(language)
}

fn set_role(row: &mut User, role: String, author: Author) -> Result<()> {
    if author == Author::Oneself && row.role != role {
        return Err(Error::not_allowed("a user cannot change its own role"));
    }
    if role.is_empty()
        || role.len() > limits::ROLE_BYTES_MAX
        || !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        return Err(Error::input("a role has 1 to 64 of the characters a-z A-Z 0-9 _ -"));
    }
    row.role = role;
    Ok(())
}

fn checked_teams_role(roles: Option<BTreeMap<String, String>>) -> Result<Option<BTreeMap<String, String>>> {
    let wrong = |(team, role): (&String, &String)| {
        let odd = |name: &str, bytes_max| name.len() > bytes_max || name.chars().any(char::is_control);
        odd(team, limits::TEAM_BYTES_MAX) || odd(role, limits::ROLE_BYTES_MAX)
    };
    match roles {
        Some(roles) if roles.len() > limits::TEAM_ROLES_MAX || roles.iter().any(wrong) => Err(Error::input(format!(
            "teams_role may name {} teams of up to {} bytes, each with a role of up to {} bytes",
            limits::TEAM_ROLES_MAX,
            limits::TEAM_BYTES_MAX,
            limits::ROLE_BYTES_MAX
        ))),
        roles => Ok(roles),
    }
}

fn set_teams(row: &mut User, teams: Vec<String>, author: Author) -> Result<()> {
    if author == Author::Oneself && row.teams != teams {
        return Err(Error::not_allowed("a user cannot change its own teams"));
    }
    let wrong =
        |team: &String| team.is_empty() || team.len() > limits::TEAM_BYTES_MAX || team.chars().any(char::is_control);
    if teams.len() > limits::TEAMS_MAX || teams.iter().any(wrong) {
        return Err(Error::input(format!(
            "a user may have {} teams with names of 1 to {} bytes",
            limits::TEAMS_MAX,
            limits::TEAM_BYTES_MAX
        )));
    }
    row.teams = teams;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ada() -> User {
        let mut user = User::new("ada", "user", Timestamp::from_micros(0));
        user.name = Some("Ada".into());
        user.custom = serde_json::from_value(json!({"city": "London", "tags": {"a": 1}})).unwrap();
        user
    }

    fn request(value: Value) -> UserRequest {
        serde_json::from_value(value).unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn replacing_takes_away_and_merging_does_not() {
        let mut user = ada();
        replace(&mut user, request(json!({"id": "ada", "color": "red"})), Author::Server).unwrap();
        assert_eq!((user.name, json!(user.custom)), (None, json!({"color": "red"})));
        let mut user = ada();
        merge(&mut user, request(json!({"id": "ada", "color": "red"}))).unwrap();
        assert_eq!(user.name.as_deref(), Some("Ada"));
        assert_eq!(json!(user.custom), json!({"city": "London", "tags": {"a": 1}, "color": "red"}));
        let mut user = ada();
        merge(&mut user, request(json!({"id": "ada"}))).unwrap();
        assert_eq!(user, ada());
    }

    #[test]
    fn a_user_cannot_promote_itself() {
        for change in [json!({"id": "ada", "role": "admin"}), json!({"id": "ada", "teams": ["red"]})] {
            assert!(replace(&mut ada(), request(change.clone()), Author::Oneself).is_err());
            assert!(replace(&mut ada(), request(change), Author::Server).is_ok());
        }
        assert!(
            replace(&mut ada(), request(json!({"id": "ada", "role": "user", "teams": []})), Author::Oneself).is_ok()
        );
        for key in ["role", "teams", "revoke_tokens_issued_before", "teams_role", "banned", "created_at", "banned.x"] {
            assert!(patch(&mut ada(), object(json!({key: "x"})), &[], Author::Oneself).is_err(), "{key}");
        }
    }

    #[test]
    fn patching_reaches_into_custom_data_and_privacy_settings() {
        let mut user = ada();
        let set = json!({"name": "A", "tags.b": 2, "privacy_settings": {"typing_indicators": {"enabled": false}}});
        patch(&mut user, object(set), &["tags.a".into(), "city".into()], Author::Oneself).unwrap();
        assert_eq!((user.name.as_deref(), json!(user.custom)), (Some("A"), json!({"tags": {"b": 2}})));
        let set = json!({"privacy_settings": {"read_receipts": {"enabled": false}}});
        patch(&mut user, object(set), &[], Author::Oneself).unwrap();
        let privacy = user.privacy_settings.unwrap();
        assert!(!privacy.typing_indicators.unwrap().enabled && !privacy.read_receipts.unwrap().enabled);
    }
}
