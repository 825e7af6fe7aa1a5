//! Reports keys that no section has read, and suggests the key that was probably meant. Never reads
//! their values.

use std::collections::BTreeSet;

use config::{Map, Value};

use super::{
    fault::{Fault, Violation},
    value,
};

/// Longest name shown, in characters; no known name is half as long.
const MAX_SHOWN: usize = 40;

/// One fault for each key below `root` that isn't `known`.
pub(super) fn faults(root: &Map<String, Value>, known: &BTreeSet<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    collect(root, "", known, &mut faults);
    faults
}

/// The path of `name` in table `parent` for display: names are quoted as in TOML if necessary, and
/// long names are truncated.
pub(super) fn path(parent: &str, name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let cut: String = name.chars().take(MAX_SHOWN).collect();
    let shown = match (cut.len() < name.len(), !name.is_empty() && name.chars().all(is_bare)) {
        (true, _) => format!("\"{}…\"", cut.escape_debug()),
        (false, true) => cut,
        (false, false) => format!("\"{}\"", cut.escape_debug()),
    };
    if parent.is_empty() { shown } else { format!("{parent}.{shown}") }
}

fn collect(table: &Map<String, Value>, at: &str, known: &BTreeSet<String>, to: &mut Vec<Fault>) {
    let names: BTreeSet<&String> = table.keys().collect();
    for (name, value) in names.into_iter().filter_map(|name| table.get_key_value(name)) {
        let path = path(at, name);
        let is_above_known = known.range(format!("{path}.")..).next();
        let is_above_known = is_above_known.is_some_and(|key| key.starts_with(&format!("{path}.")));
        match value::table(value) {
            Some(inner) if is_above_known => collect(inner, &path, known, to),
            _ if known.contains(&path) => {}
            _ => to.push(unknown(path, known, value)),
        }
    }
}

fn unknown(path: String, known: &BTreeSet<String>, value: &Value) -> Fault {
    let fix = suggestion(&path, known).map_or_else(
        || "remove it; config/default.toml documents every key".to_owned(),
        |key| format!("did you mean {key}?"),
    );
    Violation::new("no such setting", fix).of(path, value::origin(value))
}

/// The key that was probably meant: the same name with other separators (`JUSPAY_BFF__LOG_LEVEL`),
/// a similar name in the same table, or the same name in another table.
fn suggestion<'k>(path: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    let (parent, name) = split(path);
    let flat = path.replace('.', "_");
    if let Some(key) = known.iter().find(|key| key.replace('.', "_") == flat) {
        return Some(key);
    }
    let nearest = keys_and_tables(known)
        .filter(|key| split(key).0 == parent)
        .map(|key| (strsim::levenshtein(split(key).1, name), key))
        .min();
    // At most a third of the letters may differ.
    let near = nearest.filter(|(distance, key)| distance.saturating_mul(3) <= split(key).1.len());
    near.map(|(_, key)| key).or_else(|| keys_and_tables(known).find(|key| split(key).1 == name))
}

/// The known keys and the tables that contain them.
fn keys_and_tables(known: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    known.iter().flat_map(|key| {
        let tables = key.match_indices('.').filter_map(|(at, _)| key.get(..at));
        tables.chain([key.as_str()])
    })
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::document;

    fn fixes(text: &str) -> Vec<(String, String)> {
        let known = ["juspay.api_key", "juspay.base_url", "log.level", "auth.issuers.a.issuer"];
        let known = known.into_iter().map(str::to_owned).collect();
        let faults = faults(&document::parse("x", text).unwrap(), &known);
        faults.into_iter().map(|fault| (fault.key, fault.fix)).collect()
    }

    #[test]
    fn similar_key_is_suggested() {
        for (text, key, fix) in [
            ("[juspay]\nbase_ulr = 'hush'", "juspay.base_ulr", "did you mean juspay.base_url?"),
            ("[jsupay]\nbase_url = 'hush'", "jsupay", "did you mean juspay?"),
            ("[log]\nbase_url = 'hush'", "log.base_url", "did you mean juspay.base_url?"),
            ("level = 'hush'", "level", "did you mean log.level?"),
            (
                "[auth.issuers.a]\nisuer = 1",
                "auth.issuers.a.isuer",
                "did you mean auth.issuers.a.issuer?",
            ),
            ("log_level = 'hush'", "log_level", "did you mean log.level?"),
            ("zebra = 'hush'", "zebra", "remove it; config/default.toml documents every key"),
            ("'a b' = 1", "\"a b\"", "remove it; config/default.toml documents every key"),
        ] {
            assert_eq!(fixes(text), [(key.to_owned(), fix.to_owned())]);
        }
        assert_eq!(fixes("[juspay]\napi_key = 1\nbase_url = 2\n[log]\nlevel = {hush = 1}"), []);
    }

    #[test]
    fn every_unknown_key_is_reported_and_unknown_tables_once() {
        let faults = fixes("[x]\na = 1\nb = 2\n[log]\nq = 1\nr = 2");
        let keys: Vec<_> = faults.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["log.q", "log.r", "x"]);
    }

    #[test]
    fn unusual_names_are_quoted_and_truncated() {
        assert_eq!(path("a", "b\nc"), "a.\"b\\nc\"");
        assert_eq!(path("", ""), "\"\"");
        assert_eq!(path("", &"é".repeat(41)), format!("\"{}…\"", "é".repeat(40)));
        assert_eq!(path("", &"e".repeat(40)), "e".repeat(40));
    }
}
