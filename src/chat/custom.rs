//! Custom data: its bounds, and changing parts of it by dotted paths.
//!
//! A path is measured before it is walked, and what comes of it is no deeper than what a body may hold: what is kept can
//! always be read back and sent again. Everything that recurses over data relies on that.

use serde::Serialize;
use serde_json::{Map, Value};
use wire::RawObject;

use crate::error::{Error, Result};
use crate::limits;

/// Custom data that can be kept, as it is kept: from here on it is text.
///
/// # Errors
/// Too large or too deep, or with a NUL, which Postgres cannot hold.
pub fn checked(custom: &Map<String, Value>, bytes_max: usize, what: &str) -> Result<RawObject> {
    check(custom, bytes_max, what)?;
    Ok(RawObject::new(custom)?)
}

fn check(custom: &Map<String, Value>, bytes_max: usize, what: &str) -> Result<()> {
    if custom.is_empty() {
        return Ok(());
    }
    let bytes = json_bytes(custom)?;
    if bytes > bytes_max {
        return Err(Error::input(format!("custom data of a {what} may have {bytes_max} bytes, this has {bytes}")));
    }
    let (values, values_max) = (custom.values().map(values).sum::<usize>(), bytes_max / limits::CUSTOM_BYTES_PER_VALUE);
    if values > values_max {
        return Err(Error::input(format!("custom data of a {what} may have {values_max} values, this has {values}")));
    }
    if custom.values().map(depth).max() >= Some(limits::CUSTOM_DEPTH_MAX) {
        let most = limits::CUSTOM_DEPTH_MAX;
        return Err(Error::input(format!("custom data of a {what} is nested more than {most} levels deep")));
    }
    if custom.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) {
        return Err(Error::input(format!("custom data of a {what} contains a NUL")));
    }
    Ok(())
}

/// The size of something as JSON, without writing it.
///
/// # Errors
/// None in practice: our own types always serialise.
pub fn json_bytes(value: &impl Serialize) -> Result<usize> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value)?;
    Ok(count.0)
}

/// How many values it is made of, itself included. A number that Postgres writes with many digits counts for several.
pub fn values(value: &Value) -> usize {
    const DIGITS_PER_VALUE: f64 = 16.0;
    match value {
        Value::Array(list) => 1 + list.iter().map(values).sum::<usize>(),
        Value::Object(object) => 1 + object.values().map(values).sum::<usize>(),
        Value::Number(number) => {
            let digits =
                number.as_f64().filter(|number| *number != 0.0).map_or(0.0, |number| number.abs().log10().abs());
            1 + (digits / DIGITS_PER_VALUE) as usize
        }
        _ => 1,
    }
}

/// Lists and objects inside each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
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

