//! Which entries and files are valid.

use super::*;
use crate::regular_file::Content;

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
        assert_eq!(Entry::parse(json.as_bytes()), Ok(expected.clone()), "{json}");
        for expires in [at(200), Timestamp::MAX] {
            let entry = Entry { expires, ..expected.clone() };
            assert_eq!(Entry::parse(entry.to_json().as_bytes()), Ok(entry), "as JSON");
        }
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
        (r#"{"issuer":"main","jti":"a","expires":"+010000-01-01T00:00:00Z"}"#, EntryError::Time),
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

fn parsed(json: &str) -> Result<usize, FileError> {
    parse_file(json.as_bytes(), 3, |issuer| issuer == "main").map(|entries| entries.len())
}

const ONE: &str = r#"{"issuer": "main", "jti": "a", "expires": 200}"#;
/// The same values as an array.
const AS_ARRAY: &str = r#"["main", null, null, "a", null, 200]"#;

#[test]
fn one_invalid_entry_makes_the_file_invalid() {
    for (json, expected) in [
        (r#"{"revocations": []}"#.to_owned(), Ok(0)),
        (format!("\u{feff}{{\"revocations\": [{ONE}]}}\r\n"), Ok(1)),
        (format!("{{\"revocations\": [{ONE}, {ONE}, {ONE}]}}"), Ok(3)),
        (format!("{{\"revocations\": [{ONE}, {ONE}, {ONE}, {ONE}]}}"), Err(FileError::TooMany(3))),
        (String::new(), Err(FileError::Malformed { line: 1, column: 0 })),
        ("{}".to_owned(), Err(FileError::Malformed { line: 1, column: 2 })),
        (format!("[{ONE}]"), Err(FileError::Malformed { line: 1, column: 1 })),
        (format!("[[{ONE}]]"), Err(FileError::Malformed { line: 1, column: 1 })),
        (
            format!("{{\"revocations\": [\n{AS_ARRAY}]}}"),
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
        let matches = match (got, expected) {
            // The column depends on the JSON library.
            (
                Err(FileError::Malformed { line, .. }),
                Err(FileError::Malformed { line: expected, .. }),
            ) => line == expected,
            _ => got == expected,
        };
        assert!(matches, "{json}: {got:?}");
    }
}

#[test]
fn errors_contain_the_position_but_no_content() {
    let error = parsed(r#"{"revocations": [{"issuer": "main", "hush": "hush"}]}"#).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    assert!(error.to_string().contains(r#"{"revocations": [ … ]}: line 1, column "#), "{error}");
}

#[test]
fn file_size_is_limited() {
    let read = |path: &Path, max_entries| -> Result<Content, FileError> {
        Ok(regular_file::read_blocking(path, max_file_bytes(max_entries))?)
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "x".repeat(2048)).unwrap();
    assert_eq!(read(file.path(), 1).map(|bytes| bytes.len()), Ok(2048));
    std::fs::write(&file, "x".repeat(2049)).unwrap();
    assert_eq!(read(file.path(), 1), Err(FileError::TooLarge(2048)));
    let missing = read(Path::new("/nonexistent"), 1);
    assert_eq!(missing, Err(FileError::Unreadable(ReadError::NoFile)));
}
