//! What must hold whatever stands in a file of revocations. For the fuzz targets and the tests only:
//! no program has this in it.

#![expect(clippy::expect_used, reason = "what can't be is a finding")]

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Item, List, RevocationClaims, TokenIdentity};
use crate::revocation::{Entry, Target, file};

const MOST: usize = 8;
/// One issuer by both of its names, and another.
const ISSUERS: [(&str, usize); 3] = [("main", 0), ("https://id.example", 0), ("other", 1)];
const MEMBERS: [&str; 6] = ["issuer", "sub", "issued_before", "jti", "sid", "expires"];
/// 9999-12-31T23:59:59Z, in seconds since 1970.
const END_OF_9999: i64 = 253_402_300_799;
const NOBODY: &str = "nobody that an entry names";

/// Takes a file's bytes.
pub fn revocations_file(bytes: &[u8]) {
    match file::parse(bytes, MOST, |name| index(name).is_some()) {
        Ok(entries) => check_taken(&entries, &written(bytes)),
        Err(error) => check_told(&error),
    }
}

fn check_taken(entries: &[Entry], written: &[Map<String, Value>]) {
    assert_eq!(entries.len(), written.len(), "entries come and go");
    assert!(entries.len() <= MOST, "more than are taken");
    for (entry, written) in entries.iter().zip(written) {
        check_entry(entry, written);
    }
    check_list(entries);
}

fn check_told(error: &file::FileError) {
    // Long enough not to be said by chance.
    assert!(!format!("{error} {error:?}").contains("hush-hush"), "told");
}

fn index(name: &str) -> Option<usize> {
    ISSUERS.into_iter().find(|(known, _)| *known == name).map(|(_, index)| index)
}

/// The entries, read once more by another reader.
fn written(bytes: &[u8]) -> Vec<Map<String, Value>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut file: Map<String, Value> = serde_json::from_slice(bytes).expect("an object");
    let list = file.remove("revocations").expect("its one member");
    assert!(file.is_empty(), "a member that means nothing");
    let object = |item: &Value| item.as_object().expect("an object").clone();
    list.as_array().expect("a list").iter().map(object).collect()
}

/// An entry ends what is written, and nothing that could be meant besides.
fn check_entry(entry: &Entry, written: &Map<String, Value>) {
    assert!(written.keys().all(|name| MEMBERS.contains(&&**name)), "an unknown member");
    let said = |name: &str| written.get(name).filter(|value| !value.is_null());
    let text = |name: &str| said(name).map(|value| value.as_str().expect("a text"));
    assert_eq!(text("issuer"), Some(&*entry.issuer));
    assert_eq!(said("expires").map(moment), Some(entry.expires));
    let named = ["sub", "jti", "sid"].map(text);
    assert_eq!(named.into_iter().flatten().count(), 1, "whom does it name?");
    let (expected, issued_before) = match &entry.target {
        Target::Subject { sub, issued_before } => {
            ([Some(&**sub), None, None], Some(*issued_before))
        }
        Target::Token(jti) => ([None, Some(&**jti), None], None),
        Target::Session(session) => ([None, None, Some(&**session)], None),
    };
    assert_eq!((named, said("issued_before").map(moment)), (expected, issued_before));
    assert!(named.into_iter().flatten().all(|id| (1..=256).contains(&id.len())), "too long");
    let again = Value::from(written.clone()).to_string();
    assert!(Entry::parse(again.as_bytes()).as_ref() == Ok(entry), "alone it is another");
}

/// Times after the latest timestamp are as late as possible, up to the end of the year 9999.
fn moment(value: &Value) -> Timestamp {
    if let Some(seconds) = value.as_i64() {
        Timestamp::from_second(seconds).unwrap_or_else(|_| {
            assert!((Timestamp::MAX.as_second()..=END_OF_9999).contains(&seconds), "no time");
            Timestamp::MAX
        })
    } else {
        let text = value.as_str().expect("a text");
        text.parse().unwrap_or_else(|_| {
            assert!(text.starts_with("9999"), "no time");
            Timestamp::MAX
        })
    }
}

/// The list ends the tokens that some entry names, and no others.
fn check_list(entries: &[Entry]) {
    let mut list = List::default();
    for entry in entries {
        let issuer = index(&entry.issuer).expect("a known one");
        list.add(&Item { issuer, target: entry.target.clone(), expires: entry.expires });
    }
    assert!(list.len() <= entries.len());
    for entry in entries {
        for token in near(entry) {
            for now in around(entry.expires) {
                let expected = entries.iter().any(|entry| ends(entry, &token, now));
                let token_identity = TokenIdentity::new(token.issuer, "".into(), token.identity());
                assert_eq!(
                    list.revokes(&token_identity, now),
                    expected,
                    "a token that is or isn't meant"
                );
            }
        }
    }
    let stranger = TokenIdentity::new(0, "".into(), Token::default().identity());
    assert!(!list.revokes(&stranger, Timestamp::MIN), "nobody is named by everything");
}

/// What revocations go by.
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

/// The plain way to tell.
fn ends(entry: &Entry, token: &Token<'_>, now: Timestamp) -> bool {
    let is_named = match &entry.target {
        Target::Subject { sub, issued_before } => {
            token.sub == Some(&**sub) && token.iat.is_none_or(|iat| iat < *issued_before)
        }
        Target::Token(jti) => token.jti == Some(&**jti),
        Target::Session(sid) => token.sid == Some(&**sid),
    };
    index(&entry.issuer) == Some(token.issuer) && now < entry.expires && is_named
}

/// Tokens that an entry ends, and some that differ in one thing.
fn near(entry: &Entry) -> Vec<Token<'_>> {
    let issuer = index(&entry.issuer).expect("a known one");
    let own = match &entry.target {
        Target::Subject { sub, .. } => Token { issuer, sub: Some(sub), ..Token::default() },
        Target::Token(jti) => Token { issuer, jti: Some(jti), ..Token::default() },
        Target::Session(sid) => Token { issuer, sid: Some(sid), ..Token::default() },
    };
    let elsewhere = Token { issuer: 1_usize.saturating_sub(issuer), ..own.clone() };
    let swapped = Token { sub: own.jti, jti: own.sid, sid: own.sub, ..own.clone() };
    let others = Token { sub: Some(NOBODY), jti: Some(NOBODY), sid: Some(NOBODY), ..own.clone() };
    let mut tokens = vec![elsewhere, swapped, others];
    if let Target::Subject { issued_before, .. } = entry.target {
        let at = |iat| Token { iat: Some(iat), ..own.clone() };
        tokens.extend(around(issued_before).map(at));
    }
    tokens.push(own);
    tokens
}

/// A moment and both of its neighbours.
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

    const USUAL: [&str; 5] = ["100", "200", "\"1970-01-01T00:01:40Z\"", "null", "\"x\""];
    const LATE: [&str; 3] = ["253402300799", "253402300800", "\"9999-12-31T23:59:59Z\""];

    fn entry() -> impl Strategy<Value = String> {
        let times = || prop_oneof![1 => select(&LATE[..]), 4 => select(&USUAL[..])];
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

    /// One that is mostly good.
    fn likely() -> impl Strategy<Value = String> {
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
            entries in vec(prop_oneof![1 => entry(), 4 => likely()], 0..9),
        ) {
            let file = format!("{{\"revocations\":[{}]}}", entries.join(","));
            revocations_file(file.as_bytes());
        }
    }
}
