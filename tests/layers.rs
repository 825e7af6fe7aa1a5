//! Enforces the rules between modules: which module may use which.
//!
//! ```text
//! main → commands → {app, operator, demo}
//!                   app → {server, public, admin} → {auth, cache, problem}
//!                                                   cache → juspay (its trait and errors)
//! ```
//!
//! All of them may use the shared modules, which use only each other. actix-web and awc are
//! restricted to the modules that handle HTTP. The crates in `crates` can't use the service,
//! because it depends on them.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules that every module may use.
const SHARED: &[&str] = &[
    "algorithm",
    "basic_auth",
    "captured_log",
    "concurrency",
    "connection_info",
    "corpus",
    "customer",
    "http_client",
    "json",
    "metrics",
    "net",
    "rate_limit",
    "regular_file",
    "revocation",
    "secret_file",
    "settings",
    "single_flight",
    "tls",
    "traces",
    "watched_file",
];

/// Each module, and the modules that it may use in addition to the shared ones.
const ALLOWED: &[(&str, &[&str])] = &[
    ("algorithm", &[]),
    ("basic_auth", &[]),
    ("captured_log", &[]),
    ("concurrency", &[]),
    ("connection_info", &[]),
    ("corpus", &[]),
    ("customer", &[]),
    ("http_client", &[]),
    ("json", &[]),
    ("metrics", &[]),
    ("net", &[]),
    ("rate_limit", &[]),
    ("regular_file", &[]),
    ("revocation", &[]),
    ("secret_file", &[]),
    ("settings", &[]),
    ("single_flight", &[]),
    ("tls", &[]),
    ("traces", &[]),
    ("watched_file", &[]),
    ("shared", &[]),
    ("juspay", &[]),
    ("auth", &[]),
    ("cache", &["juspay", "shared"]),
    ("problem", &["auth", "cache", "juspay"]),
    ("public", &["auth", "cache", "juspay", "problem", "server"]),
    ("admin", &["auth", "cache", "juspay", "problem", "public", "server", "telemetry"]),
    ("server", &[]),
    ("app", &["admin", "auth", "cache", "juspay", "problem", "public", "server", "shared"]),
    ("process", &[]),
    ("telemetry", &[]),
    ("cli", &[]),
    ("demo", &["app"]),
    ("operator", &["auth", "cache", "juspay", "problem", "process", "shared"]),
    ("commands", &["app", "auth", "cli", "demo", "operator", "process", "telemetry"]),
    ("main", &["cli", "commands", "telemetry"]),
    // `lib` re-exports the invariants for the fuzz targets.
    ("lib", &["auth", "cache", "server"]),
];

/// The modules of `auth`, from top to bottom. A module uses only those below it. `SetUpError` is the
/// only item of `src/auth.rs`; other names there are re-exports, which its modules do not use.
const AUTH: &[&[&str]] = &[
    &["explanation"],
    &["inspection"],
    &["authenticator"],
    &["introspection", "request"],
    &["token_cache"],
    &["dpop", "gateway", "issuer"],
    &["caller"],
    &["jwt"],
    &["hmac", "jwks", "revocation", "verification_limit"],
    &["credentials"],
    &["SetUpError", "digest", "error"],
];

/// Where actix-web may be used.
const ACTIX_WEB: &[&str] = &[
    "src/admin.rs",
    "src/admin/",
    "src/app.rs",
    "src/app/",
    "src/server.rs",
    "src/server/",
    "src/auth/request.rs",
    "src/demo.rs",
    "src/main.rs",
    "src/problem.rs",
    "src/problem/",
    "src/public.rs",
    "src/public/",
];

/// Where awc may be used.
const AWC: &[&str] = &[
    "src/http_client.rs",
    "src/juspay/client.rs",
    "src/juspay/connect.rs",
    "src/juspay/response.rs",
];

/// Where the simulator may be used.
const SIMULATOR: &[&str] = &["src/commands/simulation.rs", "src/demo.rs"];

/// Where OTLP's messages and their encoder may be used.
const OTLP: &[&str] = &["src/traces/export/otlp.rs"];

/// Where the client of Redis and the slots of its cluster may be used.
const REDIS: &[&str] = &["src/shared/redis.rs", "src/shared/redis/"];

/// Where a span may have an attribute that is not a constant of the program: an issuer's name, the
/// request's id, Juspay's host.
const SPAN_TEXTS: &[&str] = &[
    "src/juspay/client.rs",
    "src/auth/authenticator.rs",
    "src/public/request_log/server_span.rs",
    "src/traces/",
];

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

/// The crate's modules that the code uses, in `use crate::{…}` and in paths.
fn named(code: &str) -> BTreeSet<&str> {
    let paths = paths(code).into_iter();
    let own = paths.filter(|path| ["crate", "juspay_bff"].contains(&path[0]));
    let names = own.filter_map(|path| path.get(1).copied());
    names.filter(|name| ALLOWED.iter().any(|(module, _)| module == name)).collect()
}

/// The paths in the code that begin with `crate`, `juspay_bff`, `self` or `super`, by their segments.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for root in ["crate::", "juspay_bff::", "self::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !is_word(c) && c != ':') {
                found.extend(tree(&code[at..]).0);
            }
        }
    }
    found
}

/// The paths of a tree such as `a::{b, c::d}`, and the text after it.
fn tree(text: &str) -> (Vec<Vec<&str>>, &str) {
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut members = Vec::new();
        loop {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
            if rest.is_empty() || rest.starts_with('}') {
                return (members, rest.get(1..).unwrap_or_default());
            }
            let (paths, after) = tree(rest);
            members.extend(paths);
            rest = &after[after.find([',', '}']).unwrap_or(after.len())..];
        }
    }
    let (word, rest) = text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()));
    let Some(inner) = rest.strip_prefix("::") else { return (vec![vec![word]], rest) };
    let (paths, rest) = tree(inner);
    (paths.into_iter().map(|path| [vec![word], path].concat()).collect(), rest)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The modules of `auth`, and the items of `auth.rs`, that a file of `auth` names.
