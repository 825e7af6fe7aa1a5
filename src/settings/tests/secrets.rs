//! No secret is shown, whatever is wrong with it and wherever it was put (promises P2 and P9 in
//! SECURITY.md).

use proptest::prelude::*;

use super::*;

/// All output about these settings.
fn all_output(sources: &Sources) -> String {
    let debug = format!("{sources:?}");
    match sources.clone().load() {
        Ok(loaded) => format!(
            "{debug} {} {:?} {:?} {:?}",
            loaded.effective, loaded.effective, loaded.settings, loaded.warnings
        ),
        Err(faults) => format!("{debug} {faults} {faults:?}"),
    }
}

/// Valid and invalid spellings of a secret in TOML.
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

/// Keys whose value might be a misplaced secret. Faults show the names of keys, so no table is
/// among them.
const KEYS: [&str; 25] = [
    "server.tls.cert_file",
    "server.tls.key_file",
    "server.tls.client_ca_file",
    "juspay.api_key",
    "juspay.api_key_file",
    "juspay.ca_file",
    "juspay.egress_proxy",
    "juspay.egress_proxy_credentials_file",
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
    fn invalid_secrets_are_never_shown(
        secret in "[a-zA-Z0-9/+]{12,40}[^\"\\\\\\p{C}]{0,3}zq",
        key in prop::sample::select(&KEYS[..]),
        spelling in 0_usize..11,
    ) {
        let spelling = &spellings(&secret)[spelling];
        let output = all_output(&valid().text("x.toml", format!("{key} = {spelling}")));
        prop_assert!(!output.contains(&secret), "{key} = {spelling}: {output}");
        let variable = format!("JUSPAY_BFF__{}", key.replace('.', "__").to_uppercase());
        let output = all_output(&valid().variable(variable, &*secret));
        prop_assert!(!output.contains(&secret), "{key} by environment: {output}");
    }

    #[test]
    fn numeric_secret_is_never_shown(secret in 10_000_000_000_u64..) {
        let output = all_output(&valid().text("x.toml", format!("juspay.api_key = {secret}")));
        prop_assert!(!output.contains(&secret.to_string()), "{output}");
    }
}

#[test]
fn content_of_secret_files_is_never_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    for content in ["hush", "hush hush", "hush:", "hu\u{0}hush", "hush\n\nhush", "\u{e9}hush"] {
        std::fs::write(&file, content).unwrap();
        for key in [
            "juspay.api_key_file",
            "juspay.ca_file",
            "juspay.egress_proxy_credentials_file",
            "server.admin_token_file",
            "log.customer_ref_key_file",
            "auth.dpop.nonce_key_file",
            "auth.issuers.main.jwks_file",
            "auth.issuers.main.ca_file",
            "auth.revocations_file",
        ] {
            let output = all_output(&valid().text("x.toml", format!("{key} = '{path}'")));
            assert!(!output.contains("hush"), "{key}: {output}");
        }
        // Loads the secret's file as a settings file.
        let output = all_output(&valid().file(file.path()));
        assert!(!output.contains("hush") || content == "hush:", "{output}");
    }
}

#[test]
fn passwords_in_addresses_are_never_shown() {
    for key in [
        "juspay.base_url",
        "juspay.egress_proxy",
        "auth.issuers.main.discovery",
        "auth.issuers.main.jwks_url",
    ] {
        for address in [
            "https://u:hush@host",
            "hush://x",
            "https://x#hush",
            "http://x/hush",
            "https://hush hush",
            "http://u:hush@host:3128",
        ] {
            let output = all_output(&valid().text("x.toml", format!("{key} = '{address}'")));
            assert!(!output.contains("hush"), "{key} = {address}: {output}");
        }
    }
}

#[test]
fn proxy_credentials_are_one_line_and_need_a_proxy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let credentials =
        format!("juspay.egress_proxy_credentials_file = '{}'\n", file.path().display());
    let with_proxy = format!("{credentials}juspay.egress_proxy = 'http://[::1]:3128'");
    for valid_content in ["user:pass word:\u{a3}\n", "user:"] {
        std::fs::write(&file, valid_content).unwrap();
        let settings = valid().text("x", &*with_proxy).load().unwrap().settings.juspay;
        let proxy = settings.egress_proxy.unwrap();
        assert_eq!((proxy.bare_host(), proxy.port), ("::1", 3128));
    }
    let faults = valid().text("x", credentials).load().unwrap_err().to_string();
    assert!(faults.contains("but juspay.egress_proxy is not"), "{faults}");
    for invalid in ["user", ":password", "user:a\nuser:b"] {
        std::fs::write(&file, invalid).unwrap();
        let faults = valid().text("x", &*with_proxy).load().unwrap_err().to_string();
        assert!(faults.contains("write one line, USER:PASSWORD"), "{faults}");
    }
}

#[test]
fn admin_token_must_be_a_valid_bearer_token() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let setting = format!("server.admin_token_file = '{}'", file.path().display());
    std::fs::write(&file, "aZ09-._~+/=\n").unwrap();
    assert!(valid().text("x", &*setting).load().is_ok());
    std::fs::write(&file, "a b").unwrap();
    let faults = valid().text("x", setting).load().unwrap_err().to_string();
    assert!(faults.contains("bearer token cannot contain"), "{faults}");
    std::fs::write(&file, "\n").unwrap();
    let empty = format!("server.admin_token_file = '{}'", file.path().display());
    let faults = valid().text("x", empty).load().unwrap_err().to_string();
    assert!(faults.contains("the file is empty"), "{faults}");
}
