//! P2 and P9: whatever is wrong with a secret, and wherever it was put, it isn't told.

use proptest::prelude::*;

use super::*;

/// Everything that is said about these settings.
fn everything(sources: &Sources) -> String {
    let debug = format!("{sources:?}");
    match sources.clone().load() {
        Ok(loaded) => format!(
            "{debug} {} {:?} {:?} {:?}",
            loaded.effective, loaded.effective, loaded.settings, loaded.warnings
        ),
        Err(faults) => format!("{debug} {faults} {faults:?}"),
    }
}

/// Ways to write a secret where a secret belongs, rightly and wrongly.
fn spellings(secret: &str) -> Vec<String> {
    let quoted = toml::Value::String(secret.to_owned()).to_string();
    vec![
        quoted.clone(),
        format!("[{quoted}]"),
        format!("[[{quoted}], 1]"),
        format!("{{ {quoted} = 1 }}"),
        format!("{{ key = {quoted} }}"),
        format!("\"{secret} {secret}\""),
        format!("\"{secret}:{secret}\""),
        format!("\"{secret}\\n\""),
        format!("\"{secret}"),
        secret.to_owned(),
        format!("{quoted} {quoted}"),
    ]
}

/// Where a secret may end up. Names of keys are told, so no table is among them.
const KEYS: [&str; 23] = [
    "server.tls.cert_file",
    "server.tls.key_file",
    "server.tls.client_ca_file",
    "juspay.api_key",
    "juspay.api_key_file",
    "juspay.ca_file",
    "server.admin_token_file",
    "server.listen",
    "server.workers",
    "server.shutdown_delay",
    "log.customer_ref_key_file",
    "auth.dpop.nonce_key_file",
    "log.level",
    "juspay.apikey",
    "api_key",
    "auth.issuers.main.jwks_file",
    "auth.issuers.main.ca_file",
    "auth.revocations_file",
    "auth.issuers.main.algorithms",
    "log.access",
    "response.fields",
    "secrets.poll",
    "juspay.allow_plain_http",
];

proptest! {
    #[test]
    fn no_secret_is_told_whatever_is_wrong_with_it(
        secret in "[a-zA-Z0-9/+]{12,40}[^\"\\\\\\p{C}]{0,3}zq",
        key in prop::sample::select(&KEYS[..]),
        spelling in 0_usize..11,
    ) {
        let spelling = &spellings(&secret)[spelling];
        let said = everything(&good().text("x.toml", format!("{key} = {spelling}")));
        prop_assert!(!said.contains(&secret), "{key} = {spelling}: {said}");
        let variable = format!("JUSPAY_BFF__{}", key.replace('.', "__").to_uppercase());
        let said = everything(&good().variable(variable, &*secret));
        prop_assert!(!said.contains(&secret), "{key} by environment: {said}");
    }

    #[test]
    fn a_secret_that_is_a_number_is_not_told_either(secret in 10_000_000_000_u64..) {
        let said = everything(&good().text("x.toml", format!("juspay.api_key = {secret}")));
        prop_assert!(!said.contains(&secret.to_string()), "{said}");
    }
}

#[test]
fn what_is_in_secret_files_is_not_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    for content in ["hush", "hush hush", "hush:", "hu\u{0}hush", "hush\n\nhush", "\u{e9}hush"] {
        std::fs::write(&file, content).unwrap();
        for key in [
            "juspay.api_key_file",
            "juspay.ca_file",
            "server.admin_token_file",
            "log.customer_ref_key_file",
            "auth.dpop.nonce_key_file",
            "auth.issuers.main.jwks_file",
            "auth.issuers.main.ca_file",
            "auth.revocations_file",
        ] {
            let said = everything(&good().text("x.toml", format!("{key} = '{path}'")));
            assert!(!said.contains("hush"), "{key}: {said}");
        }
        // As if it were a settings file.
        let said = everything(&good().file(file.path()));
        assert!(!said.contains("hush") || content == "hush:", "{said}");
    }
}

#[test]
fn passwords_in_addresses_are_not_told() {
    for key in ["juspay.base_url", "auth.issuers.main.discovery", "auth.issuers.main.jwks_url"] {
        for address in [
            "https://u:hush@host",
            "hush://x",
            "https://x#hush",
            "http://x/hush",
            "https://hush hush",
        ] {
            let said = everything(&good().text("x.toml", format!("{key} = '{address}'")));
            assert!(!said.contains("hush"), "{key} = {address}: {said}");
        }
    }
}

#[test]
fn admin_tokens_must_be_able_to_travel() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let setting = format!("server.admin_token_file = '{}'", file.path().display());
    std::fs::write(&file, "aZ09-._~+/=\n").unwrap();
    assert!(good().text("x", &*setting).load().is_ok());
    std::fs::write(&file, "a b").unwrap();
    let faults = good().text("x", setting).load().unwrap_err().to_string();
    assert!(faults.contains("bearer token cannot contain"), "{faults}");
    std::fs::write(&file, "\n").unwrap();
    let empty = format!("server.admin_token_file = '{}'", file.path().display());
    let faults = good().text("x", empty).load().unwrap_err().to_string();
    assert!(faults.contains("the file is empty"), "{faults}");
}
