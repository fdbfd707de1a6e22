//! Filters: `{"type": "messaging", "members": {"$in": ["ada"]}}`.

use serde_json::{Map, Value};
use wire::Timestamp;

use crate::{Field, FieldKind, QueryError, Schema};

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Nin,
    Exists,
    /// A list in the data has this element.
    Contains,
    /// Each word of the value begins a word of the data.
    Autocomplete,
    /// Full text.
    Q,
}

const OPERATORS: [(&str, Operator); 12] = [
    ("$eq", Operator::Eq),
    ("$ne", Operator::Ne),
    ("$gt", Operator::Gt),
    ("$gte", Operator::Gte),
    ("$lt", Operator::Lt),
    ("$lte", Operator::Lte),
    ("$in", Operator::In),
    ("$nin", Operator::Nin),
    ("$exists", Operator::Exists),
    ("$contains", Operator::Contains),
    ("$autocomplete", Operator::Autocomplete),
    ("$q", Operator::Q),
];

impl Operator {
    pub const fn as_str(self) -> &'static str {
        OPERATORS[self as usize].0
    }

    fn parse(name: &str) -> Option<Self> {
        OPERATORS.iter().find(|(text, _)| *text == name).map(|(_, operator)| *operator)
    }
}

/// One comparison, its value checked against the field's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Eq, Ne, Gt, Gte, Lt, Lte with one value (for a text set: Eq with a list), and Contains.
    Value(Operator, Value),
    /// In and Nin.
    List(Operator, Vec<Value>),
    Exists(bool),
    /// Autocomplete and Q.
    Words(Operator, String),
}

/// A checked filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of them; an empty list is true.
    And(Vec<Filter>),
    /// Any of them.
    Or(Vec<Filter>),
    /// None of them.
    Nor(Vec<Filter>),
    Is(Field, Test),
}

/// How large a filter may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `$and` inside `$or` inside …
    pub depth: usize,
    /// Conditions in the whole filter.
    pub conditions: usize,
    /// Values in one list.
    pub values: usize,
    /// Values in all lists on custom data together: each of them is looked for in every row.
    pub custom_values: usize,
    /// One value, as JSON.
    pub value_bytes: usize,
    /// All values together, and the names of the fields.
    pub bytes: usize,
    /// Words of one `$autocomplete` or `$q`, and the length of them together.
    pub words: usize,
    pub words_bytes: usize,
}

impl Filter {
    /// Does any condition use this known field?
    pub fn mentions(&self, name: &str) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) | Self::Nor(parts) => parts.iter().any(|part| part.mentions(name)),
            Self::Is(field, _) => field.known() == Some(name),
        }
    }
}

/// Reads a filter. `null` and `{}` match everything.
///
/// # Errors
/// Unknown fields and operators, values of the wrong kind, and filters over their bounds.
pub fn parse_filter(value: &Value, schema: &'static Schema, bounds: Bounds) -> Result<Filter, QueryError> {
    let mut parser = Parser { schema, bounds, conditions: 0, custom_values: 0, bytes: 0 };
    match value {
        Value::Null => Ok(Filter::And(Vec::new())),
        Value::Array(list) if list.is_empty() => Ok(Filter::And(Vec::new())),
        Value::Object(object) => parser.object(object, 1),
        _ => Err(QueryError("filter_conditions must be an object".into())),
    }
}

struct Parser {
    schema: &'static Schema,
    bounds: Bounds,
    conditions: usize,
    custom_values: usize,
    bytes: usize,
}

