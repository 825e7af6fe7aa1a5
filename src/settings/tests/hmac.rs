//! Issuers with a shared secret, and issuers whose tokens have no `iss`.

use std::fs;

use super::*;
use crate::settings::{HmacAlgorithm, HmacSecretError, hmac_secrets};

const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush";

fn cut(bytes: usize) -> String {
    SECRET.chars().take(bytes).collect()
}

fn secrets(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, content).unwrap();
    file
}

/// The valid settings, with a shared secret for `main` and these lines.
fn shared(file: &tempfile::NamedTempFile, lines: &str) -> Sources {
    let path = file.path().display();
    let main = "[auth.issuers.main]\ndiscovery = false";
    valid().text("x.toml", format!("{main}\nhmac_secret_file = '{path}'\n{lines}"))
}

/// The key and reason of each fault.
fn keys_and_reasons(sources: Sources) -> Vec<(String, String)> {
    let Err(faults) = sources.load() else { return Vec::new() };
    let all: Vec<_> = faults.iter().collect();
    assert!(!format!("{all:?}").contains("hush"), "a secret is shown");
    assert!(all.iter().all(|fault| !fault.fix.is_empty()));
    all.into_iter().map(|fault| (fault.key.clone(), fault.reason.clone())).collect()
}

fn expect(what: &str, found: &[(String, String)], expected: &[(&str, &str)]) {
    assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
    for ((key, reason), (expected_key, part)) in found.iter().zip(expected) {
        assert_eq!(key, &format!("auth.issuers.{expected_key}"), "{what}");
        assert!(reason.contains(part), "{what}: {reason}");
    }
}

#[test]
fn shared_secret_replaces_public_keys() {
    let file = secrets(&format!("{SECRET}\n{SECRET}\n"));
    let settings = shared(&file, "algorithms = ['HS256', 'HS512']").load().unwrap().settings;
    let issuer = &settings.auth.issuers["main"];
    let KeySource::Hmac(hmac) = &issuer.keys else { panic!("{issuer:?}") };
    assert_eq!(hmac.secret_file, file.path());
    assert_eq!(hmac.algorithms, [HmacAlgorithm::HS256, HmacAlgorithm::HS512]);
    assert!(issuer.algorithms.is_empty(), "no public key checks its tokens");
}

#[test]
fn unusable_secret_is_a_fault() {
    let at = "main.hmac_secret_file";
    for (content, algorithms, reason) in [
        ("hush", "['HS256']", "at least 32 bytes in line 1 for HS256, found 4"),
        (&cut(47), "['HS256', 'HS384']", "at least 48 bytes in line 1 for HS384"),
        (&cut(63), "['HS512']", "at least 64 bytes in line 1 for HS512"),
        (&format!("{SECRET}\nhush"), "['HS256']", "line 2 for HS256, found 4"),
        (&format!("{SECRET}\n{SECRET}\n{SECRET}"), "['HS256']", "one or two lines"),
        ("\n", "['HS256']", "file's secrets are invalid"),
    ] {
        let found =
            keys_and_reasons(shared(&secrets(content), &format!("algorithms = {algorithms}")));
        assert_eq!(found.len(), 1, "{found:?}");
        let is_empty = content == "\n";
        expect(content, &found, &[(at, if is_empty { "empty" } else { reason })]);
    }
    let algorithms = [HmacAlgorithm::HS512];
    let short = cut(63);
    let short = hmac_secrets(&short, &algorithms);
    assert!(matches!(short, Err(HmacSecretError::TooShort { required_length: 64, .. })));
}

#[test]
fn algorithms_must_match_the_kind_of_key() {
    let found_with = |algorithms: &str| {
        keys_and_reasons(shared(&secrets(SECRET), &format!("algorithms = {algorithms}")))
    };
    let at = "main.algorithms";
    for algorithms in ["['RS256']", "['none']", "['hs256']"] {
        let first = format!("{at}[0]");
        expect(algorithms, &found_with(algorithms), &[(&first, "HS algorithms only")]);
    }
    expect(
        "both",
        &found_with("['HS256', 'ES256']"),
        &[("main.algorithms[1]", "HS algorithms only")],
    );
    expect("none", &found_with("[]"), &[(at, "empty")]);
    let faults = valid().text("x", "auth.issuers.main.algorithms = ['HS256']").load().unwrap_err();
    let fault = faults.iter().next().unwrap();
    assert!(fault.reason.contains("HS256 needs a shared secret"), "{}", fault.reason);
    assert!(fault.fix.contains("hmac_secret_file"), "{}", fault.fix);
}

#[test]
fn secret_conflicts_with_every_other_key_source() {
    let file = secrets(SECRET);
    let found_with =
        |lines: &str| keys_and_reasons(shared(&file, &format!("algorithms = ['HS256']\n{lines}")));
    expect("nothing else", &found_with(""), &[]);
    let keys = "jwks_url = 'https://id.example/keys'";
    expect(
        "keys",
        &found_with(keys),
        &[("main", "more than one key source: jwks_url, hmac_secret_file")],
    );
    let more = found_with("jwks_file = 'Cargo.toml'\nca_file = '/nonexistent'\ntyp = []");
    let found: Vec<_> = more.iter().map(|(key, _)| key.rsplit('.').next().unwrap()).collect();
    for key in ["ca_file", "typ", "main"] {
        assert!(found.contains(&key), "{key} in {more:?}");
    }
    let introspection = "introspection_url = 'https://id.example/i'\nintrospection_client_id = 'a'\n\
                         introspection_client_secret_file = 'Cargo.toml'";
    let found = found_with(introspection);
    assert!(found.iter().any(|(key, _)| key == "auth.issuers.main"), "{found:?}");
}

#[test]
fn only_one_issuer_may_be_empty_and_without_introspection() {
    let file = secrets(SECRET);
    let lines = "algorithms = ['HS256']\nissuer = ''";
    let settings = shared(&file, lines).load().unwrap().settings;
    assert_eq!(settings.auth.issuers["main"].issuer, "");

    let second = format!(
        "{lines}\n[auth]\nshared_customer_ids = true\n[auth.issuers.other]\nissuer = ''\n\
         audiences = ['a']\nalgorithms = ['HS256']\nhmac_secret_file = '{}'",
        file.path().display()
    );
    expect("two", &keys_and_reasons(shared(&file, &second)), &[("other.issuer", "is the same as")]);

    let main = "[auth.issuers.main]\nissuer = ''";
    let discovery = keys_and_reasons(valid().text("x", main));
    expect("discovery", &discovery, &[("main.issuer", "needs an issuer identifier")]);
}
