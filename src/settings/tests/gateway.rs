//! `auth.gateway.*`: off unless set, and a fault wherever a stranger could be believed.

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

const JUSPAY: &str =
    "juspay = {base_url = 'https://api.juspay.in', merchant_id = 'm', api_key = 'key'}\n";
const HEADER: &str = "auth.gateway.header";
const SUBJECTS: &str = "auth.gateway.client_subjects";
const LISTEN: &str = "server.listen";

/// Each fault's key and reason.
fn faults(lines: &str) -> Vec<(String, String)> {
    let loaded = Sources::default().text("juspay", JUSPAY).text("x.toml", lines).load();
    let faults: Vec<Fault> =
        loaded.err().map(|faults| faults.iter().cloned().collect()).unwrap_or_default();
    assert!(faults.iter().all(|fault| !fault.fix.is_empty()), "{lines}");
    faults.into_iter().map(|fault| (fault.key, fault.reason)).collect()
}

fn tls(directory: &std::path::Path, auth: &str) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    for (name, pem) in [("crt", cert.pem()), ("key", signing_key.serialize_pem())] {
        std::fs::write(directory.join(name), pem).unwrap();
    }
    let at = directory.display();
    let ca = if auth == "off" { String::new() } else { format!("client_ca_file = '{at}/crt'\n") };
    format!(
        "[server.tls]\ncert_file = '{at}/crt'\nkey_file = '{at}/key'\nclient_auth = '{auth}'\n{ca}"
    )
}

const ON: &str = "auth.gateway.header = 'X-Customer-Id'\n";
const NAMED: &str = "auth.gateway.client_subjects = ['gateway']\n";

#[test]
fn it_is_on_where_only_the_gateway_can_be_and_needs_no_issuer() {
    let directory = tempfile::tempdir().unwrap();
    let required = tls(directory.path(), "required");
    for lines in [
        format!("{ON}server.listen = '127.0.0.1:8080'\n"),
        format!("{ON}server.listen = ['[::1]:1', 'unix:/run/x', '127.9.9.9:1']\n"),
        format!("{ON}server.listen = 'unix:/run/x'\n"),
        format!("{ON}{NAMED}{required}"),
        format!("{ON}server.listen = '127.0.0.1:1'\n{required}"),
        format!("{ON}server.listen = '127.0.0.1:1'\nserver.admin_listen = '0.0.0.0:2'\n"),
    ] {
        assert_eq!(faults(&lines), [], "{lines}");
        let sources = Sources::default().text("juspay", JUSPAY).text("x.toml", lines);
        let auth = sources.load().unwrap().settings.auth;
        assert_eq!(auth.gateway.unwrap().header, "x-customer-id");
        assert!(auth.issuers.is_empty());
    }
    assert!(good().load().unwrap().settings.auth.gateway.is_none());
}

#[test]
fn it_is_a_fault_wherever_somebody_else_could_be_believed() {
    let directory = tempfile::tempdir().unwrap();
    let [off, optional, required] =
        ["off", "optional", "required"].map(|auth| tls(directory.path(), auth));
    for (lines, expected) in [
        (ON.to_owned(), vec![(LISTEN, "others")]),
        (format!("{ON}server.listen = '0.0.0.0:1'\n"), vec![(LISTEN, "others")]),
        (format!("{ON}server.listen = ['127.0.0.1:1', '10.0.0.1:1']\n"), vec![(LISTEN, "others")]),
        (format!("{ON}server.listen = ['unix:/x', '[::]:1']\n"), vec![(LISTEN, "others")]),
        (format!("{ON}{required}"), vec![(LISTEN, "others")]),
        (format!("{ON}{NAMED}{off}"), vec![(SUBJECTS, "certificate"), (LISTEN, "others")]),
        (format!("{ON}{NAMED}{optional}"), vec![(SUBJECTS, "certificate"), (LISTEN, "others")]),
        (format!("{ON}{NAMED}server.listen = '127.0.0.1:1'\n"), vec![(SUBJECTS, "certificate")]),
        (NAMED.to_owned(), vec![("auth.issuers", "no issuer"), (SUBJECTS, "is missing")]),
        (
            format!(
                "{ON}server.listen = '127.0.0.1:1'\n[auth.issuers.main]\n\
                 issuer = 'https://id.example'\naudiences = ['a']\nalgorithms = ['RS256']\n\
                 discovery = true\n"
            ),
            vec![(HEADER, "auth.issuers is set")],
        ),
    ] {
        let told = faults(&lines);
        assert_eq!(told.len(), expected.len(), "{lines}: {told:#?}");
        for ((key, reason), (at, why)) in told.iter().zip(expected) {
            assert!(key == at && reason.contains(why), "{lines}: {key} {reason}");
        }
    }
}

#[test]
fn its_own_settings_are_held_to_their_grammar() {
    let local = "server.listen = '127.0.0.1:1'\n";
    for (line, key, reason) in [
        ("auth.gateway.header = ''", HEADER, "header's name"),
        ("auth.gateway.header = 'a b'", HEADER, "header's name"),
        ("auth.gateway.header = 'a:'", HEADER, "header's name"),
        ("auth.gateway.header = 'Authorization'", HEADER, "another meaning"),
        ("auth.gateway.header = 'host'", HEADER, "another meaning"),
        (
            "auth.gateway.headers = 'x'\nauth.gateway.header = 'y'",
            "auth.gateway.headers",
            "no such",
        ),
    ] {
        let faults = faults(&format!("{local}{line}"));
        let [(at, why)] = &faults[..] else { panic!("{line}: {faults:#?}") };
        assert!(at == key && why.contains(reason), "{line}: {at} {why}");
    }
}