impl Parser {
    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Filter, QueryError> {
        if depth > self.bounds.depth {
            return Err(QueryError(format!("the filter is nested more than {} levels deep", self.bounds.depth)));
        }
        // An empty part is a condition too: always true.
        self.conditions += usize::from(object.is_empty());
        let mut parts = Vec::new();
        for (key, value) in object {
            match key.as_str() {
                "$and" => parts.push(Filter::And(self.list(key, value, depth)?)),
                "$or" => parts.push(Filter::Or(self.list(key, value, depth)?)),
                "$nor" => parts.push(Filter::Nor(self.list(key, value, depth)?)),
                name if name.starts_with('$') => return Err(QueryError(format!("unknown operator \"{name}\""))),
                name => self.field(name, value, &mut parts)?,
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn list(&mut self, operator: &str, value: &Value, depth: usize) -> Result<Vec<Filter>, QueryError> {
        let Value::Array(list) = value else {
            return Err(QueryError(format!("{operator} takes a list of filters")));
        };
        if list.is_empty() {
            return Err(QueryError(format!("{operator} takes at least one filter")));
        }
        list.iter()
            .map(|part| match part {
                _ if self.conditions > self.bounds.conditions => Err(self.too_many()),
                Value::Object(object) => self.object(object, depth + 1),
                _ => Err(QueryError(format!("{operator} takes a list of filters"))),
            })
            .collect()
    }

    /// One field's conditions: a value (meaning `$eq`), or an object of operators, all of which must hold.
    fn field(&mut self, name: &str, value: &Value, parts: &mut Vec<Filter>) -> Result<(), QueryError> {
        let field = self.schema.field(name)?;
        let operators = match value {
            Value::Object(object) if object.keys().any(|key| key.starts_with('$')) => Some(object),
            Value::Object(object) if object.is_empty() || field.known().is_some() => {
                return Err(QueryError(format!("field \"{name}\" needs a value or an operator")));
            }
            _ => None,
        };
        let Some(operators) = operators else {
            // A list where one value belongs is how some clients write $in.
            let operator = match (value, &field) {
                (Value::Array(_), Field::Known(spec)) if spec.kind != FieldKind::TextSet => Operator::In,
                _ => Operator::Eq,
            };
            return self.condition(name, field, operator, value, parts);
        };
        for (key, value) in operators {
            let operator = Operator::parse(key)
                .ok_or_else(|| QueryError(format!("unknown operator \"{key}\" on field \"{name}\"")))?;
            self.condition(name, field.clone(), operator, value, parts)?;
        }
        Ok(())
    }

    fn condition(
        &mut self,
        name: &str,
        field: Field,
        operator: Operator,
        value: &Value,
        parts: &mut Vec<Filter>,
    ) -> Result<(), QueryError> {
        self.conditions += 1;
        if self.conditions > self.bounds.conditions {
            return Err(self.too_many());
        }
        self.measure(name, &field, value)?;
        if let Field::Known(spec) = field
            && !spec.operators.contains(&operator)
        {
            return Err(QueryError(format!("field \"{name}\" does not support {}", operator.as_str())));
        }
        let wrong = |expected: &str| QueryError(format!("{} on field \"{name}\" takes {expected}", operator.as_str()));
        let test = match operator {
            Operator::Exists => Test::Exists(value.as_bool().ok_or_else(|| wrong("true or false"))?),
            Operator::Autocomplete | Operator::Q => {
                let words = value.as_str().filter(|text| !text.contains('\0')).ok_or_else(|| wrong("text"))?;
                let Bounds { words: most, words_bytes, .. } = self.bounds;
                if words.len() > words_bytes || words.split_whitespace().nth(most).is_some() {
                    return Err(wrong(&format!("at most {most} words of {words_bytes} bytes together")));
                }
                Test::Words(operator, words.into())
            }
            Operator::In | Operator::Nin => {
                let list = value.as_array().ok_or_else(|| wrong("a list"))?;
                let values = list.iter().map(|value| checked(&field, value).ok_or_else(|| wrong(expected(&field))));
                Test::List(operator, values.collect::<Result<_, _>>()?)
            }
            Operator::Eq if value.is_array() => {
                let list = value.as_array().expect("an array was asked for");
                let values = list.iter().map(|value| checked(&field, value).ok_or_else(|| wrong(expected(&field))));
                Test::Value(operator, Value::Array(values.collect::<Result<_, _>>()?))
            }
            Operator::Eq | Operator::Ne if value.is_null() => Test::Exists(operator == Operator::Ne),
            _ => Test::Value(operator, checked(&field, value).ok_or_else(|| wrong(expected(&field)))?),
        };
        parts.push(Filter::Is(field, test));
        Ok(())
    }

    fn too_many(&self) -> QueryError {
        QueryError(format!("the filter has more than {} conditions", self.bounds.conditions))
    }

    /// Refuses what is too much before anything is made of it.
    fn measure(&mut self, name: &str, field: &Field, value: &Value) -> Result<(), QueryError> {
        let Bounds { values, custom_values, value_bytes, bytes, .. } = self.bounds;
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        if list.len() > values {
            return Err(QueryError(format!("a list on field \"{name}\" has more than {values} values")));
        }
        if field.known().is_none() && value.is_array() {
            self.custom_values += list.len();
        }
        if self.custom_values > custom_values {
            return Err(QueryError(format!("lists on custom data have more than {custom_values} values together")));
        }
        self.bytes += name.len();
        for value in list {
            let size = value.to_string().len();
            if size > value_bytes {
                return Err(QueryError(format!("a value on field \"{name}\" has more than {value_bytes} bytes")));
            }
            self.bytes += size;
        }
        if self.bytes > bytes {
            return Err(QueryError(format!("the filter has more than {bytes} bytes")));
        }
        Ok(())
    }
}

/// The value in its field's kind, or nothing if it is not of that kind. Postgres cannot hold NUL in text.
fn checked(field: &Field, value: &Value) -> Option<Value> {
    let Field::Known(spec) = field else {
        return (!has_nul(value)).then(|| value.clone());
    };
    match spec.kind {
        FieldKind::Text | FieldKind::TextSet => value.as_str().filter(|text| !text.contains('\0')).map(Value::from),
        FieldKind::Bool => value.as_bool().map(Value::from),
        FieldKind::Integer => value.as_i64().map(Value::from),
        FieldKind::Time => value.as_str().and_then(Timestamp::parse).map(|time| Value::from(time.micros())),
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn expected(field: &Field) -> &'static str {
    match field {
        Field::Custom(_) => "a value without NUL",
        Field::Known(spec) => match spec.kind {
            FieldKind::Text | FieldKind::TextSet => "text",
            FieldKind::Bool => "true or false",
            FieldKind::Integer => "an integer",
            FieldKind::Time => "an RFC 3339 time",
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::FieldSpec;

    const ALL: &[Operator] = &[Operator::Eq, Operator::In, Operator::Gt, Operator::Lt, Operator::Exists];
    static SCHEMA: Schema = Schema {
        fields: &[
            FieldSpec { name: "type", kind: FieldKind::Text, operators: ALL, sortable: false },
            FieldSpec {
                name: "members",
                kind: FieldKind::TextSet,
                operators: &[Operator::In, Operator::Eq],
                sortable: false,
            },
            FieldSpec { name: "frozen", kind: FieldKind::Bool, operators: &[Operator::Eq], sortable: false },
            FieldSpec { name: "created_at", kind: FieldKind::Time, operators: ALL, sortable: true },
        ],
        custom: true,
    };
    const BOUNDS: Bounds = Bounds {
        depth: 3,
        conditions: 4,
        values: 3,
        custom_values: 6,
        value_bytes: 50,
        bytes: 200,
        words: 2,
        words_bytes: 10,
    };

    fn parse(value: Value) -> Result<Filter, String> {
        parse_filter(&value, &SCHEMA, BOUNDS).map_err(|error| error.0)
    }

    #[test]
    fn everything_is_matched_by_nothing() {
        for value in [json!(null), json!({}), json!([])] {
            assert_eq!(parse(value), Ok(Filter::And(vec![])));
        }
    }

    #[test]
    fn a_plain_value_means_equal_and_two_operators_mean_both() {
        let time = |text| Value::from(Timestamp::parse(text).unwrap().micros());
        let Ok(Filter::Is(field, test)) = parse(json!({"type": "messaging"})) else { panic!() };
        assert_eq!((field.known(), test), (Some("type"), Test::Value(Operator::Eq, json!("messaging"))));
        let range = json!({"created_at": {"$gt": "2026-01-01T00:00:00Z", "$lt": "2026-02-01T00:00:00Z"}});
        let Ok(Filter::And(parts)) = parse(range) else { panic!() };
        let tests: Vec<_> =
            parts.into_iter().map(|part| if let Filter::Is(_, test) = part { test } else { panic!() }).collect();
        assert_eq!(
            tests,
            [
                Test::Value(Operator::Gt, time("2026-01-01T00:00:00Z")),
                Test::Value(Operator::Lt, time("2026-02-01T00:00:00Z"))
            ]
        );
    }

    #[test]
    fn custom_data_is_reached_by_dots() {
        let Ok(Filter::Is(field, _)) = parse(json!({"address.city": "Paris"})) else { panic!() };
        assert_eq!(field, Field::Custom(vec!["address".into(), "city".into()]));
        assert!(matches!(parse(json!({"age": {"$ne": null}})), Ok(Filter::Is(_, Test::Exists(true)))));
    }

    #[test]
    fn says_what_is_wrong() {
        for (value, error) in [
            (json!("x"), "filter_conditions must be an object"),
            (json!({"$xor": []}), "unknown operator \"$xor\""),
            (json!({"type": {"$like": "m"}}), "unknown operator \"$like\" on field \"type\""),
            (json!({"frozen": {"$gt": true}}), "field \"frozen\" does not support $gt"),
            (json!({"frozen": "yes"}), "$eq on field \"frozen\" takes true or false"),
            (json!({"created_at": {"$gt": "soon"}}), "$gt on field \"created_at\" takes an RFC 3339 time"),
            (json!({"type": {"$in": "messaging"}}), "$in on field \"type\" takes a list"),
            (json!({"type": {"$in": ["a", "b", "c", "d"]}}), "a list on field \"type\" has more than 3 values"),
            (json!({"type": ["a", "b", "c", "d"]}), "a list on field \"type\" has more than 3 values"),
            (json!({"color": "x".repeat(49)}), "a value on field \"color\" has more than 50 bytes"),
            (
                json!({"color": {"$q": "one two three"}}),
                "$q on field \"color\" takes at most 2 words of 10 bytes together",
            ),
            (
                json!({"color": {"$autocomplete": "aaaaaaaaaaa"}}),
                "$autocomplete on field \"color\" takes at most 2 words of 10 bytes together",
            ),
            (json!({"a": vec!["x".repeat(40); 3], "b": vec!["x".repeat(40); 3]}), "the filter has more than 200 bytes"),
            (
                json!({"a": {"$in": [1, 2, 3]}, "$or": [{"b": {"$nin": [1, 2, 3]}}, {"c": {"$in": [1]}}]}),
                "lists on custom data have more than 6 values together",
            ),
            (json!({"members": {}}), "field \"members\" needs a value or an operator"),
            (json!({"$or": {}}), "$or takes a list of filters"),
            (json!({"$and": []}), "$and takes at least one filter"),
            (json!({"a..b": 1}), "\"a..b\" is not a field name"),
            (json!({"color": "a\0b"}), "$eq on field \"color\" takes a value without NUL"),
            (json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}), "the filter has more than 4 conditions"),
            (json!({"$or": vec![json!({}); 6]}), "the filter has more than 4 conditions"),
            (json!({"$or": [{"$or": [{"$or": [{"a": 1}]}]}]}), "the filter is nested more than 3 levels deep"),
        ] {
            assert_eq!(parse(value.clone()).unwrap_err(), error, "{value}");
        }
    }

    /// Filters as somebody would write them who knows half of the language.
    fn half_right() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just("type".to_owned()),
            Just("members".to_owned()),
            Just("created_at".to_owned()),
            Just("frozen".to_owned()),
            "\\$(eq|ne|gt|in|nin|exists|contains|autocomplete|q|and|or|nor|xor)",
            "[a-z.$]{0,6}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            Just(json!("2026-01-01T00:00:00Z")),
        ];
        leaf.prop_recursive(6, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(name.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn size_of(filter: &Filter) -> (usize, usize) {
        match filter {
            Filter::Is(..) => (0, 1),
            Filter::And(parts) | Filter::Or(parts) | Filter::Nor(parts) => parts
                .iter()
                .map(size_of)
                .fold((1, 0), |(depth, count), (deep, more)| (depth.max(deep + 1), count + more)),
        }
    }

    proptest! {
        #[test]
        fn anything_is_understood_within_bounds_or_refused(value in half_right()) {
            if let Ok(filter) = parse(value) {
                let (depth, conditions) = size_of(&filter);
                // A plain object is an "and" of its own on each level.
                prop_assert!(conditions <= BOUNDS.conditions && depth <= 2 * BOUNDS.depth + 2, "{filter:?}");
            }
        }
    }
}
