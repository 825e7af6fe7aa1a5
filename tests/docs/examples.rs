//! Every fenced example below `docs/` is in a language that `tests/examples/run` checks, so an example in
//! another language fails here until it has a check there.

use super::{has_extension, tracked};

/// The languages that `tests/examples/examples.py` checks: `EACH`, `TOGETHER`, `UNREAD` and `NO_CODE` there.
const CHECKED: &[&str] =
    &["", "dart", "json", "kotlin", "nginx", "sh", "swift", "text", "toml", "ts", "yaml"];

/// The languages of a document's fenced blocks, each with its line.
fn languages(markdown: &str) -> Vec<(usize, &str)> {
    let lines = markdown.lines().enumerate();
    let fences = lines.filter_map(|(index, line)| Some((index, line.trim().strip_prefix("```")?)));
    // Every second fence ends a block.
    let starts = fences.step_by(2);
    starts.map(|(index, info)| (index + 1, info.split(' ').next().unwrap_or_default())).collect()
}

#[test]
fn examples_are_in_languages_with_a_check() {
    let (mut unchecked, mut found) = (Vec::new(), 0);
    for (path, text) in tracked() {
        if !path.starts_with("docs") || !has_extension(&path, &["md"]) {
            continue;
        }
        for (line, language) in languages(&text) {
            found += 1;
            if !CHECKED.contains(&language) {
                unchecked.push(format!("{}:{line}: {language}", path.display()));
            }
        }
    }
    let unchecked = unchecked.join("\n");
    assert!(unchecked.is_empty(), "examples without a check:\n{unchecked}");
    assert!(found > 100, "{found} examples");
}

#[test]
fn languages_are_those_of_fences() {
    let document = "```sh\na\n```\n  ```toml recipe\nb\n  ```\n```\nc\n```\n";
    assert_eq!(languages(document), [(1, "sh"), (4, "toml"), (7, "")]);
}
