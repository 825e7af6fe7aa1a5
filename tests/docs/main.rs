//! Checks of the documents: links and anchors, examples, the length of the README, and plain English.
//!
//! `links` resolves every relative link of every Markdown file and of `docs/llms.txt`. `examples` rejects
//! examples in languages that `tests/examples` does not check. `words` rejects idioms that readers
//! stumble over, in documents, settings files, scripts, comments, and the texts that the program
//! prints.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]

mod examples;
mod links;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The files that git tracks, with their content, except those that are not text.
fn tracked() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().unwrap();
    assert!(output.status.success(), "git ls-files: {output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |name: &str| Some((PathBuf::from(name), fs::read_to_string(root.join(name)).ok()?));
    names.split_terminator('\0').filter_map(read).collect()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

#[test]
fn readme_is_one_page() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let lines = readme.unwrap().lines().count();
    assert!(lines <= 130, "README.md has {lines} lines; at most 130");
}
