//! `server.tls.*`: faults of files, alone and in combination.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// The faults of these settings, which override valid ones.
fn faults(lines: &str) -> Vec<Fault> {
    let faults = faults_of(valid().text("x.toml", lines));
    let is_placed = |fault: &Fault| fault.origin.is_some() || fault.reason.contains("is missing");
    assert!(faults.iter().all(is_placed), "{faults:#?}");
    faults
}

const CERT: &str = "server.tls.cert_file";
const KEY: &str = "server.tls.key_file";
const CLIENT_CA: &str = "server.tls.client_ca_file";
const CLIENT_AUTH: &str = "server.tls.client_auth";

pub(super) fn pair_setting(crt: &str, key: &str) -> String {
    format!("[server.tls]\ncert_file = '{crt}'\nkey_file = '{key}'\n")
}

/// Writes a certificate and its key, and returns both paths.
pub(super) fn valid_pair(directory: &Path) -> [String; 2] {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    [("crt", cert.pem()), ("key", signing_key.serialize_pem())]
        .map(|(name, pem)| write(directory, name, &pem))
}

fn check(cases: &[(String, &[(&str, &str)])]) {
    for (lines, expected) in cases {
        compare(lines, &faults(lines), expected);
    }
}

#[test]
fn invalid_tls_files_are_rejected_and_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| write(directory.path(), name, content);
    let [crt, key] = valid_pair(directory.path());
    let another = generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let other = file("other", &another.signing_key.serialize_pem());
    let text = file("text", "hush");
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\nhush");
    let broken_key = file("broken_key", "-----BEGIN PRIVATE KEY-----\nhush");
    let odd = "-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n";
    let odd = file("odd", &(odd.to_owned() + &odd.replace("CERTIFICATE", "PRIVATE KEY")));
    check(&[
        (pair_setting(&crt, &key), &[]),
        (pair_setting(&crt, &other), &[(CERT, "does not match the key")]),
        (pair_setting("/nonexistent", &key), &[(CERT, "can't be read")]),
        (pair_setting(&text, &text), &[(CERT, "no certificate"), (KEY, "no private key")]),
        (pair_setting(&broken, &broken_key), &[(CERT, "is not PEM"), (KEY, "is not PEM")]),
        (pair_setting(&odd, &odd), &[(CERT, "is invalid"), (KEY, "is invalid")]),
        (pair_setting(&key, &crt), &[(CERT, "no certificate"), (KEY, "no private key")]),
        (
            pair_setting(&crt, &key)
                + &format!("client_ca_file = '{text}'\nclient_auth = 'required'"),
            &[(CLIENT_CA, "no certificate")],
        ),
    ]);
}

#[test]
fn incomplete_or_conflicting_tls_settings_are_faults() {
    let directory = tempfile::tempdir().unwrap();
    let [crt, key] = valid_pair(directory.path());
    let pair = pair_setting(&crt, &key);
    check(&[
        (format!("{CERT} = '{crt}'"), &[(KEY, "missing, but")]),
        (format!("{KEY} = '{key}'"), &[(CERT, "missing, but")]),
        (
            format!("{CLIENT_AUTH} = 'maybe'"),
            &[(CLIENT_AUTH, "expected \"off\", \"optional\" or \"required\"")],
        ),
        (format!("{CLIENT_AUTH} = 'required'"), &[(CLIENT_AUTH, "is missing")]),
        (format!("{pair}client_auth = 'optional'"), &[(CLIENT_AUTH, "is missing")]),
        (
            format!("{pair}client_ca_file = '{crt}'"),
            &[(CLIENT_CA, "no client certificate is requested")],
        ),
        (
            format!("server.tls = {{ client_ca_file = '{crt}', client_auth = 'required' }}"),
            &[(CLIENT_CA, "TLS is not configured")],
        ),
        (format!("server.listen = 'unix:/run/x'\n{pair}"), &[(CERT, "no TCP address")]),
    ]);
}

#[test]
fn without_files_there_is_no_tls() {
    let server = valid().load().unwrap().settings.server;
    assert!(server.tls.is_none());
    assert_eq!(server.max_connections, 8192);
}
