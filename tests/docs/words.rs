//! Rejects idioms that readers stumble over in documents, settings files, manifests, scripts, the
//! string literals that the program prints, and the comments of Rust files.
//!
//! A comment after code on the same line is not scanned. A sentence that needs one of the words goes
//! into `EXCEPTIONS`, with the reason.

use std::{collections::BTreeSet, path::Path};

use super::{has_extension, tracked};

/// Idioms for which any text has a plainer word. A number is `#`.
const IDIOMS: &[&str] = &[
    "told",
    "tells",
    "asked",
    "asks",
    "nobody",
    "somebody",
    "whoever",
    "anew",
    "mended",
    "at latest",
    "as good as",
    "for so long",
    "so many",
    "in the place of",
    "of ours",
    "taken up",
    "turned away",
    "looked at",
    "isn't taken",
    "is had",
];

/// Further idioms to replace in comments.
const COMMENT_IDIOMS: &[&str] = &[
    "asker",
    "at hand",
    "besides",
    "each # ms",
    "each # s",
    "goes on",
    "has come",
    "lately",
    "of theirs",
    "so long",
    "that come",
    "that stands",
    "who ask",
    "who come",
    "who comes",
    "whom",
];

/// Beginnings of the paths of Rust files whose comments are scanned.
const COMMENTS: &[&str] = &["benches/", "build.rs", "crates/", "fuzz/", "src/", "tests/"];

/// Exceptions: the file, a part of the line, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// The texts of a file that people read, as numbered lines.
fn read_by_people(path: &Path, text: &str) -> Vec<(usize, String)> {
    let skipped = ["fuzz/corpus", "tests/", "proptest-regressions", "CHANGELOG.md", "LICENSE"];
    let is_generated = path.ends_with("package-lock.json") || has_extension(path, &["lock", "svg"]);
    if is_generated || skipped.iter().any(|prefix| path.starts_with(prefix)) {
        return Vec::new();
    }
    if has_extension(path, &["rs", "js"]) {
        return if is_test(path) { Vec::new() } else { literals(text) };
    }
    text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}

fn is_test(path: &Path) -> bool {
    let names = ["tests", "tests.rs", "testing.rs", "testing", "fuzzing", "fuzzing.rs", "benches"];
    path.components().any(|component| names.iter().any(|name| component.as_os_str() == *name))
}

/// The string literals of Rust or JavaScript up to the file's own tests, each with its line.
fn literals(code: &str) -> Vec<(usize, String)> {
    let code = code.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = code;
    let line = |rest: &str| code[..code.len() - rest.len()].matches('\n').count() + 1;
    while let Some(start) = rest.find(['"', '/', '\'']) {
        rest = &rest[start..];
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if rest.starts_with('"') {
            let end = end_of_string(&rest[1..]);
            found.push((line(rest), rest[1..=end].to_owned()));
            rest = rest.get(end + 2..).unwrap_or_default();
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest = rest.split_once("\"'").map_or("", |(_, rest)| rest);
        } else {
            rest = &rest[1..];
        }
    }
    found
}

/// The comments of Rust code, each paragraph with its first line.
fn comments(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_continued = false;
    for (index, line) in code.lines().enumerate() {
        let text =
            line.trim_start().strip_prefix("//").map(|text| text.trim_matches(['/', '!', ' ']));
        let text = text.filter(|text| !text.is_empty());
        match (text, found.last_mut()) {
            (Some(text), Some((_, paragraph))) if is_continued => {
                paragraph.push('\n');
                paragraph.push_str(text);
            }
            (Some(text), _) => found.push((index + 1, text.to_owned())),
            (None, _) => {}
        }
        is_continued = text.is_some();
    }
    found
}

/// Whether the comments of a file are scanned.
fn has_scanned_comments(path: &Path) -> bool {
    has_extension(path, &["rs"])
        && path.to_str().is_some_and(|path| COMMENTS.iter().any(|start| path.starts_with(start)))
}

