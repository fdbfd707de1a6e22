//! What clients made up, as text: custom data and attachments on their way from a row to an answer.
//!
//! In memory parsed JSON takes up to fifteen times its text. So it is parsed where it comes in and is checked ([`Custom`]),
//! written down once, and from then on copied as it is written. A clone is a reference, and nothing takes no memory. Whoever
//! has to look into it parses it there.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Number, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::Custom;

/// An object that clients made up. Serialises entry by entry, so that it can be flattened into its parent.
#[derive(Clone, Default)]
pub struct RawObject(Option<Arc<RawValue>>);

impl RawObject {
    /// # Errors
    /// None in practice: JSON always serialises.
    pub fn new(object: &Map<String, Value>) -> serde_json::Result<Self> {
        if object.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(Some(to_raw_value(object)?.into())))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The text, without spaces.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("{}", |text| text.get())
    }

    /// # Errors
    /// None in practice: it was read or written once.
    pub fn parse(&self) -> serde_json::Result<Map<String, Value>> {
        serde_json::from_str(self.as_str())
    }

    /// The value of a key, if there is one and it is of this type.
    pub fn get<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Option<T> {
        let mut found = None;
        let note = |name: &str, value: &'a RawValue| {
            if name == key {
                found = Some(value);
            }
            Ok::<_, serde_json::Error>(())
        };
        self.for_each(note).ok()?;
        serde_json::from_str(found?.get()).ok()
    }

    fn for_each<'a, E: Display>(
        &'a self,
        entry: impl FnMut(&str, &'a RawValue) -> Result<(), E>,
    ) -> serde_json::Result<()> {
        match &self.0 {
            Some(text) => serde_json::Deserializer::from_str(text.get()).deserialize_map(Entries(entry)),
            None => Ok(()),
        }
    }
}

/// A list that clients made up.
#[derive(Clone, Default)]
pub struct RawList(Option<Arc<RawValue>>);

impl RawList {
    /// # Errors
    /// None in practice: JSON always serialises.
    pub fn new(list: &[Value]) -> serde_json::Result<Self> {
        if list.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(Some(to_raw_value(list)?.into())))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn len(&self) -> usize {
        serde_json::from_str(self.as_str()).map_or(0, |items: Vec<IgnoredAny>| items.len())
    }

    /// The text, without spaces.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("[]", |text| text.get())
    }

    /// # Errors
    /// None in practice: it was read or written once.
    pub fn parse(&self) -> serde_json::Result<Vec<Value>> {
        serde_json::from_str(self.as_str())
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.for_each(|key, value| map.serialize_entry(key, value)).map_err(S::Error::custom)?;
        map.end()
    }
}

impl Serialize for RawList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(text) => text.serialize(serializer),
            None => serializer.collect_seq([(); 0]),
        }
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer, "{}").map(Self)
    }
}

impl<'de> Deserialize<'de> for RawList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer, "[]").map(Self)
    }
}

/// Equal if they hold the same, in whatever order it is written: Postgres has an order of its own.
impl PartialEq for RawObject {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || matches!((self.parse(), other.parse()), (Ok(one), Ok(other)) if one == other)
    }
}

impl PartialEq for RawList {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || matches!((self.parse(), other.parse()), (Ok(one), Ok(other)) if one == other)
    }
}

impl fmt::Debug for RawObject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for RawList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// To clients it is what they sent.
impl PartialSchema for RawObject {
    fn schema() -> RefOr<Schema> {
        Custom::schema()
    }
}

impl ToSchema for RawObject {
    fn name() -> Cow<'static, str> {
        Custom::name()
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Hands on the entries of an object, their values as text.
struct Entries<F>(F);

impl<'de, E: Display, F: FnMut(&str, &'de RawValue) -> Result<(), E>> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = entries.next_entry::<Key<'de>, &'de RawValue>()? {
            (self.0)(&key, value).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// What is read, as text: nothing for what is as good as `empty`, whose first character says what is expected.
fn written<'de, D: Deserializer<'de>>(deserializer: D, empty: &str) -> Result<Option<Arc<RawValue>>, D::Error> {
    let text = compact(Box::<RawValue>::deserialize(deserializer)?.get());
    if text == "null" || text == empty {
        return Ok(None);
    }
    if !text.starts_with(&empty[..1]) {
        return Err(D::Error::custom(format!("something like {empty} is expected")));
    }
    Ok(Some(RawValue::from_string(text).map_err(D::Error::custom)?.into()))
}

/// The longest number that is kept as it is written: the smallest of 64 bits.
const NUMBER_BYTES_MAX: usize = 20;

/// JSON without spaces, and with long numbers as short as they can be. Postgres writes spaces, and a number of five characters
/// with hundreds: what has been measured when it came in must not grow.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.bytes().next() {
        let (token, after) = rest.split_at(token_length(rest.as_bytes()));
        rest = after;
        let long = token.len() > NUMBER_BYTES_MAX && first != b'"';
        match token.parse().ok().filter(|_| long).and_then(Number::from_f64) {
            Some(number) => out.push_str(&number.to_string()),
            None if first.is_ascii_whitespace() => {}
            None => out.push_str(token),
        }
    }
    out
}

