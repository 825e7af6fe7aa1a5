//! Invariants of the revocations file, for fuzz targets and tests. Not part of any program.

#![expect(clippy::expect_used, reason = "a panic reports a violated invariant")]

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Item, List, RevocationClaims, TokenIdentity};
use crate::revocation::{self, Entry, FileError, Target};

const MAX_ENTRIES: usize = 8;
/// One issuer by both of its names, and another.
const ISSUERS: [(&str, usize); 3] = [("main", 0), ("https://id.example", 0), ("other", 1)];
const MEMBERS: [&str; 6] = ["issuer", "sub", "issued_before", "jti", "sid", "expires"];
/// 9999-12-31T23:59:59Z, in seconds since 1970.
const END_OF_9999: i64 = 253_402_300_799;
const UNKNOWN: &str = "a value that no entry names";

/// Checks the bytes of a file.
pub fn revocations_file(bytes: &[u8]) {
    match revocation::parse_file(bytes, MAX_ENTRIES, |name| index(name).is_some()) {
        Ok(entries) => check_accepted(&entries, &reparse(bytes)),
        Err(error) => check_error(&error),
    }
}

fn check_accepted(entries: &[Entry], reparsed: &[Map<String, Value>]) {
    assert_eq!(entries.len(), reparsed.len(), "entries are lost or added");
    assert!(entries.len() <= MAX_ENTRIES, "too many entries");
    for (entry, reparsed) in entries.iter().zip(reparsed) {
        check_entry(entry, reparsed);
    }
    check_list(entries);
}

fn check_error(error: &FileError) {
    // Too long to occur by chance.
    assert!(!format!("{error} {error:?}").contains("hush-hush"), "the error contains the content");
}

fn index(name: &str) -> Option<usize> {
    ISSUERS.into_iter().find(|(known, _)| *known == name).map(|(_, index)| index)
}

/// The entries, parsed by a second parser.
fn reparse(bytes: &[u8]) -> Vec<Map<String, Value>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut file: Map<String, Value> = serde_json::from_slice(bytes).expect("an object");
    let list = file.remove("revocations").expect("its one member");
    assert!(file.is_empty(), "an unknown member of the file");
    let object = |item: &Value| item.as_object().expect("an object").clone();
    list.as_array().expect("a list").iter().map(object).collect()
}

/// Checks that an entry contains what its JSON contains.
fn check_entry(entry: &Entry, reparsed: &Map<String, Value>) {
    assert!(reparsed.keys().all(|name| MEMBERS.contains(&&**name)), "an unknown member");
    let value_of = |name: &str| reparsed.get(name).filter(|value| !value.is_null());
    let text = |name: &str| value_of(name).map(|value| value.as_str().expect("a string"));
    assert_eq!(text("issuer"), Some(&*entry.issuer));
    assert_eq!(value_of("expires").map(moment), Some(entry.expires));
    let named = ["sub", "jti", "sid"].map(text);
    assert_eq!(named.into_iter().flatten().count(), 1, "not exactly one claim");
    let (expected, issued_before) = match &entry.target {
        Target::Subject { sub, issued_before } => {
            ([Some(&**sub), None, None], Some(*issued_before))
        }
        Target::Token(jti) => ([None, Some(&**jti), None], None),
        Target::Session(session) => ([None, None, Some(&**session)], None),
    };
    assert_eq!((named, value_of("issued_before").map(moment)), (expected, issued_before));
    assert!(named.into_iter().flatten().all(|id| (1..=256).contains(&id.len())), "too long");
    let again = Value::from(reparsed.clone()).to_string();
    assert!(
        Entry::parse(again.as_bytes()).as_ref() == Ok(entry),
        "a single entry is parsed differently"
    );
}

/// Parses a time. Times in the year 9999 after the latest timestamp become that timestamp.
fn moment(value: &Value) -> Timestamp {
    if let Some(seconds) = value.as_i64() {
        Timestamp::from_second(seconds).unwrap_or_else(|_| {
            assert!(
                (Timestamp::MAX.as_second()..=END_OF_9999).contains(&seconds),
                "not a valid time"
            );
            Timestamp::MAX
        })
    } else {
        let text = value.as_str().expect("a string");
        text.parse().unwrap_or_else(|_| {
            assert!(text.starts_with("9999"), "not a valid time");
            Timestamp::MAX
        })
    }
}

/// Checks that the list revokes exactly the tokens that its entries name.
fn check_list(entries: &[Entry]) {
    let mut list = List::default();
    for entry in entries {
        let issuer = index(&entry.issuer).expect("a known issuer");
        list.add(&Item { issuer, target: entry.target.clone(), expires: entry.expires });
    }
    assert!(list.len() <= entries.len());
    for entry in entries {
        for token in similar_tokens(entry) {
            for now in around(entry.expires) {
                let expected = entries.iter().any(|entry| revokes(entry, &token, now));
                let token_identity = TokenIdentity::new(token.issuer, "".into(), token.identity());
                assert_eq!(
                    list.revokes(&token_identity, now),
                    expected,
                    "the list and its entries disagree"
                );
            }
        }
    }
    let without_claims = TokenIdentity::new(0, "".into(), Token::default().identity());
    assert!(!list.revokes(&without_claims, Timestamp::MIN), "a token without claims is revoked");
}

