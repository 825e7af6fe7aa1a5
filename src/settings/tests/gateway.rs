//! `auth.gateway.*`: off by default, and a fault if clients could send the header themselves.

use std::path::Path;

use super::{
    tls::{pair_setting, valid_pair},
    *,
};

const JUSPAY: &str =
    "juspay = {base_url = 'https://api.juspay.in', merchant_id = 'm', api_key = 'key'}\n";
const HEADER: &str = "auth.gateway.header";
const SUBJECTS: &str = "auth.gateway.client_subjects";
const LISTEN: &str = "server.listen";

fn faults(lines: &str) -> Vec<Fault> {
    faults_of(Sources::default().text("juspay", JUSPAY).text("x.toml", lines))
}

fn tls(directory: &Path, auth: &str) -> String {
    let [crt, key] = valid_pair(directory);
    let ca = if auth == "off" { String::new() } else { format!("client_ca_file = '{crt}'\n") };
    format!("{}client_auth = '{auth}'\n{ca}", pair_setting(&crt, &key))
}

const ON: &str = "auth.gateway.header = 'X-Customer-Id'\n";
const NAMED: &str = "auth.gateway.client_subjects = ['gateway']\n";

#[test]
fn gateway_mode_needs_no_issuer_where_only_the_gateway_connects() {
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
        compare(&lines, &faults(&lines), &[]);
        let sources = Sources::default().text("juspay", JUSPAY).text("x.toml", lines);
        let auth = sources.load().unwrap().settings.auth;
        assert_eq!(auth.gateway.unwrap().header, "x-customer-id");
        assert!(auth.issuers.is_empty());
    }
    assert!(valid().load().unwrap().settings.auth.gateway.is_none());
}

#[test]
fn gateway_mode_is_rejected_where_clients_could_send_the_header() {
    let directory = tempfile::tempdir().unwrap();
    let [off, optional, required] =
        ["off", "optional", "required"].map(|auth| tls(directory.path(), auth));
    for (lines, expected) in [
        (ON.to_owned(), vec![(LISTEN, "clients other than")]),
        (format!("{ON}server.listen = '0.0.0.0:1'\n"), vec![(LISTEN, "clients other than")]),
        (
            format!("{ON}server.listen = ['127.0.0.1:1', '10.0.0.1:1']\n"),
            vec![(LISTEN, "clients other than")],
        ),
        (
            format!("{ON}server.listen = ['unix:/x', '[::]:1']\n"),
            vec![(LISTEN, "clients other than")],
        ),
        (format!("{ON}{required}"), vec![(LISTEN, "clients other than")]),
        (
            format!("{ON}{NAMED}{off}"),
            vec![(SUBJECTS, "certificate"), (LISTEN, "clients other than")],
        ),
        (
            format!("{ON}{NAMED}{optional}"),
            vec![(SUBJECTS, "certificate"), (LISTEN, "clients other than")],
        ),
        (format!("{ON}{NAMED}server.listen = '127.0.0.1:1'\n"), vec![(SUBJECTS, "certificate")]),
        (
            format!("{ON}server.listen = '127.0.0.1:1'\njuspay.create_missing_customers = true\n"),
            vec![("juspay.create_missing_customers", "no access tokens")],
        ),
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
        compare(&lines, &faults(&lines), &expected);
    }
}

#[test]
fn gateway_settings_must_match_their_grammar() {
    let local = "server.listen = '127.0.0.1:1'\n";
    for (line, key, reason) in [
        ("auth.gateway.header = ''", HEADER, "a header name"),
        ("auth.gateway.header = 'a b'", HEADER, "a header name"),
        ("auth.gateway.header = 'a:'", HEADER, "a header name"),
        ("auth.gateway.header = 'Authorization'", HEADER, "another meaning"),
        ("auth.gateway.header = 'host'", HEADER, "another meaning"),
        (
            "auth.gateway.headers = 'x'\nauth.gateway.header = 'y'",
            "auth.gateway.headers",
            "no such",
        ),
    ] {
        compare(line, &faults(&format!("{local}{line}")), &[(key, reason)]);
    }
}
