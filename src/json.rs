//! JSON objects where serde's derive doesn't fit.
//!
//! [`object`] deserializes a struct from an object only. serde also accepts an array:
//! `["a", 7]` for `{"name": "a", "number": 7}`. Other JSON libraries reject that. They also reject
//! invalid UTF-8 (RFC 8259 §8.1), which serde ignores in members that it skips.
//!
//! [`Members`] keeps repeated members, so that the reader decides which of them are an error. A
//! derived struct always rejects them, a map always accepts them.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

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

/// The members of an object with their unparsed values. No `Debug`: they may be personal data.
#[expect(missing_debug_implementations, reason = "the values may be personal data")]
pub struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses a text that is one object and nothing else.
    ///
    /// # Errors
    /// If it isn't.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The member's value. Of several with the same name, the last one counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.values(name).next_back()
    }

    /// Whether the member occurs more than once.
    #[must_use]
    pub fn is_repeated(&self, name: &str) -> bool {
        self.values(name).nth(1).is_some()
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a RawValue> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
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

    fn a_and_b(text: &str) -> Option<[Option<&str>; 2]> {
        let members = Members::parse(text).ok()?;
        Some(["a", "b"].map(|name| members.get(name).map(RawValue::get)))
    }

    #[test]
    fn members_are_extracted_unchanged() {
        for (text, values) in [
            ("{}", [None, None]),
            (r#"{"a":1}"#, [Some("1"), None]),
            (
                r#" {"c":[{}], "b" : "x\u0041" ,"\u0061":{"a":2}} "#,
                [Some(r#"{"a":2}"#), Some(r#""x\u0041""#)],
            ),
            (r#"{"a":1,"b":null,"a":2}"#, [Some("2"), Some("null")]),
            (r#"{"c":"\ud800","a":1e999}"#, [Some("1e999"), None]),
        ] {
            assert_eq!(a_and_b(text), Some(values), "{text}");
        }
    }

    #[test]
    fn repeated_member_is_detected_in_any_spelling() {
        for (text, repeated) in [
            (r#"{"a":1,"b":1}"#, [false, false]),
            (r#"{"a":1,"b":1,"c":1,"c":1,"a":1}"#, [true, false]),
            (r#"{"\u0061":null,"a":1,"a":1,"b":{"b":1}}"#, [true, false]),
            (r#"{"b":1,"\u0062":1}"#, [false, true]),
        ] {
            let members = Members::parse(text).unwrap();
            assert_eq!(["a", "b"].map(|name| members.is_repeated(name)), repeated, "{text}");
        }
    }

    #[test]
    fn skipped_members_may_be_deeply_nested() {
        let [open, close] = ["[", "]"].map(|bracket| bracket.repeat(30_000));
        let text = format!(r#"{{"c":{open}{close},"a":1,"b":{open}{close}}}"#);
        let members = Members::parse(&text).unwrap();
        assert_eq!(members.get("a").map(RawValue::get), Some("1"));
        assert_eq!(members.get("b").unwrap().get().len(), 60_000);
    }

    #[test]
    fn members_of_a_non_object_are_rejected() {
        for text in
            ["", "null", "[]", "\"a\"", "{", "{} {}", "{a:1}", "{\"a\":}", "{\"\\ud800\":1}"]
        {
            assert_eq!(a_and_b(text), None, "{text}");
        }
    }
}