/// Checks how many keys a partial update names, before any of them is looked at.
///
/// # Errors
/// Too many.
pub fn check_keys(set: &Map<String, Value>, unset: &[String]) -> Result<()> {
    if set.len() + unset.len() > limits::KEYS_PER_CALL_MAX {
        return Err(Error::input(format!("set and unset may name {} keys", limits::KEYS_PER_CALL_MAX)));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    if path.len() > limits::CUSTOM_PATH_BYTES_MAX || path.split('.').count() > limits::CUSTOM_PATH_STEPS_MAX {
        return Err(Error::input(format!(
            "a key in set or unset may have {} bytes and {} steps",
            limits::CUSTOM_PATH_BYTES_MAX,
            limits::CUSTOM_PATH_STEPS_MAX
        )));
    }
    Ok(())
}

/// Sets a value at a dotted path; objects on the way are made. What is in the way and no object is replaced.
///
/// # Errors
/// A path that is too long.
pub fn set(mut object: &mut Map<String, Value>, path: &str, value: Value) -> Result<()> {
    check_path(path)?;
    let (steps, key) = path.rsplit_once('.').map_or((None, path), |(steps, key)| (Some(steps), key));
    for step in steps.into_iter().flat_map(|steps| steps.split('.')) {
        let inner = object.entry(step).or_insert_with(|| Value::Object(Map::new()));
        if !inner.is_object() {
            *inner = Value::Object(Map::new());
        }
        let Value::Object(inner) = inner else {
            return Err(Error::internal("what was just made an object is none"));
        };
        object = inner;
    }
    object.insert(key.into(), value);
    Ok(())
}

/// Removes a value at a dotted path. Objects on the way stay, empty or not.
///
/// # Errors
/// A path that is too long.
pub fn unset(mut object: &mut Map<String, Value>, path: &str) -> Result<()> {
    check_path(path)?;
    let (steps, key) = path.rsplit_once('.').map_or((None, path), |(steps, key)| (Some(steps), key));
    for step in steps.into_iter().flat_map(|steps| steps.split('.')) {
        let Some(Value::Object(inner)) = object.get_mut(step) else {
            return Ok(());
        };
        object = inner;
    }
    object.remove(key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_reach_into_objects() {
        let mut data = json!({"a": {"b": 1}, "c": 2}).as_object().unwrap().clone();
        set(&mut data, "a.x.y", json!(true)).unwrap();
        set(&mut data, "c.d", json!(3)).unwrap();
        unset(&mut data, "a.b").unwrap();
        unset(&mut data, "nothing.here").unwrap();
        assert_eq!(Value::Object(data), json!({"a": {"x": {"y": true}}, "c": {"d": 3}}));
    }

    #[test]
    fn unsetting_the_last_key_leaves_an_empty_object() {
        let mut data = json!({"test": {"passed": true}}).as_object().unwrap().clone();
        unset(&mut data, "test.passed").unwrap();
        assert_eq!(Value::Object(data), json!({"test": {}}));
    }

    #[test]
    fn bounds_hold() {
        let data = json!({"a": "x".repeat(20)}).as_object().unwrap().clone();
        assert!(check(&data, 28, "user").is_ok());
        assert!(check(&data, 27, "user").is_err());
        assert!(check(json!({"a": ["\0"]}).as_object().unwrap(), 100, "user").is_err());
        let nested = |levels| (1..levels).fold(json!(1), |inner, _| json!({"a": inner}));
        let most = limits::CUSTOM_DEPTH_MAX;
        assert!(check(json!({"a": nested(most)}).as_object().unwrap(), 10_000, "user").is_ok());
        assert!(check(json!({"a": nested(most + 1)}).as_object().unwrap(), 10_000, "user").is_err());
    }

    #[test]
    fn values_are_counted_however_they_are_nested() {
        assert_eq!(values(&json!([0, [null, "a"], {"b": {"c": true}}])), 8);
        assert_eq!((values(&json!(1e15)), values(&json!(1e308)), values(&json!(-1e-308))), (1, 20, 20));
        let list = |length| json!({"a": vec![0; length]}).as_object().unwrap().clone();
        let most = limits::CUSTOM_BYTES_MAX / limits::CUSTOM_BYTES_PER_VALUE;
        assert!(check(&list(most - 1), limits::CUSTOM_BYTES_MAX, "user").is_ok());
        assert!(check(&list(most), limits::CUSTOM_BYTES_MAX, "user").is_err());
    }

    #[test]
    fn endless_paths_are_refused_before_they_are_walked() {
        let mut data = Map::new();
        for path in [".".repeat(100_000), "a.".repeat(400_000), "x".repeat(limits::CUSTOM_PATH_BYTES_MAX + 1)] {
            assert!(set(&mut data, &path, json!(1)).is_err());
            assert!(unset(&mut data, &path).is_err());
        }
        assert!(data.is_empty());
    }

    proptest! {
        /// Whatever is set, in whatever order: it is refused, or it can be found where it was put.
        #[test]
        fn what_is_set_is_there(paths in prop::collection::vec("[a-c.]{0,20}", 1..12)) {
            let mut data = Map::new();
            for path in &paths {
                if set(&mut data, path, json!(1)).is_ok() {
                    let found = path.split('.').try_fold(&Value::Object(data.clone()), |at, step| at.get(step)).cloned();
                    prop_assert_eq!(found, Some(json!(1)));
                    prop_assert!(data.values().map(depth).max() < Some(limits::CUSTOM_PATH_STEPS_MAX));
                }
                prop_assert_eq!(unset(&mut data.clone(), path).is_ok(), path.split('.').count() <= limits::CUSTOM_PATH_STEPS_MAX);
            }
        }
    }
}
