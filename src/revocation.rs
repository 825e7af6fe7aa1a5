//! The JSON format of revocations: one entry, or a file with many.
//!
//! Ambiguous entries are rejected. `auth` decides which tokens an entry revokes. An entry names claims
//! and never a hash of the token: a second valid signature can be made from an ECDSA signature (s and
//! n − s).

pub mod file;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{clock::calendar, json};

/// Longest `sub`, `jti` or `sid`, in bytes. OpenID Connect Core §2 allows 255 for `sub`. A longer claim
/// of a token cannot be revoked by, and is not stored.
pub const MAX_ID_BYTES: usize = 256;

/// One entry.
///
/// `Debug` does not show its ids: subjects are often e-mail addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The issuer: its name in the settings, or what `iss` is in its tokens.
    pub issuer: Box<str>,
    /// The tokens of the issuer that it revokes.
    pub target: Target,
    /// When the entry loses its effect.
    pub expires: Timestamp,
}

/// The tokens that an entry revokes.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Those of a subject that were issued before a moment, and those without `iat`.
    Subject {
        /// `sub`
        sub: Box<str>,
        /// The earliest `iat` of a valid token.
        issued_before: Timestamp,
    },
    /// The one with that `jti`.
    Token(Box<str>),
    /// Those of the session with that `sid` (OpenID Connect Back-Channel Logout 1.0 §2.1).
    Session(Box<str>),
}

/// Why a text is not an entry. Contains no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
pub enum EntryError {
    /// No JSON object, an unknown member, one that occurs twice, or one of a wrong type.
    Shape,
    /// None, or more than one, of `sub`, `jti` and `sid`.
    Target,
    /// `sub` without `issued_before`, or that without `sub`.
    IssuedBefore,
    /// An empty `sub`, `jti` or `sid`, or one that is too long.
    Id,
    /// An invalid time.
    Time,
    /// No `expires`.
    Expires,
}

impl EntryError {
    /// What is wrong, in a sentence.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Shape => {
                "An entry is a JSON object of issuer, expires, and one of: sub with issued_before; \
                 jti; sid."
            }
            Self::Target => "An entry needs exactly one of sub, jti and sid.",
            Self::IssuedBefore => {
                "issued_before and sub must be used together: tokens issued from then on stay \
                 valid."
            }
            Self::Id => "sub, jti and sid must be 1 to 256 bytes long.",
            Self::Time => {
                "A time is a string such as \"2026-01-31T12:00:00Z\", or whole seconds since 1970."
            }
            Self::Expires => {
                "An entry needs expires: the time when the last token that it revokes has expired."
            }
        }
    }
}

/// An entry as it is in the JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuer: Box<str>,
    sub: Option<Box<str>>,
    issued_before: Option<Time>,
    jti: Option<Box<str>>,
    sid: Option<Box<str>>,
    expires: Option<Time>,
}

/// A date, or seconds since 1970 as in claims.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(i64),
    Text(Box<str>),
}

impl Entry {
    /// Reads one entry.
    ///
    /// # Errors
    /// If the text is not a valid entry.
    pub fn parse(text: &[u8]) -> Result<Self, EntryError> {
        json::object::<Written>(text).map_err(|_| EntryError::Shape)?.entry()
    }
}

impl Written {
    fn entry(self) -> Result<Entry, EntryError> {
        let issued_before = self.issued_before.map(Time::read).transpose()?;
        let target = match (self.sub, self.jti, self.sid, issued_before) {
            (Some(sub), None, None, Some(issued_before)) => {
                Target::Subject { sub: id(sub)?, issued_before }
            }
            (None, Some(jti), None, None) => Target::Token(id(jti)?),
            (None, None, Some(sid), None) => Target::Session(id(sid)?),
            (Some(_), None, None, None)
            | (None, Some(_), None, Some(_))
            | (None, None, Some(_), Some(_)) => return Err(EntryError::IssuedBefore),
            _ => return Err(EntryError::Target),
        };
        let expires = self.expires.ok_or(EntryError::Expires)?.read()?;
        Ok(Entry { issuer: self.issuer, target, expires })
    }
}

impl Time {
    fn read(self) -> Result<Timestamp, EntryError> {
        match self {
            Self::Seconds(seconds) => calendar::since_1970(SignedDuration::from_secs(seconds)),
            Self::Text(text) => calendar::utc(&text).and_then(calendar::timestamp),
        }
        .ok_or(EntryError::Time)
    }
}

