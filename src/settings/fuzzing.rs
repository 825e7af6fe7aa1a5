//! Invariants of loading any settings file. Used by the fuzz targets and tests; not part of the
//! program.

#![expect(clippy::expect_used, reason = "a panic is a finding of the fuzz target")]

use super::{Loaded, Sources};

/// The API key in the file below the tested one. It must never be shown.
const API_KEY: &str = "Yq7canaryKey4Zx";

/// A secret in the tested file. Faults must not quote it.
const VALUE: &str = "hush";

/// Complete valid settings.
const BASE: &str = r#"
juspay = { base_url = "https://api.juspay.in", merchant_id = "merchant", api_key = "Yq7canaryKey4Zx" }

[auth.issuers.main]
issuer = "https://id.example"
audiences = ["api"]
algorithms = ["RS256"]
discovery = true
"#;

/// Loads the text of a settings file over valid settings, and panics if an invariant is broken.
pub fn settings_file(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if text.contains(API_KEY) {
        return;
    }
    let sources = Sources::default().text("base.toml", BASE).text("fuzz.toml", text);
    let output = match sources.clone().load() {
        Ok(loaded) => {
            check_reads_back(&loaded);
            let Loaded { settings, effective, warnings } = loaded;
            format!("{settings:?} {effective} {effective:?} {warnings:?}")
        }
        Err(faults) => {
            assert!(faults.iter().next().is_some(), "rejected without a fault");
            let output = format!("{faults} {faults:?}");
            assert!(
                is_in_key_name(VALUE, text) || !output.contains(VALUE),
                "a fault quotes a value: {output}"
            );
            output
        }
    };
    assert!(!output.contains(API_KEY) && !format!("{sources:?}").contains(API_KEY), "{output}");
}

/// Whether a key's name contains `word`. Faults do show the names of keys.
fn is_in_key_name(word: &str, text: &str) -> bool {
    fn any(value: &toml::Value, word: &str) -> bool {
        match value {
            toml::Value::Table(table) => {
                table.iter().any(|(name, value)| name.contains(word) || any(value, word))
            }
            toml::Value::Array(items) => items.iter().any(|item| any(item, word)),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => false,
        }
    }
    text.parse::<toml::Table>().is_ok_and(|table| any(&toml::Value::Table(table), word))
}

/// The effective settings load again as a settings file, with the same result except for secrets.
fn check_reads_back(loaded: &Loaded) {
    let shown = loaded.effective.to_string();
    let again = Sources::default().text("shown.toml", &*shown).load();
    let again = again.expect("settings that can be read back").effective.to_string();
    let without_origins = |text: &str| text.parse::<toml::Table>().expect("TOML");
    assert_eq!(without_origins(&shown), without_origins(&again));
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn corpus_of_settings_files_upholds_the_invariants() {
        crate::corpus::replay("settings_file", settings_file);
    }

    const KEYS: [&str; 16] = [
        "server.listen",
        "server.workers",
        "server.max_waiting",
        "juspay.api_key",
        "juspay.base_url",
        "juspay.breaker.failure_rate",
        "auth.leeway",
        "auth.issuers.main.algorithms",
        "auth.issuers.main.jwks_url",
        "auth.issuers.other",
        "cache.min_remaining",
        "response.fields",
        "limits.per_customer",
        "log.access",
        "secrets.poll",
        "nothing.of.ours",
    ];

    const VALUES: [&str; 18] = [
        "\"hush\"",
        "hush",
        "[\"hush\", 1]",
        "{ a = \"hush\" }",
        "\"unix:/hush\"",
        "\"https://hush\"",
        "\"127.0.0.1:1\"",
        "0",
        "4",
        "-1",
        "0.5",
        "1e999",
        "nan",
        "true",
        "\"10s\"",
        "\"1/100\"",
        "\"60/min\"",
        "[]",
    ];

    proptest! {
        #[test]
        fn random_settings_files_uphold_the_invariants(
            lines in vec((select(&KEYS[..]), select(&VALUES[..])), 0..5),
        ) {
            let lines: Vec<_> =
                lines.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            settings_file(lines.concat().as_bytes());
        }
    }
}
