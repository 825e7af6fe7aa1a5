//! Reads JSON leniently: customers may have typed what JSON doesn't allow, and Juspay passes it on.
//!
//! [`Document`] is a body as text. In strings, U+FFFD replaces what JSON doesn't allow: invalid UTF-8,
//! control characters, lone surrogates and unknown escapes. Nothing is repaired outside of strings, so
//! a body that isn't JSON, or is truncated, stays invalid. The position of each repair is recorded,
//! because ids and tokens must need none.
//!
//! [`Members`] keeps repeated members, so that the reader decides which of them are an error. A derived
//! struct always rejects them, a map always accepts them.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Length of a `\uXXXX` escape, in bytes.
const UNICODE_ESCAPE: usize = 6;

const BOM: &[u8] = "\u{feff}".as_bytes();

/// A body whose strings are valid.
pub(super) struct Document<'a> {
    text: Cow<'a, str>,
    /// Positions of the repairs in `text`, in bytes.
    repairs: Vec<usize>,
}

impl<'a> Document<'a> {
    /// Reads a body and skips its byte order mark.
    pub(super) fn read(body: &'a [u8]) -> Self {
        let body = body.strip_prefix(BOM).unwrap_or(body);
        match str::from_utf8(body) {
            // The usual case: no string needs a check.
            Ok(text) if !body.iter().any(|byte| *byte < b' ' || *byte == b'\\') => {
                Self { text: text.into(), repairs: Vec::new() }
            }
            _ => Repair::of(body),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether `part`, a slice of [`Document::text`], contains no repair.
    pub(super) fn is_intact(&self, part: &str) -> bool {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let end = start.saturating_add(part.len());
        !self.repairs.iter().any(|place| (start..end).contains(place))
    }
}

/// A repair in progress.
struct Repair {
    text: String,
    repairs: Vec<usize>,
    is_in_string: bool,
}

impl Repair {
    fn of(body: &[u8]) -> Document<'static> {
        let text = String::with_capacity(body.len());
        let mut repair = Self { text, repairs: Vec::new(), is_in_string: false };
        for chunk in body.utf8_chunks() {
            repair.push(chunk.valid());
            if !chunk.invalid().is_empty() {
                repair.replace();
            }
        }
        Document { text: repair.text.into(), repairs: repair.repairs }
    }

    fn push(&mut self, mut rest: &str) {
        while let Some(first) = rest.chars().next() {
            let (is_good, length) = match first {
                '"' => {
                    self.is_in_string = !self.is_in_string;
                    (true, 1)
                }
                '\\' if self.is_in_string => escape(rest),
                '\0'..' ' if self.is_in_string => (false, 1),
                other => (true, other.len_utf8()),
            };
            let (part, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            if is_good {
                self.text.push_str(part);
            } else {
                self.replace();
            }
            rest = after;
        }
    }

    fn replace(&mut self) {
        self.repairs.push(self.text.len());
        self.text.push(char::REPLACEMENT_CHARACTER);
    }
}

/// Whether the text begins with a valid escape (RFC 8259 §7), and the length of the escape or of
/// what to replace.
fn escape(text: &str) -> (bool, usize) {
    match text.as_bytes().get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (true, 2),
        Some(b'u') => match code_unit(text) {
            Some(0xd800..0xdc00) => {
                let low = text.get(UNICODE_ESCAPE..).and_then(code_unit);
                let is_pair = low.is_some_and(|low| (0xdc00..0xe000).contains(&low));
                (is_pair, if is_pair { 2 * UNICODE_ESCAPE } else { UNICODE_ESCAPE })
            }
            Some(0xdc00..0xe000) => (false, UNICODE_ESCAPE),
            Some(_) => (true, UNICODE_ESCAPE),
            None => (false, 1),
        },
        _ => (false, 1),
    }
}

/// The code unit of a `\uXXXX` at the start of `text`.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// The members of an object with their unparsed values. No `Debug`: they may be personal data.
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses a text that is one object and nothing else.
    pub(super) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The member's value. Of several with the same name, the last one counts.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.values(name).next_back()
    }

    /// Whether the member occurs more than once.
    pub(super) fn is_repeated(&self, name: &str) -> bool {
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
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::Value;

    use super::*;

    #[test]
    fn invalid_parts_of_strings_are_replaced() {
        for (body, text) in [
            (&b"{}"[..], "{}"),
            (b"\xef\xbb\xbf{\"a\":\"\xc3\xa9\"}", "{\"a\":\"é\"}"),
            (b"\"Andr\xe9\"", "\"Andr\u{fffd}\""),
            (b"\"\xf0\x9f\x98\"", "\"\u{fffd}\""),
            (b"\"a\0b\nc\x1f\x7f\"", "\"a\u{fffd}b\u{fffd}c\u{fffd}\x7f\""),
            (b"{\n\t\"a\" : 1\r\n}", "{\n\t\"a\" : 1\r\n}"),
            (br#""\ud83d\ude00\u00e9\"\\\/\b\f\n\r\t""#, r#""\ud83d\ude00\u00e9\"\\\/\b\f\n\r\t""#),
            (br#""\ud800""#, "\"\u{fffd}\""),
            (br#""\uDC00x""#, "\"\u{fffd}x\""),
            (br#""\ud800\ud83d\ude00""#, "\"\u{fffd}\\ud83d\\ude00\""),
            (br#""\ud800\u0041""#, "\"\u{fffd}\\u0041\""),
            (br#""\x\u12\u+123""#, "\"\u{fffd}x\u{fffd}u12\u{fffd}u+123\""),
            (b"\"\\\xe9\"", "\"\u{fffd}\u{fffd}\""),
            (b"\"\\u00\xe9\"", "\"\u{fffd}u00\u{fffd}\""),
        ] {
            assert_eq!(Document::read(body).text(), text, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn only_repaired_parts_are_marked() {
        let document = Document::read(b"[\"a\", \"b\xff\", \"\xef\xbf\xbd\", [\"c\x01\"]]");
        for (part, is_intact) in [
            ("\"a\"", true),
            ("\"b\u{fffd}\"", false),
            ("\"\u{fffd}\"", true),
            ("[\"c\u{fffd}\"]", false),
        ] {
            let start = document.text().find(part).unwrap();
            let part = document.text().get(start..start + part.len()).unwrap();
            assert_eq!(document.is_intact(part), is_intact, "{part}");
        }
    }

    #[test]
    fn truncated_body_stays_invalid() {
        for body in
            [&b"\"a"[..], b"\"a\\", b"\"a\\\"", b"\"a\\u00", b"\"\xe9", b"\xff", b"{\"a\xff"]
        {
            let document = Document::read(body);
            let read = serde_json::from_str::<Value>(document.text());
            assert!(read.is_err(), "{}", body.escape_ascii());
        }
    }

    const PARTS: [&[u8]; 15] = [
        b"a",
        b"\\",
        b"\\\\",
        b"\\u",
        b"\\u12",
        b"\\ud83d",
        b"\\ude00",
        b"\\u0000",
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"\xed\xa0\x80",
        b"\0",
        b"\n",
        b"D800",
    ];

    proptest! {
        #[test]
        fn any_string_becomes_valid(
            parts in vec(
                select(&PARTS[..]),
                0..12,
            ),
        ) {
            let body = [b"[\"", &*parts.concat(), b"\"]"].concat();
            let document = Document::read(&body);
            let strict = str::from_utf8(&body).ok();
            let strict = strict.and_then(|text| serde_json::from_str::<Value>(text).ok());
            let repaired = serde_json::from_str::<Value>(document.text());
            let is_whole = document.repairs.is_empty();
            match (repaired, strict) {
                (Ok(repaired), Some(strict)) => prop_assert_eq!((repaired, is_whole), (strict, true)),
                (Ok(_), None) => prop_assert!(!is_whole),
                // A backslash before the closing quote: the string is unterminated.
                (Err(_), None) => prop_assert!(body.ends_with(b"\\\"]")),
                (Err(error), Some(_)) => prop_assert!(false, "{error}"),
            }
        }
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
