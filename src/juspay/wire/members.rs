//! Extracts some members of a JSON object, unparsed. Other members are skipped.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Error, value::RawValue};

/// The members with the requested names.
pub(super) struct Members<'a, const N: usize> {
    names: [&'static str; N],
    found: [Found<'a>; N],
}

/// A member, which may occur more than once.
#[derive(Clone, Copy, Default)]
struct Found<'a> {
    value: Option<&'a RawValue>,
    is_repeated: bool,
}

impl<'a, const N: usize> Members<'a, N> {
    /// The values in the order of the requested names.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&'a RawValue>> {
        self.found.into_iter().map(|found| found.value)
    }

    /// The member's value.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.found(name).value
    }

    /// Whether the member occurs more than once.
    pub(super) fn is_repeated(&self, name: &str) -> bool {
        self.found(name).is_repeated
    }

    fn found(&self, name: &str) -> Found<'a> {
        let both = self.names.iter().zip(&self.found);
        both.into_iter().find(|(it, _)| **it == name).map(|(_, found)| *found).unwrap_or_default()
    }
}

/// Extracts the members with these names from a text that is one object and nothing else. Of
/// several with the same name, the last one counts.
pub(super) fn members<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<Members<'a, N>, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Reading { names: &names })?;
    reader.end()?;
    Ok(Members { names, found })
}

struct Reading<'n, const N: usize> {
    names: &'n [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for Reading<'_, N> {
    type Value = [Found<'de>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = [Found::default(); N];
        while let Some(index) = map.next_key_seed(IndexOf(self.names))? {
            match index.and_then(|index: usize| members.get_mut(index)) {
                Some(found) => {
                    found.is_repeated = found.value.is_some();
                    found.value = Some(map.next_value()?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// Deserializes a name to its index in the requested names.
struct IndexOf<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for IndexOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IndexOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|it| *it == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<[Option<&str>; 2]> {
        let members = members(text, ["a", "b"]).ok()?;
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
            assert_eq!(read(text), Some(values), "{text}");
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
            let members = members(text, ["a", "b"]).unwrap();
            assert_eq!(["a", "b"].map(|name| members.is_repeated(name)), repeated, "{text}");
        }
    }

    #[test]
    fn skipped_members_may_be_deeply_nested() {
        let [open, close] = ["[", "]"].map(|bracket| bracket.repeat(30_000));
        let text = format!(r#"{{"c":{open}{close},"a":1,"b":{open}{close}}}"#);
        let members = members(&text, ["a", "b"]).unwrap();
        assert_eq!(members.get("a").map(RawValue::get), Some("1"));
        assert_eq!(members.get("b").unwrap().get().len(), 60_000);
    }

    #[test]
    fn non_object_is_rejected() {
        for text in
            ["", "null", "[]", "\"a\"", "{", "{} {}", "{a:1}", "{\"a\":}", "{\"\\ud800\":1}"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
