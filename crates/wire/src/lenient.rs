//! Reading what clients really send: `null` and `[]` where nothing or an empty object is meant.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Custom data: the keys of an object that Millrace keeps and gives back without reading them.
///
/// Reads an object, `null` or an empty list (PHP's form of an empty object).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Custom(pub Map<String, Value>);

impl Custom {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out the keys that belong to the object itself, so that custom data can never shadow them.
    pub fn without(mut self, reserved: &[&str]) -> Self {
        for key in reserved {
            self.0.remove(*key);
        }
        self
    }
}

impl From<Map<String, Value>> for Custom {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

impl<'de> Deserialize<'de> for Custom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Custom;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_unit<E: Error>(self) -> Result<Custom, E> {
                Ok(Custom::default())
            }
            fn visit_none<E: Error>(self) -> Result<Custom, E> {
                Ok(Custom::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Custom, A::Error> {
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Custom::default()),
                    Some(_) => Err(A::Error::custom("an object is expected, not a list")),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Custom, A::Error> {
                let mut map = Map::new();
                while let Some((key, value)) = access.next_entry()? {
                    map.insert(key, value);
                }
                Ok(Custom(map))
            }
        }
        deserializer.deserialize_any(Object)
    }
}

impl PartialSchema for Custom {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
    }
}

impl ToSchema for Custom {}

/// A list, or `null` for an empty one.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// A map, or `null` or `[]` for an empty one.
pub(crate) fn map<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<HashMap<String, T>, D::Error> {
    Custom::deserialize(deserializer)?
        .0
        .into_iter()
        .map(|(key, value)| Ok((key, serde_json::from_value(value).map_err(D::Error::custom)?)))
        .collect()
}

/// A value, or `null` for its default.
pub(crate) fn default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// An object, or `null` or `[]` for none.
pub(crate) fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match value {
        Value::Null => Ok(None),
        Value::Array(list) if list.is_empty() => Ok(None),
        value => serde_json::from_value(value).map(Some).map_err(D::Error::custom),
    }
}
