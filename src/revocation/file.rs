//! The file of revocations: `{"revocations": [ … ]}`, read whole or not at all.
//!
//! Bounded in bytes before it is parsed and in entries after; one bad entry spoils the file, as
//! nobody should believe that somebody is locked out who isn't.

use std::path::Path;

use serde::Deserialize;

use super::{Entry, EntryError, Written};
use crate::{
    json::{self, Object},
    regular_file::{self, ReadError},
    watched_file::{FileSource, ReadResult},
};

/// Bytes that an entry may take, on the average.
const BYTES_AN_ENTRY: u64 = 1024;

/// The file, as it is followed.
pub type RevocationsFile = FileSource<Vec<Entry>, FileError>;

/// Why a file can't be used. Neither its path nor its content is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("the file can't be read: {0}")]
    Unreadable(ReadError),
    /// More bytes than so many entries need.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// Not `{"revocations": [ … ]}`, or an entry that isn't built like one.
    #[error(
        "the file is not JSON of the form {{\"revocations\": [ … ]}}: line {line}, column {column}"
    )]
    Malformed {
        /// The line, from 1 on.
        line: usize,
        /// The byte in it.
        column: usize,
    },
    /// More entries than are taken.
    #[error("the file contains more than {0} entries")]
    TooMany(usize),
    /// An entry that can't be used.
    #[error("entry {number} of the file is invalid: {why}")]
    Entry {
        /// Which one, from 1 on.
        number: usize,
        /// What is wrong with it.
        why: EntryError,
    },
    /// An entry of an issuer that isn't in the settings.
    #[error("entry {0} of the file names an issuer that is not one of auth.issuers")]
    UnknownIssuer(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    revocations: Vec<Object<Written>>,
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

/// Reads the file, which may contain `most` entries. Blocks the thread, for a bounded time.
/// `is_known` tells whether there is such an issuer.
///
/// # Errors
/// If an entry can't be used.
pub fn read(
    path: &Path,
    most: usize,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<Entry>, FileError> {
    parse(&regular_file::read_blocking(path, limit(most))?, most, is_known)
}

/// The same for a file that is followed.
///
/// # Errors
/// If an entry can't be used.
pub fn open(
    path: &Path,
    most: usize,
    is_known: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Result<(RevocationsFile, Vec<Entry>), FileError> {
    let parse = move |content: ReadResult| parse(&content?, most, &is_known);
    FileSource::open(path, limit(most), parse)
}

fn limit(most: usize) -> u64 {
    let entries = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    entries.saturating_mul(BYTES_AN_ENTRY)
}

/// The entries in the file's bytes, at most so many. `is_known` tells whether there is such an
/// issuer.
///
/// # Errors
/// When one of them can't be used.
pub fn parse(
    bytes: &[u8],
    most: usize,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<Entry>, FileError> {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let document: Document = json::object(text)
        .map_err(|error| FileError::Malformed { line: error.line(), column: error.column() })?;
    if document.revocations.len() > most {
        return Err(FileError::TooMany(most));
    }
    let entries = (1..).zip(document.revocations).map(|(number, Object(written))| {
        let entry = written.entry().map_err(|why| FileError::Entry { number, why })?;
        if is_known(&entry.issuer) { Ok(entry) } else { Err(FileError::UnknownIssuer(number)) }
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regular_file::Content;

    fn parsed(json: &str) -> Result<usize, FileError> {
        parse(json.as_bytes(), 3, |issuer| issuer == "main").map(|entries| entries.len())
    }

    const ONE: &str = r#"{"issuer": "main", "jti": "a", "expires": 200}"#;
    /// The same members' values.
    const LISTED: &str = r#"["main", null, null, "a", null, 200]"#;

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        for (json, expected) in [
            (r#"{"revocations": []}"#.to_owned(), Ok(0)),
            (format!("\u{feff}{{\"revocations\": [{ONE}]}}\r\n"), Ok(1)),
            (format!("{{\"revocations\": [{ONE}, {ONE}, {ONE}]}}"), Ok(3)),
            (
                format!("{{\"revocations\": [{ONE}, {ONE}, {ONE}, {ONE}]}}"),
                Err(FileError::TooMany(3)),
            ),
            (String::new(), Err(FileError::Malformed { line: 1, column: 0 })),
            ("{}".to_owned(), Err(FileError::Malformed { line: 1, column: 2 })),
            (format!("[{ONE}]"), Err(FileError::Malformed { line: 1, column: 1 })),
            (format!("[[{ONE}]]"), Err(FileError::Malformed { line: 1, column: 1 })),
            (
                format!("{{\"revocations\": [\n{LISTED}]}}"),
                Err(FileError::Malformed { line: 2, column: 1 }),
            ),
            (
                "{\"revocations\": [\n  {\"issuer\": 1}]}".to_owned(),
                Err(FileError::Malformed { line: 2, column: 14 }),
            ),
            (
                format!("{{\"revocations\": [{ONE}, {{\"issuer\": \"main\", \"jti\": \"b\"}}]}}"),
                Err(FileError::Entry { number: 2, why: EntryError::Expires }),
            ),
            (
                format!("{{\"revocations\": [{ONE}, {}]}}", ONE.replace("main", "other")),
                Err(FileError::UnknownIssuer(2)),
            ),
        ] {
            let got = parsed(&json);
            let is_like = match (got, expected) {
                // Where a malformed one breaks off is the library's to say, on which line isn't.
                (
                    Err(FileError::Malformed { line, .. }),
                    Err(FileError::Malformed { line: expected, .. }),
                ) => line == expected,
                _ => got == expected,
            };
            assert!(is_like, "{json}: {got:?}");
        }
    }

    #[test]
    fn errors_tell_where_and_never_what() {
        let said = parsed(r#"{"revocations": [{"issuer": "main", "hush": "hush"}]}"#).unwrap_err();
        assert!(!format!("{said} {said:?}").contains("hush"), "{said}");
        assert!(said.to_string().contains(r#"{"revocations": [ … ]}: line 1, column "#), "{said}");
    }

    #[test]
    fn a_file_may_be_so_large_and_no_larger() {
        let read = |path: &Path, most| -> Result<Content, FileError> {
            Ok(regular_file::read_blocking(path, limit(most))?)
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "x".repeat(2048)).unwrap();
        assert_eq!(read(file.path(), 1).map(|bytes| bytes.len()), Ok(2048));
        std::fs::write(&file, "x".repeat(2049)).unwrap();
        assert_eq!(read(file.path(), 1), Err(FileError::TooLarge(2048)));
        let missing = read(Path::new("/nonexistent"), 1);
        assert_eq!(missing, Err(FileError::Unreadable(ReadError::NoFile)));
    }
}
