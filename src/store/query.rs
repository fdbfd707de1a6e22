//! Filters and sorts as SQL: a checked tree in, conditions with bound values out.
//!
//! Each query says how its known fields read as SQL ([`Fields`]); operators, custom data and nulls work the same
//! everywhere. A comparison with something that is not there is false, and its negation true.
//!
//! What a client wrote runs on connections that nothing else needs, and not for long (filters.rs): whatever a
//! filter costs, everything else is read meanwhile.

pub mod channels;
pub mod drafts;
pub mod members;
pub mod users;

use query::{Field, FieldKind, Filter, Operator, Sort, Test};
use serde_json::Value;
use sqlx::{Postgres, QueryBuilder};
use wire::Timestamp;

pub(super) type Sql = QueryBuilder<Postgres>;

/// How the fields of one query read as SQL.
pub(super) trait Fields {
    /// The expression of a scalar field, `c.frozen`; `None` for a field that [`Fields::special`] handles.
    fn expression(&self, name: &str) -> Option<&'static str>;

    /// The column of custom data, `c.custom`.
    fn custom(&self) -> &'static str;

    /// Writes the condition of a field that is not a plain expression.
    fn special(&self, sql: &mut Sql, name: &str, test: &Test);
}

/// Writes a filter as one condition.
pub(super) fn write_filter(sql: &mut Sql, filter: &Filter, fields: &dyn Fields) {
    match filter {
        Filter::And(parts) => write_joined(sql, parts, " AND ", fields),
        Filter::Or(parts) => write_joined(sql, parts, " OR ", fields),
        Filter::Nor(parts) => {
            sql.push("NOT coalesce(");
            write_joined(sql, parts, " OR ", fields);
            sql.push(", false)");
        }
        Filter::Is(Field::Known(spec), test) => match fields.expression(spec.name) {
            Some(expression) => write_scalar(sql, expression, spec.kind, test),
            None => fields.special(sql, spec.name, test),
        },
        Filter::Is(Field::Custom(path), test) => write_custom(sql, fields.custom(), path, test),
    }
}

fn write_joined(sql: &mut Sql, parts: &[Filter], joint: &str, fields: &dyn Fields) {
    if parts.is_empty() {
        sql.push("true");
        return;
    }
    sql.push("(");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            sql.push(joint);
        }
        write_filter(sql, part, fields);
    }
    sql.push(")");
}

const fn comparison(operator: Operator) -> &'static str {
    match operator {
        Operator::Gt => " > ",
        Operator::Gte => " >= ",
        Operator::Lt => " < ",
        Operator::Lte => " <= ",
        Operator::Ne => " IS DISTINCT FROM ",
        _ => " = ",
    }
}

/// A condition on an expression of a known kind.
pub(super) fn write_scalar(sql: &mut Sql, expression: &str, kind: FieldKind, test: &Test) {
    match test {
        Test::Exists(exists) => {
            sql.push(expression).push(if *exists { " IS NOT NULL" } else { " IS NULL" });
        }
        Test::Words(operator, words) => write_words(sql, expression, *operator, words),
        Test::Value(operator, value) => {
            sql.push("coalesce(").push(expression).push(comparison(*operator));
            bind_scalar(sql, kind, value);
            sql.push(", false)");
        }
        Test::List(operator, values) => {
            if *operator == Operator::Nin {
                sql.push("NOT ");
            }
            sql.push("coalesce(").push(expression).push(" = ANY(");
            match kind {
                FieldKind::Text | FieldKind::TextSet => sql.push_bind(texts(values)),
                FieldKind::Bool => sql.push_bind(values.iter().filter_map(Value::as_bool).collect::<Vec<_>>()),
                FieldKind::Integer => sql.push_bind(values.iter().filter_map(Value::as_i64).collect::<Vec<_>>()),
                FieldKind::Time => sql
                    .push_bind(values.iter().filter_map(Value::as_i64).map(Timestamp::from_micros).collect::<Vec<_>>()),
            };
            sql.push("), false)");
        }
    }
}

fn bind_scalar(sql: &mut Sql, kind: FieldKind, value: &Value) {
    match kind {
        FieldKind::Text | FieldKind::TextSet => sql.push_bind(value.as_str().unwrap_or_default().to_owned()),
        FieldKind::Bool => sql.push_bind(value.as_bool().unwrap_or_default()),
        FieldKind::Integer => sql.push_bind(value.as_i64().unwrap_or_default()),
        FieldKind::Time => sql.push_bind(Timestamp::from_micros(value.as_i64().unwrap_or_default())),
    };
}