/// The claims that revocations match.
#[derive(Clone, Default)]
struct Token<'e> {
    issuer: usize,
    sub: Option<&'e str>,
    jti: Option<&'e str>,
    sid: Option<&'e str>,
    iat: Option<Timestamp>,
}

impl Token<'_> {
    fn identity(&self) -> RevocationClaims {
        let [jti, sid] = [self.jti, self.sid].map(|id| id.map(Box::from));
        RevocationClaims { sub: self.sub.map(Arc::from), jti, sid, iat: self.iat }
    }
}

/// Whether an entry revokes a token, by the simplest implementation.
fn revokes(entry: &Entry, token: &Token<'_>, now: Timestamp) -> bool {
    let is_named = match &entry.target {
        Target::Subject { sub, issued_before } => {
            token.sub == Some(&**sub) && token.iat.is_none_or(|iat| iat < *issued_before)
        }
        Target::Token(jti) => token.jti == Some(&**jti),
        Target::Session(sid) => token.sid == Some(&**sid),
    };
    index(&entry.issuer) == Some(token.issuer) && now < entry.expires && is_named
}

/// Tokens that an entry revokes, and some that differ in one claim.
fn similar_tokens(entry: &Entry) -> Vec<Token<'_>> {
    let issuer = index(&entry.issuer).expect("a known issuer");
    let own = match &entry.target {
        Target::Subject { sub, .. } => Token { issuer, sub: Some(sub), ..Token::default() },
        Target::Token(jti) => Token { issuer, jti: Some(jti), ..Token::default() },
        Target::Session(sid) => Token { issuer, sid: Some(sid), ..Token::default() },
    };
    let other_issuer = Token { issuer: 1_usize.saturating_sub(issuer), ..own.clone() };
    let swapped = Token { sub: own.jti, jti: own.sid, sid: own.sub, ..own.clone() };
    let others =
        Token { sub: Some(UNKNOWN), jti: Some(UNKNOWN), sid: Some(UNKNOWN), ..own.clone() };
    let mut tokens = vec![other_issuer, swapped, others];
    if let Target::Subject { issued_before, .. } = entry.target {
        let at = |iat| Token { iat: Some(iat), ..own.clone() };
        tokens.extend(around(issued_before).map(at));
    }
    tokens.push(own);
    tokens
}

/// A time and the times directly before and after it.
fn around(moment: Timestamp) -> [Timestamp; 3] {
    let step = std::time::Duration::from_nanos(1);
    let [before, after] = [moment.checked_sub(step), moment.checked_add(step)];
    [before.unwrap_or(moment), moment, after.unwrap_or(moment)]
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;

    #[test]
    fn stored_files_keep_the_invariants() {
        crate::corpus::replay("revocations_file", revocations_file);
    }

    const TIMES: [&str; 5] = ["100", "200", "\"1970-01-01T00:01:40Z\"", "null", "\"x\""];
    const LATE_TIMES: [&str; 3] = ["253402300799", "253402300800", "\"9999-12-31T23:59:59Z\""];

    fn entry() -> impl Strategy<Value = String> {
        let times = || prop_oneof![1 => select(&LATE_TIMES[..]), 4 => select(&TIMES[..])];
        let ids = || option::of(select(&["\"a\"", "\"b\"", "\"\"", "null", "7"][..]));
        let issuer = select(&["\"main\"", "\"https://id.example\"", "\"other\"", "\"x\""][..]);
        let entry = (issuer, [ids(), ids(), ids()], option::of(times()), option::of(times()));
        entry.prop_map(|(issuer, [sub, jti, sid], issued_before, expires)| {
            let members = [
                ("issuer", Some(issuer)),
                ("sub", sub),
                ("jti", jti),
                ("sid", sid),
                ("issued_before", issued_before),
                ("expires", expires),
            ];
            let members = members
                .into_iter()
                .filter_map(|(name, value)| value.map(|value| format!("\"{name}\":{value}")));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        })
    }

    /// An entry that is usually valid.
    fn mostly_valid() -> impl Strategy<Value = String> {
        let issuer = select(&["main", "https://id.example", "other"][..]);
        let target = select(&["\"sub\":\"a\",\"issued_before\":", "\"jti\":\"a\",\"x\":"][..]);
        (issuer, target, 98_u32..103, 198_u32..203).prop_map(|(issuer, target, begin, end)| {
            let target = match target.strip_suffix(",\"x\":") {
                Some(token) => token.to_owned(),
                None => format!("{target}{begin}"),
            };
            format!("{{\"issuer\":\"{issuer}\",{target},\"expires\":{end}}}")
        })
    }

    proptest! {
        #[test]
        fn generated_files_keep_the_invariants(
            entries in vec(prop_oneof![1 => entry(), 4 => mostly_valid()], 0..9),
        ) {
            let file = format!("{{\"revocations\":[{}]}}", entries.join(","));
            revocations_file(file.as_bytes());
        }
    }
}