fn id(text: Box<str>) -> Result<Box<str>, EntryError> {
    if (1..=MAX_ID_BYTES).contains(&text.len()) { Ok(text) } else { Err(EntryError::Id) }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("target", &self.target)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subject { .. } => "Subject(…)",
            Self::Token(_) => "Token(…)",
            Self::Session(_) => "Session(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn entry_names_a_subject_a_token_or_a_session() {
        let subject = Target::Subject { sub: "alice".into(), issued_before: at(100) };
        for (json, target) in [
            (r#"{"issuer":"main","sub":"alice","issued_before":100,"expires":200}"#, subject),
            (r#"{"issuer":"main","jti":"a","expires":200}"#, Target::Token("a".into())),
            (
                r#"{"expires":"1970-01-01T00:03:20Z","sid":"s","issuer":"main","jti":null}"#,
                Target::Session("s".into()),
            ),
        ] {
            let expected = Entry { issuer: "main".into(), target, expires: at(200) };
            assert_eq!(Entry::parse(json.as_bytes()), Ok(expected), "{json}");
        }
    }

    #[test]
    fn expiry_at_the_end_of_9999_is_the_latest_timestamp() {
        for expires in ["\"9999-12-31T23:59:59Z\"", "253402300799"] {
            let json = format!(r#"{{"issuer":"main","jti":"a","expires":{expires}}}"#);
            let entry = Entry::parse(json.as_bytes()).map(|entry| entry.expires);
            assert_eq!(entry, Ok(Timestamp::MAX), "{expires}");
        }
    }

    #[test]
    fn ambiguous_entries_are_rejected() {
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for (json, why) in [
            ("", EntryError::Shape),
            ("[]", EntryError::Shape),
            (r#"["main",null,null,"a",null,200]"#, EntryError::Shape),
            (r#"["main","alice",100,null,null,200]"#, EntryError::Shape),
            (r#"[{"issuer":"main","jti":"a","expires":200}]"#, EntryError::Shape),
            (r#""alice""#, EntryError::Shape),
            (r#"{"issuer":"main","jti":"a","expires":200} x"#, EntryError::Shape),
            (r#"{"jti":"a","expires":200}"#, EntryError::Shape),
            (r#"{"issuer":"main","jti":7,"expires":200}"#, EntryError::Shape),
            (r#"{"issuer":"main","jti":"a","jti":"b","expires":200}"#, EntryError::Shape),
            (r#"{"issuer":"main","jti":"a","expires":200,"customer":"x"}"#, EntryError::Shape),
            (r#"{"issuer":"main","jti":"a","expires":200.5}"#, EntryError::Shape),
            (r#"{"issuer":"main","token_sha256":"a","expires":200}"#, EntryError::Shape),
            (r#"{"issuer":"main","expires":200}"#, EntryError::Target),
            (r#"{"issuer":"main","issued_before":1,"expires":200}"#, EntryError::Target),
            (r#"{"issuer":"main","jti":"a","sid":"b","expires":200}"#, EntryError::Target),
            (
                r#"{"issuer":"main","sub":"a","issued_before":1,"jti":"b","expires":200}"#,
                EntryError::Target,
            ),
            (r#"{"issuer":"main","sub":"a","expires":200}"#, EntryError::IssuedBefore),
            (
                r#"{"issuer":"main","jti":"a","issued_before":1,"expires":200}"#,
                EntryError::IssuedBefore,
            ),
            (r#"{"issuer":"main","jti":"","expires":200}"#, EntryError::Id),
            (&format!(r#"{{"issuer":"main","sid":"{long}","expires":200}}"#), EntryError::Id),
            (r#"{"issuer":"main","jti":"a","expires":"soon"}"#, EntryError::Time),
            (r#"{"issuer":"main","jti":"a","expires":"2026-01-01"}"#, EntryError::Time),
            (r#"{"issuer":"main","jti":"a","expires":999999999999999}"#, EntryError::Time),
            (r#"{"issuer":"main","jti":"a","expires":253402300800}"#, EntryError::Time),
            (
                r#"{"issuer":"main","jti":"a","expires":"+010000-01-01T00:00:00Z"}"#,
                EntryError::Time,
            ),
            (r#"{"issuer":"main","jti":"a"}"#, EntryError::Expires),
        ] {
            assert_eq!(Entry::parse(json.as_bytes()), Err(why), "{json}");
        }
    }

    #[test]
    fn debug_shows_no_claims() {
        for target in [
            Target::Subject { sub: "alice".into(), issued_before: at(0) },
            Target::Token("alice".into()),
            Target::Session("alice".into()),
        ] {
            let entry = Entry { issuer: "main".into(), target, expires: at(0) };
            assert!(!format!("{entry:?}").contains("alice"));
        }
    }
}
