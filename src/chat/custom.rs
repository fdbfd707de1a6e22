//! Custom data: its bounds, and changing parts of it by dotted paths.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Checks that custom data can be kept.
///
/// # Errors
/// Too large, or with a NUL, which Postgres cannot hold.
pub fn check(custom: &Map<String, Value>, bytes_max: usize, what: &str) -> Result<()> {
    let text = serde_json::to_string(custom)?;
    if text.len() > bytes_max {
        return Err(Error::input(format!(
            "custom data of a {what} may have {bytes_max} bytes, this has {}",
            text.len()
        )));
    }
    if text.contains("\\u0000") && has_nul(&Value::Object(custom.clone())) {
        return Err(Error::input(format!("custom data of a {what} contains a NUL")));
    }
    Ok(())
}

/// Does any text in it have a NUL?
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Sets a value at a dotted path; objects on the way are made. What is in the way and no object is replaced.
pub fn set(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.into(), value);
        }
        Some((step, rest)) => {
            let inner = object.entry(step).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// Removes a value at a dotted path. Objects on the way stay, empty or not.
pub fn unset(object: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => {
            object.remove(path);
        }
        Some((step, rest)) => {
            if let Some(Value::Object(inner)) = object.get_mut(step) {
                unset(inner, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_reach_into_objects() {
        let mut data = json!({"a": {"b": 1}, "c": 2}).as_object().unwrap().clone();
        set(&mut data, "a.x.y", json!(true));
        set(&mut data, "c.d", json!(3));
        unset(&mut data, "a.b");
        unset(&mut data, "nothing.here");
        assert_eq!(Value::Object(data), json!({"a": {"x": {"y": true}}, "c": {"d": 3}}));
    }

    #[test]
    fn unsetting_the_last_key_leaves_an_empty_object() {
        let mut data = json!({"test": {"passed": true}}).as_object().unwrap().clone();
        unset(&mut data, "test.passed");
        assert_eq!(Value::Object(data), json!({"test": {}}));
    }

    #[test]
    fn bounds_hold() {
        let data = json!({"a": "x".repeat(20)}).as_object().unwrap().clone();
        assert!(check(&data, 28, "user").is_ok());
        assert!(check(&data, 27, "user").is_err());
        assert!(check(json!({"a": ["\0"]}).as_object().unwrap(), 100, "user").is_err());
    }
}
