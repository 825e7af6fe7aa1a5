//! `server.tls.*`: what is wrong with files, alone and together.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// Each line's fault: the key and a part of the reason.
fn faults(lines: &str) -> Vec<(String, String)> {
    let sources = good().text("x.toml", lines);
    let faults = sources.load().err().map(|faults| faults.iter().cloned().collect());
    let faults: Vec<Fault> = faults.unwrap_or_default();
    let is_placed = |fault: &Fault| fault.origin.is_some() || fault.reason.contains("is missing");
    assert!(faults.iter().all(|fault| !fault.fix.is_empty() && is_placed(fault)), "{lines}");
    assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
    faults.into_iter().map(|fault| (fault.key, fault.reason)).collect()
}

#[test]
fn tls_files_are_tried_alone_and_together_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| write(directory.path(), name, content);
    let pair = || generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = pair();
    let crt = file("crt", &cert.pem());
    let key = file("key", &signing_key.serialize_pem());
    let other = file("other", &pair().signing_key.serialize_pem());
    let text = file("text", "hush");
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\nhush");
    let odd = "-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n";
    let odd = file("odd", &(odd.to_owned() + &odd.replace("CERTIFICATE", "PRIVATE KEY")));
    let tls =
        |crt: &str, key: &str| format!("[server.tls]\ncert_file = '{crt}'\nkey_file = '{key}'\n");
    let (cert_file, key_file) = ("server.tls.cert_file", "server.tls.key_file");
    let (ca_file, auth) = ("server.tls.client_ca_file", "server.tls.client_auth");
    for (lines, expected) in [
        (tls(&crt, &key), vec![]),
        (tls(&crt, &other), vec![(cert_file, "don't fit together")]),
        (tls("/nonexistent", &key), vec![(cert_file, "can't be read")]),
        (tls(&text, &text), vec![(cert_file, "no certificate"), (key_file, "no private key")]),
        (tls(&broken, &broken), vec![(cert_file, "isn't PEM"), (key_file, "isn't PEM")]),
        (tls(&odd, &odd), vec![(cert_file, "can't be used"), (key_file, "can't be used")]),
        (tls(&key, &crt), vec![(cert_file, "no certificate"), (key_file, "no private key")]),
        (format!("server.tls.cert_file = '{crt}'"), vec![(key_file, "missing, though")]),
        (format!("server.tls.key_file = '{key}'"), vec![(cert_file, "missing, though")]),
        ("server.tls.client_auth = 'maybe'".to_owned(), vec![(auth, "no such choice")]),
        ("server.tls.client_auth = 'required'".to_owned(), vec![(auth, "is missing")]),
        (tls(&crt, &key) + "client_auth = 'optional'", vec![(auth, "is missing")]),
        (
            tls(&crt, &key) + &format!("client_ca_file = '{crt}'"),
            vec![(ca_file, "nobody would be asked")],
        ),
        (
            tls(&crt, &key) + &format!("client_ca_file = '{text}'\nclient_auth = 'required'"),
            vec![(ca_file, "no certificate")],
        ),
        (
            format!("server.tls = {{ client_ca_file = '{crt}', client_auth = 'required' }}"),
            vec![(ca_file, "no TLS that it could be for")],
        ),
        (
            format!("server.listen = 'unix:/run/x'\n{}", tls(&crt, &key)),
            vec![(cert_file, "no TCP address")],
        ),
    ] {
        let found = faults(&lines);
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        let expected_keys: Vec<_> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, expected_keys, "{lines}: {found:?}");
        for ((_, reason), (_, part)) in found.iter().zip(&expected) {
            assert!(reason.contains(part), "{lines}: {reason}");
        }
    }
}

#[test]
fn without_files_there_is_no_tls() {
    let server = good().load().unwrap().settings.server;
    assert!(server.tls.is_none());
    assert_eq!(server.max_connections, 4096);
}
