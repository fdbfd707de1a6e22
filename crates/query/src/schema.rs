//! What a query knows: its fields, their kinds, their operators.

use crate::{Operator, QueryError};

/// The kind of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Bool,
    Integer,
    /// RFC 3339 text.
    Time,
    /// A set of texts (`members`, `teams`, `filter_tags`): `$in` asks for any of them, `$eq` for exactly these.
    TextSet,
}

/// A field that a schema names.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldSpec {
    pub name: &'static str,
    pub kind: FieldKind,
    pub operators: &'static [Operator],
    /// May results be sorted by it?
    pub sortable: bool,
}

/// All that a query may ask for.
#[derive(Debug)]
pub struct Schema {
    pub fields: &'static [FieldSpec],
    /// Do unknown names mean custom data?
    pub custom: bool,
}

/// A field in a checked tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Known(&'static FieldSpec),
    /// A path into custom data: `address.city` is `["address", "city"]`.
    Custom(Vec<String>),
}

impl Field {
    /// The name of a known field; `None` for custom data.
    pub fn known(&self) -> Option<&'static str> {
        match self {
            Self::Known(spec) => Some(spec.name),
            Self::Custom(_) => None,
        }
    }
}

/// Longest name of a field.
const NAME_BYTES_MAX: usize = 255;
/// Longest path into custom data, in steps.
const CUSTOM_PATH_STEPS_MAX: usize = 8;

impl Schema {
    pub(crate) fn field(&'static self, name: &str) -> Result<Field, QueryError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(QueryError(format!("the name of a field has at most {NAME_BYTES_MAX} bytes")));
        }
        if let Some(spec) = self.fields.iter().find(|spec| spec.name == name) {
            return Ok(Field::Known(spec));
        }
        if !self.custom {
            return Err(QueryError(format!("unknown field \"{name}\"")));
        }
        let path = name.strip_prefix("custom.").unwrap_or(name);
        let steps: Vec<String> = path.split('.').map(Into::into).collect();
        if steps.len() > CUSTOM_PATH_STEPS_MAX || steps.iter().any(String::is_empty) || name.contains('\0') {
            return Err(QueryError(format!("\"{name}\" is not a field name")));
        }
        Ok(Field::Custom(steps))
    }
}