/// The position of the first quote that no backslash escapes.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    let ends = |c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    };
    text.find(ends).unwrap_or(text.len())
}

/// The idioms in a text, as whole words. Names in braces, which Rust replaces by values, are not text.
fn found_in<'i>(text: &str, idioms: &[&'i str]) -> Vec<&'i str> {
    let words: Vec<_> = without_placeholders(text)
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '-' | '_'))
        .filter(|word| !word.is_empty())
        .map(|word| if word.parse::<u64>().is_ok() { "#".to_owned() } else { word.to_owned() })
        .collect();
    let text = format!(" {} ", words.join(" "));
    idioms.iter().copied().filter(|idiom| text.contains(&format!(" {idiom} "))).collect()
}

fn without_placeholders(text: &str) -> String {
    let mut pieces = text.split('{');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('}').map_or(piece, |(_, rest)| rest))
}

/// The idioms in a file that no exception allows, each with its line. Adds the exceptions that apply to `used`.
fn faults(path: &Path, text: &str, used: &mut BTreeSet<usize>) -> Vec<String> {
    let texts = read_by_people(path, text).into_iter();
    let texts = texts.map(|(line, text)| (line, found_in(&text, IDIOMS), text));
    let comments = if has_scanned_comments(path) { comments(text) } else { Vec::new() };
    let comments = comments.into_iter().map(|(line, text)| {
        (line, [found_in(&text, IDIOMS), found_in(&text, COMMENT_IDIOMS)].concat(), text)
    });
    let mut faults = Vec::new();
    for (line, idioms, text) in texts.chain(comments) {
        let exception = EXCEPTIONS
            .iter()
            .position(|(file, part, _)| path == Path::new(file) && text.contains(part));
        for idiom in idioms {
            match exception {
                Some(index) => {
                    used.insert(index);
                }
                None => faults.push(format!("{}:{line}: {idiom}", path.display())),
            }
        }
    }
    faults
}

#[test]
fn texts_that_people_read_are_plain_english() {
    let mut used = BTreeSet::new();
    let mut found = Vec::new();
    for (path, text) in tracked() {
        found.extend(faults(&path, &text, &mut used));
    }
    assert!(found.is_empty(), "idioms to replace:\n{}", found.join("\n"));
    let unused: Vec<_> = (0..EXCEPTIONS.len()).filter(|index| !used.contains(index)).collect();
    assert!(unused.is_empty(), "exceptions without a use, by index: {unused:?}");
}

#[test]
fn idioms_are_found_in_literals_and_not_in_code() {
    let code = "// nobody\nlet a = \"is told\"; let b = '\"'; // x\nlet c = \"an \\\"anew\\\" b\";\n\
                #[cfg(test)]\nmod tests { \"asked\" }";
    let literals = literals(code);
    assert_eq!(literals, [(2, "is told".to_owned()), (3, "an \\\"anew\\\" b".to_owned())]);
    let found: Vec<_> = literals.iter().flat_map(|(_, text)| found_in(text, IDIOMS)).collect();
    assert_eq!(found, ["told", "anew"]);
    let none: &[&str] = &[];
    assert_eq!(found_in("untold, retells; as good, so long", IDIOMS), none);
    assert_eq!(found_in("At\nlatest", IDIOMS), ["at latest"]);
    assert_eq!(found_in("{told} instead of {ours}, sim_nobody", IDIOMS), none);
}

#[test]
fn idioms_are_found_in_comments() {
    let code = "//! At\n//! latest.\n//!\n//! x\nlet a = \"told\";\n    /// each 10 s\n// y";
    let comments = comments(code);
    let texts = ["At\nlatest.", "x", "each 10 s\ny"].map(str::to_owned);
    assert_eq!(comments, [1, 4, 6].into_iter().zip(texts).collect::<Vec<_>>());
    assert_eq!(found_in(&comments[2].1, COMMENT_IDIOMS), ["each # s"]);
}
