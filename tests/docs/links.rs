//! Every relative link of a Markdown file, and of `docs/llms.txt`, resolves to a file of the repository, and
//! every anchor to a heading of that file. `docs/llms.txt` links to every document. Anchors are derived from headings in the same way as on GitHub.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::{has_extension, tracked};

/// The documents for language models (llmstxt.org).
const LLMS: &str = "docs/llms.txt";

/// Their README links to the others.
const MEASUREMENTS: &str = "docs/measurements";

/// The lines outside fenced code blocks.
fn prose(markdown: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    markdown.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// The anchors of a document's headings: lower case, without punctuation, with hyphens for spaces;
/// a repeated one gets a number.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(markdown) {
        let text = line.trim_start_matches('#');
        if text.len() == line.len() || !text.starts_with(' ') {
            continue;
        }
        let anchor: String = without_links(text.trim())
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// The text of a heading, without the targets of its links.
fn without_links(text: &str) -> String {
    let targets = links(text);
    targets
        .into_iter()
        .fold(text.to_owned(), |text, target| text.replace(&format!("]({target})"), ""))
}

/// The targets of a line's inline links and images, other than those in code.
fn links(line: &str) -> Vec<&str> {
    // Every second piece is code.
    let pieces = line.split('`').step_by(2);
    let targets = pieces.flat_map(|piece| piece.split("](").skip(1));
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// `target` relative to the directory of `file`.
fn resolve(file: &Path, target: &str) -> PathBuf {
    let mut path = file.parent().unwrap().to_owned();
    for component in Path::new(target).components() {
        if component == Component::ParentDir {
            path.pop();
        } else {
            path.push(component);
        }
    }
    path
}

fn is_document(path: &Path) -> bool {
    has_extension(path, &["md"]) || path == Path::new(LLMS)
}

#[test]
fn llms_txt_links_to_every_document() {
    let files = tracked();
    let (path, text) = files.iter().find(|(path, _)| path == Path::new(LLMS)).unwrap();
    assert!(text.starts_with("# juspay-bff\n\n> "), "title and summary, as on llmstxt.org");
    let linked: BTreeSet<_> =
        text.lines().flat_map(links).map(|target| resolve(path, target)).collect();
    let is_described = |line: &str| !line.starts_with("- ") || line.contains("): ");
    assert!(text.lines().all(is_described), "each link has a description");
    let documents = files.iter().map(|(path, _)| path).filter(|path| {
        path.starts_with("docs") && has_extension(path, &["md"]) && !path.starts_with(MEASUREMENTS)
    });
    let missing: Vec<_> = documents.filter(|path| !linked.contains(*path)).collect();
    assert!(missing.is_empty(), "not in {LLMS}: {missing:?}");
}

#[test]
fn links_resolve() {
    let files = tracked();
    let documents: BTreeMap<_, _> = files
        .iter()
        .filter(|(path, _)| is_document(path))
        .map(|(path, text)| (path.clone(), anchors(text)))
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut broken, mut followed) = (Vec::new(), 0);
    for (path, text) in files.iter().filter(|(path, _)| is_document(path)) {
        for (index, line) in prose(text) {
            for target in links(line) {
                if target.starts_with("https://") || target.starts_with("http://") {
                    continue;
                }
                followed += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() { path.clone() } else { resolve(path, file) };
                let is_there = root.join(&file).exists();
                let has_anchor = anchor.is_empty()
                    || documents.get(&file).is_some_and(|anchors| anchors.contains(anchor));
                if !is_there || !has_anchor {
                    broken.push(format!("{}:{}: {target}", path.display(), index + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(followed > 100, "{followed} links");
}

#[test]
fn anchors_are_those_of_github() {
    let document = "# A `code` & more\n```\n# no heading\n```\n## Twice\n## Twice\n### no_change\n\
                    ## With [a link](x.md)\n#none\n";
    let expected = ["a-code--more", "no_change", "twice", "twice-1", "with-a-link"];
    assert_eq!(anchors(document), expected.map(str::to_owned).into());
    assert_eq!(links("[a](b#c), `[d](e)` and ![f](g)"), ["b#c", "g"]);
    assert_eq!(resolve(Path::new("docs/a.md"), "../b.md"), Path::new("b.md"));
}
