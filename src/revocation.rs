//! The JSON format of revocations: one entry, or `auth.revocations_file`, which has the form
//! `{"revocations": [ … ]}`.
//!
//! Ambiguous entries are rejected, and one invalid entry makes the whole file invalid: a skipped entry
//! would leave a token valid that the operator believes to be revoked. An entry names claims and never a
//! hash of the token, because a second valid signature can be made from an ECDSA signature (s and n − s).
//! `auth` decides which tokens an entry revokes.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{
    clock::calendar,
    json::{self, Object},
    regular_file::{self, ReadError},
    watched_file::{FileSource, ReadResult},
};

/// Longest `sub`, `jti` or `sid`, in bytes. OpenID Connect Core §2 allows 255 for `sub`. A longer claim
/// of a token cannot be revoked by, and is not stored.
pub const MAX_ID_BYTES: usize = 256;

/// The average size of an entry that the size limit of the file allows, in bytes.
const MAX_AVERAGE_ENTRY_BYTES: u64 = 1024;

/// One entry.
///
/// `Debug` does not show its ids: subjects are often e-mail addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The issuer: its name in the settings, or the `iss` of its tokens.
    pub issuer: Box<str>,
    /// The tokens of the issuer that it revokes.
    pub target: Target,
    /// The time from which the entry has no effect.
    pub expires: Timestamp,
}

/// The tokens that an entry revokes.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Tokens of a subject that were issued before a time or have no `iat`.
    Subject {
        /// `sub`
        sub: Box<str>,
        /// The earliest `iat` of a valid token.
        issued_before: Timestamp,
    },
    /// The token with this `jti`.
    Token(Box<str>),
    /// Tokens of the session with this `sid` (OpenID Connect Back-Channel Logout 1.0 §2.1).
    Session(Box<str>),
}

/// The file, reloaded while the service runs.
pub type RevocationsFile = FileSource<Vec<Entry>, FileError>;

/// Why an entry is invalid. Contains no part of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub enum EntryError {
    /// Not a JSON object, or a member is unknown, duplicated, or of the wrong type.
    Shape,
    /// Not exactly one of `sub`, `jti` and `sid`.
    Target,
    /// `sub` without `issued_before`, or the reverse.
    IssuedBefore,
    /// An empty `sub`, `jti` or `sid`, or one that is too long.
    Id,
    /// An invalid time.
    Time,
    /// No `expires`.
    Expires,
}

/// Why the file is invalid. Contains neither its path nor its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("the file can't be read: {0}")]
    Unreadable(ReadError),
    /// Larger than the maximum number of entries can need.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// Not JSON of the expected form, or an entry has the wrong members.
    #[error(
        "the file is not JSON of the form {{\"revocations\": [ … ]}}: line {line}, column {column}"
    )]
    Malformed {
        /// The line, starting at 1.
        line: usize,
        /// The byte in the line.
        column: usize,
    },
    /// More than `auth.max_revocations` entries.
    #[error("the file contains more than {0} entries")]
    TooMany(usize),
    /// An entry is invalid.
    #[error("entry {number} of the file is invalid: {why}")]
    Entry {
        /// The position of the entry, starting at 1.
        number: usize,
        /// Why it is invalid.
        why: EntryError,
    },
    /// An entry names an issuer that is not in the settings.
    #[error("entry {0} of the file names an issuer that is not one of auth.issuers")]
    UnknownIssuer(usize),
}

impl EntryError {
    /// A sentence for the sender.
    #[must_use]
    pub const fn message(self) -> &'static str {
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

/// The file before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    revocations: Vec<Object<RawEntry>>,
}

/// An entry before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    issuer: Box<str>,
    sub: Option<Box<str>>,
    issued_before: Option<Time>,
    jti: Option<Box<str>>,
    sid: Option<Box<str>>,
    expires: Option<Time>,
}

/// A date and time, or seconds since 1970 as in claims.
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
        json::object::<RawEntry>(text).map_err(|_| EntryError::Shape)?.entry()
    }

    /// The entry as JSON, which [`Self::parse`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (claim, id) = match &self.target {
            Target::Subject { sub, .. } => ("sub", sub),
            Target::Token(jti) => ("jti", jti),
            Target::Session(sid) => ("sid", sid),
        };
        let mut json = serde_json::Map::new();
        json.insert("issuer".to_owned(), (*self.issuer).into());
        json.insert(claim.to_owned(), (**id).into());
        if let Target::Subject { issued_before, .. } = &self.target {
            json.insert("issued_before".to_owned(), issued_before.to_string().into());
        }
        json.insert("expires".to_owned(), self.expires.to_string().into());
        serde_json::Value::Object(json).to_string()
    }
}

impl RawEntry {
    fn entry(self) -> Result<Entry, EntryError> {
        let issued_before = self.issued_before.map(Time::timestamp).transpose()?;
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
        let expires = self.expires.ok_or(EntryError::Expires)?.timestamp()?;
        Ok(Entry { issuer: self.issuer, target, expires })
    }
}

impl Time {
    fn timestamp(self) -> Result<Timestamp, EntryError> {
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

/// Reads and validates the file, which may contain `max_entries`. Blocks the thread for a bounded time.
/// `is_known` returns whether the settings contain an issuer.
///
/// # Errors
/// If the file is invalid.
pub fn read_file(
    path: &Path,
    max_entries: usize,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<Entry>, FileError> {
    let bytes = regular_file::read_blocking(path, max_file_bytes(max_entries))?;
    parse_file(&bytes, max_entries, is_known)
}

/// Like [`read_file`]. Also returns the file, to be reloaded.
///
/// # Errors
/// If the file is invalid.
pub fn watch_file(
    path: &Path,
    max_entries: usize,
    is_known: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Result<(RevocationsFile, Vec<Entry>), FileError> {
    let parse = move |content: ReadResult| parse_file(&content?, max_entries, &is_known);
    FileSource::open(path, max_file_bytes(max_entries), parse)
}

fn max_file_bytes(max_entries: usize) -> u64 {
    let entries = u64::try_from(max_entries).unwrap_or(u64::MAX).saturating_add(1);
    entries.saturating_mul(MAX_AVERAGE_ENTRY_BYTES)
}

/// Parses and validates the bytes of the file.
///
/// # Errors
/// If the file is invalid.
pub fn parse_file(
    bytes: &[u8],
    max_entries: usize,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<Entry>, FileError> {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let file: RawFile = json::object(text)
        .map_err(|error| FileError::Malformed { line: error.line(), column: error.column() })?;
    if file.revocations.len() > max_entries {
        return Err(FileError::TooMany(max_entries));
    }
    let entries = (1..).zip(file.revocations).map(|(number, Object(raw))| {
        let entry = raw.entry().map_err(|why| FileError::Entry { number, why })?;
        if is_known(&entry.issuer) { Ok(entry) } else { Err(FileError::UnknownIssuer(number)) }
    });
    entries.collect()
}

impl From<ReadError> for FileError {
    fn from(error: ReadError) -> Self {
        if let ReadError::TooLarge(limit) = error {
            Self::TooLarge(limit)
        } else {
            Self::Unreadable(error)
        }
    }
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
