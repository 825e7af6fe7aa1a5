//! Idioms that readers stumble over, and where they must not stand: documents, settings files,
//! manifests, scripts, and the string literals that the program prints.
//!
//! Comments in the code are not scanned. A sentence that needs one of the words goes into
//! `EXCEPTIONS`, with the reason.

use std::path::Path;

use super::{has_extension, tracked};

/// What to write instead is in CONTRIBUTING.md.
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

/// Places where such a word is right: the file, a part of the line, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// What people read of a file, as numbered lines.
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

/// Where the first quote is that no backslash escapes.
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
fn idioms(text: &str) -> impl Iterator<Item = &'static str> {
    let words: Vec<_> = without_placeholders(text)
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '-' | '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let text = format!(" {} ", words.join(" "));
    IDIOMS.iter().copied().filter(move |idiom| text.contains(&format!(" {idiom} ")))
}

fn without_placeholders(text: &str) -> String {
    let mut pieces = text.split('{');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('}').map_or(piece, |(_, rest)| rest))
}

#[test]
fn texts_that_people_read_are_plain_english() {
    let mut found = Vec::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    for (path, text) in tracked() {
        for (line, text) in read_by_people(&path, &text) {
            let exception = EXCEPTIONS
                .iter()
                .position(|(file, part, _)| path == Path::new(file) && text.contains(part));
            for idiom in idioms(&text) {
                match exception {
                    Some(index) => used[index] = true,
                    None => found.push(format!("{}:{line}: {idiom}", path.display())),
                }
            }
        }
    }
    assert!(found.is_empty(), "idioms to replace:\n{}", found.join("\n"));
    let unused: Vec<_> = EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used).collect();
    assert!(unused.is_empty(), "exceptions without a use: {unused:?}");
}

#[test]
fn idioms_are_found_in_literals_and_not_in_comments() {
    let code = "// nobody\nlet a = \"is told\"; let b = '\"'; // x\nlet c = \"an \\\"anew\\\" b\";\n\
                #[cfg(test)]\nmod tests { \"asked\" }";
    let literals = literals(code);
    assert_eq!(literals, [(2, "is told".to_owned()), (3, "an \\\"anew\\\" b".to_owned())]);
    let found: Vec<_> = literals.iter().flat_map(|(_, text)| idioms(text)).collect();
    assert_eq!(found, ["told", "anew"]);
    assert_eq!(idioms("untold, retells; as good, so long").next(), None);
    assert_eq!(idioms("At\nlatest").next(), Some("at latest"));
    assert_eq!(idioms("{told} instead of {ours}, sim_nobody").next(), None);
}