/// Length of what valid JSON begins with: a string, spaces, a mark, or all up to one of these.
fn token_length(json: &[u8]) -> usize {
    let ends = |byte: &u8| matches!(byte, b'"' | b',' | b':' | b'[' | b']' | b'{' | b'}') || byte.is_ascii_whitespace();
    match json[0] {
        b'"' => {
            let mut escaped = false;
            let closes = |byte: &u8| {
                let closes = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                closes
            };
            json[1..].iter().position(closes).map_or(json.len(), |inside| inside + 2)
        }
        first if ends(&first) => 1,
        _ => json.iter().position(ends).unwrap_or(json.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Shown {
        id: &'static str,
        list: RawList,
        #[serde(flatten)]
        custom: RawObject,
    }

    #[test]
    fn text_is_flattened_as_it_is_written() {
        let text = r#" {"b" : [1, 2.50, {"c": null}], "a\u00e4\n": "x, y: \"z\"", "whole": 18446744073709551615, "long": 100000000000000000000000} "#;
        let custom: RawObject = serde_json::from_str(text).unwrap();
        assert_eq!(
            custom.as_str(),
            r#"{"b":[1,2.50,{"c":null}],"a\u00e4\n":"x, y: \"z\"","whole":18446744073709551615,"long":1e+23}"#
        );
        let list = serde_json::from_str(r#"[ {"type": "image"}, [] ]"#).unwrap();
        let shown = serde_json::to_string(&Shown { id: "m", list, custom: custom.clone() }).unwrap();
        assert_eq!(
            shown,
            r#"{"id":"m","list":[{"type":"image"},[]],"b":[1,2.50,{"c":null}],"aä\n":"x, y: \"z\"","whole":18446744073709551615,"long":1e+23}"#
        );
    }

    #[test]
    fn nothing_takes_no_memory() {
        for nothing in ["{}", " { } ", "null"] {
            assert!(serde_json::from_str::<RawObject>(nothing).unwrap().is_empty());
        }
        assert!(serde_json::from_str::<RawList>("[]").unwrap().is_empty() && RawList::new(&[]).unwrap().is_empty());
        assert!(RawObject::new(&Map::new()).unwrap().is_empty());
        let nothing = Shown { id: "m", list: RawList::default(), custom: RawObject::default() };
        assert_eq!(serde_json::to_string(&nothing).unwrap(), r#"{"id":"m","list":[]}"#);
    }

    #[test]
    fn clones_share_one_text() {
        let custom = RawObject::new(json!({"a": 1}).as_object().unwrap()).unwrap();
        assert_eq!(custom.as_str().as_ptr(), custom.clone().as_str().as_ptr());
        let list = RawList::new(&[json!({"a": 1})]).unwrap();
        assert_eq!(list.as_str().as_ptr(), list.clone().as_str().as_ptr());
        assert_eq!((list.len(), RawList::default().len()), (1, 0));
    }

    #[test]
    fn what_is_no_object_is_no_custom_data() {
        for wrong in ["[]", "[1]", "1", "\"{}\"", "{", "true"] {
            assert!(serde_json::from_str::<RawObject>(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<RawList>("{}").is_err());
    }

    #[test]
    fn a_value_is_found_without_the_others() {
        let custom: RawObject = serde_json::from_str(r#"{"a": {"name": 1}, "name": "Ada", "open": true}"#).unwrap();
        assert_eq!(custom.get::<String>("name").as_deref(), Some("Ada"));
        assert_eq!(
            (custom.get("open"), custom.get::<bool>("name"), custom.get::<bool>("none")),
            (Some(true), None, None)
        );
        assert_eq!(custom.get::<&RawValue>("a").map(RawValue::get), Some(r#"{"name":1}"#));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|object| Value::Object(object.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever clients make up comes out as it went in, however it was spaced on the way.
        #[test]
        fn what_goes_in_comes_out(object in prop::collection::btree_map(any::<String>(), any_json(), 0..6)) {
            let object: Map<String, Value> = object.into_iter().collect();
            let sent = serde_json::to_string(&object).unwrap();
            let spaced = serde_json::to_string_pretty(&object).unwrap();
            let read: RawObject = serde_json::from_str(&spaced).unwrap();
            prop_assert_eq!(read.as_str(), &sent);
            prop_assert_eq!(&read, &RawObject::new(&object).unwrap());
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), sent);
            let list: RawList = serde_json::from_value(json!([object])).unwrap();
            prop_assert_eq!(list, RawList::new(&[Value::Object(object)]).unwrap());
        }

        /// However Postgres writes a number, it is sent in a form that is short and means the same.
        #[test]
        fn numbers_do_not_grow(number in any::<f64>()) {
            let digits = format!("[{number:.400}]");
            let list: RawList = serde_json::from_str(&digits).unwrap();
            prop_assert!(list.as_str().len() < 30, "{}", list.as_str());
            let short = list.as_str().trim_matches(['[', ']']);
            prop_assert_eq!(short.parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }
}
