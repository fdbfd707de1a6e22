//! Sorts: `[{"field": "created_at", "direction": -1}]`, `{"created_at": -1}` or `[{"created_at": -1}]`.

use serde_json::Value;

use crate::{Field, QueryError, Schema};

/// One key of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    pub field: Field,
    pub descending: bool,
}

/// Most keys in one order.
const SORT_KEYS_MAX: usize = 8;

/// Reads a sort; `null`, `[]` and `{}` are no order.
///
/// # Errors
/// Unknown or unsortable fields, directions other than 1 and -1, more than eight keys.
pub fn parse_sort(value: &Value, schema: &'static Schema) -> Result<Vec<Sort>, QueryError> {
    let mut keys = Vec::new();
    match value {
        Value::Null => {}
        Value::Object(_) => read(value, schema, &mut keys)?,
        Value::Array(list) => {
            for part in list {
                read(part, schema, &mut keys)?;
            }
        }
        _ => return Err(QueryError("sort must be a list or an object".into())),
    }
    Ok(keys)
}

fn read(value: &Value, schema: &'static Schema, keys: &mut Vec<Sort>) -> Result<(), QueryError> {
    let Value::Object(object) = value else {
        return Err(QueryError("sort must be a list of objects".into()));
    };
    if let Some(field) = object.get("field") {
        let name = field.as_str().ok_or_else(|| QueryError("a sort field must be text".into()))?;
        return push(name, object.get("direction").unwrap_or(&Value::Null), schema, keys);
    }
    object.iter().try_for_each(|(name, direction)| push(name, direction, schema, keys))
}

fn push(name: &str, direction: &Value, schema: &'static Schema, keys: &mut Vec<Sort>) -> Result<(), QueryError> {
    if keys.len() == SORT_KEYS_MAX {
        return Err(QueryError(format!("sort has more than {SORT_KEYS_MAX} keys")));
    }
    keys.push(key(name, direction, schema)?);
    Ok(())
}

fn key(name: &str, direction: &Value, schema: &'static Schema) -> Result<Sort, QueryError> {
    let field = schema.field(name)?;
    if let Field::Known(spec) = field
        && !spec.sortable
    {
        return Err(QueryError(format!("cannot sort by \"{name}\"")));
    }
    let descending = match direction.as_f64() {
        None if direction.is_null() => false,
        Some(0.0 | 1.0) => false,
        Some(-1.0) => true,
        _ => return Err(QueryError(format!("the direction of \"{name}\" must be 1 or -1"))),
    };
    Ok(Sort { field, descending })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{FieldKind, FieldSpec};

    static SCHEMA: Schema = Schema {
        fields: &[
            FieldSpec { name: "created_at", kind: FieldKind::Time, operators: &[], sortable: true },
            FieldSpec { name: "members", kind: FieldKind::TextSet, operators: &[], sortable: false },
        ],
        custom: true,
    };

    #[test]
    fn takes_every_form() {
        let expected = vec![Sort { field: Field::Known(&SCHEMA.fields[0]), descending: true }];
        for value in [
            json!([{"field": "created_at", "direction": -1}]),
            json!({"created_at": -1}),
            json!([{"created_at": -1}]),
            json!([{"created_at": -1.0}]),
        ] {
            assert_eq!(parse_sort(&value, &SCHEMA), Ok(expected.clone()), "{value}");
        }
        for value in [json!(null), json!([]), json!({})] {
            assert_eq!(parse_sort(&value, &SCHEMA), Ok(vec![]));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (value, error) in [
            (json!("created_at"), "sort must be a list or an object"),
            (json!([1]), "sort must be a list of objects"),
            (json!({"members": 1}), "cannot sort by \"members\""),
            (json!({"created_at": 2}), "the direction of \"created_at\" must be 1 or -1"),
            (json!([{"field": 1}]), "a sort field must be text"),
        ] {
            assert_eq!(parse_sort(&value, &SCHEMA).unwrap_err().0, error, "{value}");
        }
    }
}
