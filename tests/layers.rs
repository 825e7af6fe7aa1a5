//! Holds the arrows of the architecture: who may use whom.
//!
//! ```text
//! main → commands → application → routes → {auth, cache, response, problem}
//!                                 cache → juspay (its trait and errors) → customer
//!                                 auth → customer
//! ```
//!
//! Below all of them lies the ground, which anyone may use and which uses no station. actix-web
//! and awc stay where HTTP is spoken. The crates in `crates` can't use the service, as it depends
//! on them.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, as it should"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What anyone may use.
const GROUND: &[&str] = &[
    "algorithm",
    "captured_log",
    "concurrency",
    "corpus",
    "credentials",
    "customer",
    "json",
    "loopback",
    "metrics",
    "rate_limit",
    "regular_file",
    "revocation",
    "secret_file",
    "settings",
    "single_flight",
    "tls",
    "traces",
];

/// A module, and which others it may name besides the ground.
const ARROWS: &[(&str, &[&str])] = &[
    ("algorithm", &[]),
    ("captured_log", &[]),
    ("concurrency", &[]),
    ("corpus", &[]),
    ("credentials", &[]),
    ("customer", &[]),
    ("json", &[]),
    ("loopback", &[]),
    ("metrics", &[]),
    ("rate_limit", &[]),
    ("regular_file", &[]),
    ("revocation", &[]),
    ("secret_file", &[]),
    ("settings", &[]),
    ("single_flight", &[]),
    ("tls", &[]),
    ("traces", &[]),
    ("juspay", &[]),
    ("auth", &[]),
    ("cache", &["juspay"]),
    ("problem", &["auth", "cache", "juspay"]),
    ("response", &["cache"]),
    ("routes", &["auth", "cache", "juspay", "problem", "response"]),
    ("application", &["auth", "cache", "juspay", "routes"]),
    ("process", &[]),
    ("telemetry", &[]),
    ("capacity", &["cache"]),
    ("cli", &[]),
    ("demo", &["application"]),
    ("doctor", &["auth", "cache", "juspay", "process"]),
    (
        "commands",
        &[
            "application",
            "auth",
            "capacity",
            "cli",
            "demo",
            "doctor",
            "problem",
            "process",
            "telemetry",
        ],
    ),
    ("main", &["cli", "commands", "telemetry"]),
    ("lib", &[]),
];

/// Where actix-web may be named.
const ACTIX: &[&str] = &[
    "src/application.rs",
    "src/application/",
    "src/auth/caller.rs",
    "src/demo.rs",
    "src/main.rs",
    "src/problem.rs",
    "src/problem/",
    "src/response.rs",
    "src/routes.rs",
    "src/routes/",
];

/// Where awc may be named.
const AWC: &[&str] = &[
    "src/auth/introspection/ask.rs",
    "src/auth/jwks/",
    "src/juspay/client.rs",
    "src/juspay/connect.rs",
    "src/traces/export/post.rs",
];

/// Where the simulator may be named.
const SIMULATOR: &[&str] = &["src/commands/simulation.rs", "src/demo.rs"];

/// Where OTLP's messages, and what writes them, may be named.
const OTLP: &[&str] = &["src/traces/export/otlp.rs"];

/// Where a span may be given a text that isn't one of the program's own words: an issuer's name, the
/// request's id, Juspay's host.
const NAMES: &[&str] =
    &["src/juspay/client.rs", "src/routes/traced.rs", "src/routes/verified.rs", "src/traces/"];

/// The files of the service.
fn sources() -> Vec<(String, String)> {
    files_below("src")
}

/// The Rust files below a directory of the repository, each with its code.
fn files_below(directory: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join(directory), &mut files);
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (name, code(&fs::read_to_string(&path).unwrap()))
        })
        .collect()
}

/// The text without comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// `src/cache/plan.rs` is part of `cache`.
fn module(path: &str) -> &str {
    path.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap()
}

/// The crate's modules that the code names, in `use crate::{…}` as in paths.
fn named(code: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for root in ["crate::", "juspay_bff::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(top_level(group)),
                None => names.extend(first_word(rest)),
            }
        }
    }
    names.retain(|name| ARROWS.iter().any(|(module, _)| module == name));
    names
}

/// The first word of each member of a `{…}` group whose brace is open.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (1, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                members.extend(first_word(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            members.extend(first_word(group[start..at].trim_start()));
            break;
        }
    }
    members
}

fn first_word(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|word| !word.is_empty())
}

#[test]
fn modules_use_only_what_their_arrows_allow() {
    for (path, code) in sources() {
        let module = module(&path);
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{path}: say in ARROWS what {module} may use"));
        for name in named(&code) {
            let fine = name == module || allowed.contains(&name) || GROUND.contains(&name);
            assert!(fine, "{path}: {module} → {name} isn't one of the arrows");
        }
    }
}

#[test]
fn only_those_who_speak_http_know_the_http_libraries() {
    for (path, code) in sources() {
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let parts = &["src/application/"][..];
        for (library, homes) in [
            ("actix_web", ACTIX),
            ("actix_http", parts),
            ("awc", AWC),
            ("opentelemetry_proto", OTLP),
            ("prost", OTLP),
        ] {
            let is_test =
                ["/tests.rs", "/tests/", "/testing.rs"].iter().any(|it| path.contains(it));
            let at_home = is_test || homes.iter().any(|home| path.starts_with(home));
            let names_it =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == library);
            assert!(at_home || !names_it, "{path} names {library}");
        }
    }
}

#[test]
fn only_the_demo_and_its_commands_use_the_simulator() {
    for (path, code) in sources() {
        let at_home = SIMULATOR.iter().any(|home| path.starts_with(home));
        assert!(at_home || !code.contains("simulator::"), "{path} uses the simulator");
    }
}

#[test]
fn spans_are_told_texts_of_others_in_few_places() {
    for (path, code) in sources() {
        let at_home = NAMES.iter().any(|home| path.starts_with(home));
        assert!(at_home || !code.contains("span.name("), "{path} gives a span a text");
    }
}

#[test]
fn the_cache_knows_juspay_by_its_trait_only() {
    for (path, code) in sources() {
        assert!(
            module(&path) != "cache" || !code.contains("juspay::client"),
            "{path} names the client"
        );
    }
}

#[test]
fn files_say_what_they_own_and_have_no_vague_names() {
    for (path, _) in sources().into_iter().chain(files_below("crates")) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
        assert!(text.starts_with("//!"), "{path} has no //! at its head");
        for vague in ["utils", "common", "helpers", "types", "mod"] {
            let file = format!("/{vague}.rs");
            assert!(!path.ends_with(&file), "{path}: a name that says nothing");
        }
    }
}

#[test]
fn the_readers_of_use_groups_see_their_members() {
    let code = "use crate::{\n json::{self, Text},\n customer,\n};\nlet x = crate::tls::y;";
    assert_eq!(named(code), BTreeSet::from(["customer", "json", "tls"]));
}
