//! JSON objects where serde's derive doesn't fit. All of them are strict.
//!
//! [`object`] deserializes a struct from an object only. serde also accepts an array:
//! `["a", 7]` for `{"name": "a", "number": 7}`. Other JSON libraries reject that. They also reject
//! invalid UTF-8 (RFC 8259 §8.1), which serde ignores in members that it skips.
//!
//! `UniqueMembers` are those of a token. RFC 7515 §4 and RFC 7519 §4 let a receiver reject duplicates
//! or use the last one. Two readers that choose differently would see two different tokens, so this
//! parser rejects duplicates.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Number, Value};

use crate::settings::ClaimPath;

/// Deserializes a `T` from a JSON object.
///
/// # Errors
/// If the text isn't an object or not a valid `T`.
pub fn object<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let Object(read) = serde_json::from_slice(text)?;
    match str::from_utf8(text) {
        Ok(_) => Ok(read),
        Err(error) => Err(serde_json::Error::custom(error)),
    }
}

/// A `T` deserialized from an object.
pub struct Object<T>(pub T);

impl<T> fmt::Debug for Object<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Object(…)")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The members of an object, none of which occurs twice at any depth. No `Debug`: claims are personal
/// data.
pub(crate) struct UniqueMembers(BTreeMap<String, Value>);

impl UniqueMembers {
    /// The member, even if it is `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value at a path through objects and lists (RFC 6901 §4).
    pub(crate) fn at(&self, path: &ClaimPath) -> Option<&Value> {
        let (first, inner) = path.segments().split_first()?;
        inner.iter().try_fold(self.get(first)?, |value, segment| match value {
            Value::Object(members) => members.get(segment),
            Value::Array(items) => items.get(index(segment)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Whether the member exists, even if it is `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// An array index: digits without leading zeros (RFC 6901 §4).
fn index(segment: &str) -> Option<usize> {
    let is_canonical = segment == "0" || !segment.starts_with(['0', '+']);
    segment.parse().ok().filter(|_| is_canonical)
}

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMembersVisitor)
    }
}

struct UniqueMembersVisitor;

impl<'de> Visitor<'de> for UniqueMembersVisitor {
    type Value = UniqueMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMembers, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, UniqueValue(value))) = map.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom(DUPLICATE_MEMBER));
            }
        }
        Ok(UniqueMembers(members))
    }
}

const DUPLICATE_MEMBER: &str = "a member occurs twice";

/// A value in which no object has a duplicate member.
struct UniqueValue(Value);

impl<'de> Deserialize<'de> for UniqueValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(UniqueValue(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, UniqueValue(value))) = map.next_entry::<String, _>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom(DUPLICATE_MEMBER));
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        name: String,
        number: Option<u64>,
    }

    fn read(text: &str) -> Option<Thing> {
        object(text.as_bytes()).ok()
    }

    #[test]
    fn objects_are_parsed() {
        let a = |number| Some(Thing { name: "a".to_owned(), number });
        assert_eq!(read(r#" {"name": "a", "number": 7} "#), a(Some(7)));
        assert_eq!(read(r#"{"number": null, "name": "a"}"#), a(None));
        assert_eq!(read(r#"{"name": "a"}"#), a(None));
        for text in [
            "",
            "{}",
            r#"{"name": "a""#,
            r#"{"name": "a"} x"#,
            r#"{"name": "a", "name": "b"}"#,
            r#"{"name": "a", "more": 1}"#,
            r#"{"name": 1}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let error = object::<Thing>(b"{\n\"name\": 1}").unwrap_err();
        assert_eq!((error.line(), error.column()), (2, 9));
    }

    #[test]
    fn invalid_utf8_is_rejected_anywhere() {
        #[derive(Deserialize)]
        struct Lenient {
            name: String,
        }
        let read = |text: &[u8]| object::<Lenient>(text).map(|read| read.name).ok();
        assert_eq!(read("{\"name\": \"a\", \"é\": \"é\"}".as_bytes()).as_deref(), Some("a"));
        for text in [&b"{\"name\": \"a\xff\"}"[..], b"{\"name\": \"a\", \"more\": [\"\xf4\"]}"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn array_of_member_values_is_rejected() {
        for text in [r#"["a", 7]"#, r#"["a", null]"#, r#"[{"name": "a"}]"#, "[]", "null", "\"a\""] {
            assert_eq!(read(text), None, "{text}");
        }
        let things = |text| serde_json::from_str::<Vec<Object<Thing>>>(text);
        assert!(things(r#"[{"name": "a"}]"#).is_ok());
        assert!(things(r#"[["a", 7]]"#).unwrap_err().to_string().contains("an object"));
    }

    fn parse(text: &str) -> Option<UniqueMembers> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn values_are_read_as_serde_json_reads_them() {
        for text in [
            r#"{"a":[null,true,false,-1,0,18446744073709551615,-0,1.5,1e3,"é\u00e9\ud83d\ude00",{}]}"#,
            r#"{"a":{"b":[],"c":{"b":{"b":1}}},"b":"","":99999999999999999999}"#,
        ] {
            let object = parse(text).unwrap();
            let other: Value = serde_json::from_str(text).unwrap();
            let other = other.as_object().unwrap();
            assert_eq!(object.names().count(), other.len());
            for (name, value) in other {
                assert_eq!(object.get(name), Some(value), "{text}");
            }
        }
        let deep = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&deep(100)).is_some() && parse(&deep(200)).is_none());
    }

    #[test]
    fn paths_go_through_objects_and_lists() {
        let object = parse(r#"{"a":{"b/c":[{"~":7}]},"a/b":1,"0":[5]}"#).unwrap();
        for (path, found) in [
            ("a/b", Some(1)),
            ("/a~1b", Some(1)),
            ("/a/b~1c/0/~0", Some(7)),
            ("/0/0", Some(5)),
            ("/a/b", None),
            ("/a/b~1c/00/~0", None),
            ("/a/b~1c/+0/~0", None),
            ("/a/b~1c/-/~0", None),
            ("/a/b~1c/1/~0", None),
            ("/a~1b/c", None),
            ("/x", None),
        ] {
            let value = object.at(&ClaimPath::of(path)).and_then(Value::as_i64);
            assert_eq!(value, found, "{path}");
        }
    }

    #[test]
    fn duplicate_members_are_rejected() {
        let object = parse(r#"{"a":1,"b":null}"#).unwrap();
        assert_eq!(object.get("a"), Some(&Value::from(1)));
        assert!(object.has("b") && !object.has("c"));
        assert!(object.get("c").is_none());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[1,[{"b":{"c":1,"\u0063":2}}]]}"#,
            "[]",
            "1",
            r#"{"a":1} x"#,
            "",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        let error = serde_json::from_str::<UniqueMembers>("[]").err().unwrap().to_string();
        assert!(error.contains("an object"), "{error}");
    }
}
