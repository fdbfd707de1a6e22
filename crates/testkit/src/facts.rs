//! The facts about the protocol, and whether a piece of JSON agrees with them.
//!
//! `facts/*.json` names, per endpoint and event, the model, and per model its keys with their types. A required key must be there
//! with that type; an optional one may be absent or null. What is written here as code is where clients on the v1 paths see
//! something else than the facts, which were taken from a client on the v2 paths.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

/// Keys and their types: `string`, `integer`, `number`, `boolean`, `timestamp`, `any`, `object`, `[T]` a list of T, `{T}` a map
/// to T, `@Name` another model.
#[derive(Deserialize)]
struct Model {
    required: HashMap<String, String>,
    optional: HashMap<String, String>,
}

struct Facts {
    /// Method and path to the model of the answer.
    endpoints: HashMap<String, String>,
    /// Type to the model of the event.
    events: HashMap<String, String>,
    models: HashMap<String, Model>,
}

static FACTS: LazyLock<Facts> = LazyLock::new(|| Facts {
    endpoints: serde_json::from_str(include_str!("../facts/endpoints.json")).expect("a map"),
    events: serde_json::from_str(include_str!("../facts/events.json")).expect("a map"),
    models: serde_json::from_str(include_str!("../facts/models.json")).expect("models"),
});

/// Where v1 differs: model, key.
const NOT_ON_V1: &[(&str, &str)] = &[];

/// What is wrong with an answer. Nothing, if the endpoint has no facts.
pub fn problems_of_answer(method: &str, path: &str, body: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(model) = model_of(method, path) {
        check_model(model, body, model, &mut problems);
    }
    problems
}

/// What is wrong with an event. Custom events have a type of their own and no facts.
pub fn problems_of_event(event: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let kind = event["type"].as_str().unwrap_or_default();
    if let Some(model) = FACTS.events.get(kind) {
        check_model(model, event, kind, &mut problems);
    }
    problems
}

fn model_of(method: &str, path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches('/');
    let matches = |pattern: &str| {
        let (mut asked, mut known) = (path.split('/'), pattern.split('/'));
        loop {
            match (asked.next(), known.next()) {
                (None, None) => return true,
                (Some(asked), Some(known)) if asked == known || known.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let of_method = FACTS.endpoints.iter().filter_map(|(endpoint, model)| {
        let (its_method, pattern) = endpoint.split_once(' ')?;
        (its_method == method && matches(pattern)).then_some((pattern, model.as_str()))
    });
    // The most literal pattern is the one that a router would choose.
    of_method.min_by_key(|(pattern, _)| pattern.matches('{').count()).map(|(_, model)| model)
}

fn check_model(name: &str, value: &Value, at: &str, problems: &mut Vec<String>) {
    let Some(model) = FACTS.models.get(name) else { return };
    let Some(object) = value.as_object() else {
        problems.push(format!("{at} is {}, not an object", kind_of(value)));
        return;
    };
    for (key, kind) in &model.required {
        // Custom data lies flat in its object on v1.
        if key == "custom" || key.ends_with("_custom") || NOT_ON_V1.contains(&(name, key)) {
            continue;
        }
        match object.get(key) {
            None => problems.push(format!("{at}.{key} is missing ({name})")),
            Some(value) => check(kind, value, &format!("{at}.{key}"), problems),
        }
    }
    for (key, kind) in &model.optional {
        match object.get(key) {
            None | Some(Value::Null) => {}
            Some(value) => check(kind, value, &format!("{at}.{key}"), problems),
        }
    }
}

fn check(kind: &str, value: &Value, at: &str, problems: &mut Vec<String>) {
    let inner = |text: &str| text[1..text.len() - 1].to_owned();
    let fits = match kind {
        "any" => true,
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "timestamp" => value.as_str().is_some_and(is_timestamp),
        list if list.starts_with('[') => {
            let Some(items) = value.as_array() else {
                problems.push(format!("{at} is {}, not a list", kind_of(value)));
                return;
            };
            for (index, item) in items.iter().enumerate() {
                check(&inner(list), item, &format!("{at}[{index}]"), problems);
            }
            return;
        }
        map if map.starts_with('{') => {
            let Some(entries) = value.as_object() else {
                problems.push(format!("{at} is {}, not a map", kind_of(value)));
                return;
            };
            for (key, entry) in entries {
                check(&inner(map), entry, &format!("{at}.{key}"), problems);
            }
            return;
        }
        model => return check_model(model.trim_start_matches('@'), value, at, problems),
    };
    if !fits {
        problems.push(format!("{at} is {value}, not of type {kind}"));
    }
}

/// RFC 3339 in UTC, as v1 writes it.
fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let fraction = shape.strip_prefix("0000-00-00T00:00:00").and_then(|rest| rest.strip_suffix('Z'));
    fraction.is_some_and(|fraction| {
        fraction.is_empty() || (fraction.starts_with('.') && fraction[1..].chars().all(|c| c == '0'))
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_found() {
        let problems = problems_of_event(&json!({"type": "typing.start", "created_at": 5, "user": {"id": "ada"}}));
        assert!(
            problems.iter().any(|problem| problem == "typing.start.cid is missing (TypingStartEvent)"),
            "{problems:?}"
        );
        assert!(problems.iter().any(|problem| problem.starts_with("typing.start.created_at is 5")), "{problems:?}");
        assert!(
            problems.iter().any(|problem| problem.starts_with("typing.start.user.role is missing")),
            "{problems:?}"
        );
    }

    #[test]
    fn the_most_literal_endpoint_answers() {
        assert_eq!(model_of("POST", "/channels/delivered/"), Some("MarkDeliveredResponse"));
        assert_eq!(model_of("POST", "/channels/messaging/lobby"), Some("UpdateChannelResponse"));
        assert_eq!(model_of("POST", "/nowhere"), None);
    }
}