/// `$autocomplete`: each word begins a word of the text. `$q`: the text has all the words.
fn write_words(sql: &mut Sql, expression: &str, operator: Operator, words: &str) {
    if operator == Operator::Q {
        sql.push("coalesce(to_tsvector('simple', ").push(expression).push(") @@ plainto_tsquery('simple', ");
        sql.push_bind(words.to_owned()).push("), false)");
        return;
    }
    sql.push("(true");
    for word in words.split_whitespace() {
        let escaped: String =
            word.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect();
        let start = if word.starts_with(|c: char| c.is_alphanumeric() || c == '_') { r"\m" } else { r"(^|\s)" };
        sql.push(" AND coalesce(")
            .push(expression)
            .push(" ~* ")
            .push_bind(format!("{start}{escaped}"))
            .push(", false)");
    }
    sql.push(")");
}

/// A condition on custom data. Equality goes through containment, which the GIN index serves.
fn write_custom(sql: &mut Sql, column: &str, path: &[String], test: &Test) {
    let at_path = |sql: &mut Sql| {
        sql.push(column).push(" #> ").push_bind(path.to_vec());
    };
    match test {
        Test::Exists(exists) => {
            sql.push("coalesce(jsonb_typeof(");
            at_path(sql);
            sql.push("), 'null')").push(if *exists { " <> 'null'" } else { " = 'null'" });
        }
        Test::Words(operator, words) => {
            // The path is bound once per word; the expression has to be a text, so it is built with literals.
            sql.push("EXISTS (SELECT FROM (SELECT ")
                .push(column)
                .push(" #>> ")
                .push_bind(path.to_vec())
                .push(" AS word_text) w WHERE ");
            write_words(sql, "w.word_text", *operator, words);
            sql.push(")");
        }
        Test::Value(Operator::Eq, value) if !value.is_array() && !value.is_object() => {
            write_contains(sql, column, path, value);
        }
        Test::Value(Operator::Eq, value) => {
            sql.push("coalesce(");
            at_path(sql);
            sql.push(" = ").push_bind(value.clone()).push(", false)");
        }
        Test::Value(Operator::Ne, value) => {
            sql.push("NOT coalesce(");
            at_path(sql);
            sql.push(" = ").push_bind(value.clone()).push(", false)");
        }
        Test::Value(Operator::Contains, value) => write_contains(sql, column, path, &Value::Array(vec![value.clone()])),
        Test::Value(operator, value) => {
            sql.push("coalesce(jsonb_typeof(");
            at_path(sql);
            sql.push(") = jsonb_typeof(").push_bind(value.clone()).push(") AND ");
            at_path(sql);
            sql.push(comparison(*operator)).push_bind(value.clone()).push(", false)");
        }
        Test::List(operator, values) => {
            // One condition for the whole list, which the index serves value by value.
            let nested: Vec<Value> = values.iter().map(|value| nested(path, value)).collect();
            sql.push(if *operator == Operator::Nin { "NOT " } else { "" });
            sql.push(column).push(" @> ANY(").push_bind(nested).push(")");
        }
    }
}

fn write_contains(sql: &mut Sql, column: &str, path: &[String], value: &Value) {
    sql.push(column).push(" @> ").push_bind(nested(path, value));
}

/// Custom data with nothing in it but a value at a path.
fn nested(path: &[String], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, step| serde_json::json!({ step: inner }))
}

/// Writes `ORDER BY` with the keys and at last one that makes the order total.
pub(super) fn write_order(sql: &mut Sql, keys: &[Sort], fields: &dyn Fields, tie_break: &str) {
    sql.push(" ORDER BY ");
    for key in keys {
        match &key.field {
            Field::Known(spec) => {
                sql.push(fields.expression(spec.name).unwrap_or("1"));
            }
            Field::Custom(path) => {
                sql.push(fields.custom()).push(" #> ").push_bind(path.clone());
            }
        }
        sql.push(if key.descending { " DESC NULLS LAST, " } else { " NULLS LAST, " });
    }
    sql.push(tie_break);
}

pub(super) fn texts(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(Value::as_str).map(Into::into).collect()
}

/// The values of a test on a set of texts, and whether they must be the whole set.
pub(super) fn set_of(test: &Test) -> (Vec<String>, bool) {
    match test {
        Test::Value(_, Value::Array(values)) => (texts(values), true),
        Test::Value(_, value) => (texts(std::slice::from_ref(value)), false),
        Test::List(_, values) => (texts(values), false),
        Test::Exists(_) | Test::Words(..) => (Vec::new(), false),
    }
}