fn named_in_auth<'c>(path: &'c str, code: &'c str) -> BTreeSet<&'c str> {
    let file: Vec<&str> = path["src/".len()..path.len() - ".rs".len()].split('/').collect();
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut names = BTreeSet::new();
    for path in paths(code) {
        let supers = path.iter().take_while(|segment| **segment == "super").count();
        let full = match path[0] {
            "crate" | "juspay_bff" => path[1..].to_vec(),
            "self" => [&file[..], &path[1..]].concat(),
            _ => [&file[..file.len().saturating_sub(supers)], &path[supers..]].concat(),
        };
        if let ["auth", name, ..] = full[..] {
            names.insert(name);
        }
    }
    names
}

#[test]
fn modules_of_auth_use_only_those_below_them() {
    let layer = |name: &str| {
        let layer = AUTH.iter().position(|group| group.contains(&name));
        layer.unwrap_or_else(|| panic!("AUTH does not list {name}"))
    };
    let mut number = 0;
    for (path, code) in sources() {
        let is_test = ["/tests", "/testing", "/fuzzing", "wycheproof"].iter();
        let Some(rest) = path.strip_prefix("src/auth/") else { continue };
        if is_test.clone().any(|part| path.contains(part)) {
            continue;
        }
        let name = rest.split(['/', '.']).next().unwrap();
        for used in named_in_auth(&path, &code) {
            number += 1;
            let is_below = used == name || layer(used) > layer(name);
            assert!(is_below, "{path}: {name} → {used} is not below it");
        }
    }
    assert!(number > 50, "only {number} uses were found");
}

#[test]
fn modules_use_only_allowed_modules() {
    for (path, code) in sources() {
        let module = module(&path);
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{path}: list in ALLOWED what {module} may use"));
        for name in named(&code) {
            let fine = name == module || allowed.contains(&name) || SHARED.contains(&name);
            assert!(fine, "{path}: {module} must not use {name}");
        }
    }
}

#[test]
fn http_libraries_are_used_only_in_http_modules() {
    for (path, code) in sources() {
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let parts = &[
            "src/app.rs",
            "src/server.rs",
            "src/server/",
            "src/auth/authenticator.rs",
            "src/auth/request.rs",
            "src/public/",
        ];
        for (library, allowed_in) in [
            ("actix_web", ACTIX_WEB),
            ("actix_http", &parts[..]),
            ("awc", AWC),
            ("opentelemetry_proto", OTLP),
            ("prost", OTLP),
            ("crc16", REDIS),
        ] {
            let is_test =
                ["/tests.rs", "/tests/", "/testing.rs"].iter().any(|it| path.contains(it));
            let is_allowed = is_test || allowed_in.iter().any(|home| path.starts_with(home));
            let uses_it =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == library);
            assert!(is_allowed || !uses_it, "{path} uses {library}");
        }
    }
}

#[test]
fn only_the_demo_and_its_commands_use_the_simulator() {
    for (path, code) in sources() {
        let is_allowed = SIMULATOR.iter().any(|home| path.starts_with(home));
        assert!(is_allowed || !code.contains("simulator::"), "{path} uses the simulator");
    }
}

#[test]
fn redis_is_used_only_by_the_shared_tier() {
    for (path, code) in sources() {
        let is_allowed = REDIS.iter().any(|home| path.starts_with(home));
        // `shared::redis` is the module.
        let code = code.replace("shared::redis", "").replace("mod redis", "");
        let uses_it = ["redis::", "use redis;"].iter().any(|part| code.contains(part));
        assert!(is_allowed || !uses_it, "{path} uses redis");
    }
}

#[test]
fn span_attributes_that_are_not_constants_are_set_in_few_files() {
    for (path, code) in sources() {
        let is_allowed = SPAN_TEXTS.iter().any(|home| path.starts_with(home));
        assert!(
            is_allowed || !code.contains("span.name("),
            "{path} sets a span attribute that is not a constant"
        );
    }
}

#[test]
fn cache_uses_juspay_only_by_its_trait() {
    for (path, code) in sources() {
        assert!(
            module(&path) != "cache" || !code.contains("juspay::client"),
            "{path} names the client"
        );
    }
}

#[test]
fn files_have_a_head_comment_and_no_vague_name() {
    for (path, _) in sources().into_iter().chain(files_below("crates")) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
        assert!(text.starts_with("//!"), "{path} has no //! at its head");
        for vague in ["utils", "common", "helpers", "types", "mod"] {
            let file = format!("/{vague}.rs");
            assert!(!path.ends_with(&file), "{path}: a vague name");
        }
    }
}

#[test]
fn paths_in_use_groups_are_found() {
    let code = "use crate::{\n json::{self, Text},\n customer,\n};\nlet x = crate::tls::y;";
    assert_eq!(named(code), BTreeSet::from(["customer", "json", "tls"]));
    let code = "use super::{\n error::Reason as R,\n super::jwks::{Key, source::*},\n SetUpError};\n\
                use crate::{auth::{digest, jwt::Claims}, json};\npub(in crate::auth) mod x;\n\
                fn f(_: super::super::caller::Caller) {}";
    let found = named_in_auth("src/auth/dpop/proof.rs", code);
    assert_eq!(found, BTreeSet::from(["caller", "digest", "dpop", "jwks", "jwt"]));
}
