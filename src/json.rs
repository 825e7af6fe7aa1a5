//! Deserializes structs from JSON objects only.
//!
//! serde also accepts an array for a struct: `["a", 7]` for `{"name": "a", "number": 7}`. Other
//! JSON libraries reject that. They also reject invalid UTF-8 (RFC 8259 §8.1), which serde ignores
//! in members that it skips.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

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
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
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
}
