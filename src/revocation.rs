//! A revocation as operators write it, in JSON: one entry, or a file with many.
//!
//! Owns the format and its bounds; refuses what could be meant in two ways, and what says more than
//! it means. Which tokens an entry ends is `auth`'s. A token is named by its claims and never by a
//! hash of its text: whoever has an ECDSA signature can make a second one (s and n − s) that is
//! just as good.

pub mod file;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{clock::calendar, json};

/// Longest `sub`, `jti` or `sid` taken, in bytes. OpenID Connect Core §2 has 255 for `sub`. What is
/// longer in a token can't be named, and isn't kept in memory with it.
pub const MAX_ID_BYTES: usize = 256;

/// One entry.
///
/// `Debug` doesn't show whom it names: subjects are often e-mail addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The issuer: its name in the settings, or what `iss` is in its tokens.
    pub issuer: Box<str>,
    /// The issuer's tokens that it ends.
    pub target: Target,
    /// From then on the entry counts no more.
    pub expires: Timestamp,
}

/// The tokens that an entry ends.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Those of a subject that were issued before a moment, and those that don't say when.
    Subject {
        /// `sub`
        sub: Box<str>,
        /// What `iat` must be at least for a token to be good.
        issued_before: Timestamp,
    },
    /// The one with that `jti`.
    Token(Box<str>),
    /// Those of the session with that `sid` (OpenID Connect Back-Channel Logout 1.0 §2.1).
    Session(Box<str>),
}

/// Why a text is no entry. Nothing of the text is part of it.
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
    /// A text that is no time.
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

/// An entry as it is written.
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

/// As people write it, or as claims have it.
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
    /// When it isn't exactly one.
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
    fn an_entry_names_a_subject_a_token_or_a_session() {
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
    fn an_end_in_the_last_hours_of_the_year_9999_is_as_late_as_possible() {
        for expires in ["\"9999-12-31T23:59:59Z\"", "253402300799"] {
            let json = format!(r#"{{"issuer":"main","jti":"a","expires":{expires}}}"#);
            let entry = Entry::parse(json.as_bytes()).map(|entry| entry.expires);
            assert_eq!(entry, Ok(Timestamp::MAX), "{expires}");
        }
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
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
    fn debug_shows_nobodys_name() {
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
