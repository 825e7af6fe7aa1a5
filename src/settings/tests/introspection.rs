//! `auth.issuers.NAME.introspection_*`: required settings and conflicts.

use super::*;

/// Valid settings of an issuer with introspection, in addition to `main` or in its place.
fn introspected(name: &str, secret: &std::path::Path) -> String {
    format!(
        "[auth.issuers.{name}]\nissuer = 'https://{name}.example'\naudiences = ['api']\n\
         introspection_url = 'https://{name}.example/introspect'\n\
         introspection_client_id = 'bff'\n\
         introspection_client_secret_file = '{}'\n",
        secret.display(),
    )
}

fn secret() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "hush\n").unwrap();
    file
}

/// The faults of these settings, which override valid ones of two issuers.
fn faults(issuers: &str, lines: &str) -> Vec<Fault> {
    let sources = valid().text("shared", "auth.shared_customer_ids = true");
    faults_of(sources.text("issuers", issuers).text("x.toml", lines))
}

#[test]
fn introspection_needs_no_algorithms() {
    let file = secret();
    let sources = valid().text("shared", "auth.shared_customer_ids = true");
    let loaded = sources.text("issuers", introspected("opaque", file.path())).load().unwrap();
    let issuer = &loaded.settings.auth.issuers["opaque"];
    let KeySource::Introspection(introspection) = &issuer.keys else { panic!("{issuer:?}") };
    assert_eq!(introspection.url, "https://opaque.example/introspect");
    assert_eq!(introspection.client_id, "bff");
    assert_eq!(introspection.client_secret_file, file.path());
    assert!(!introspection.allow_no_audience);
    assert!(issuer.algorithms.is_empty() && issuer.typ.is_empty());
    assert_eq!(issuer.dpop, DpopMode::Off);
    assert_eq!(loaded.settings.auth.introspection_cache, Duration::from_mins(1));
    // `check-config` prints a valid settings file.
    let shown = loaded.effective.to_string();
    assert!(!shown.contains("hush"), "{shown}");
    let shown = shown.replace("api_key = \"********\"", "api_key = \"key\"");
    if let Err(faults) = Sources::default().text("shown", shown).load() {
        panic!("{faults}");
    }
}

#[test]
fn each_fault_is_reported() {
    let file = secret();
    let valid = introspected("opaque", file.path());
    compare("", &faults(&valid, ""), &[]);
    for (line, key, reason) in [
        ("auth.issuers.opaque.algorithms = ['RS256']", "algorithms", "signs none"),
        ("auth.issuers.opaque.typ = ['JWT']", "typ", "signs none"),
        ("auth.issuers.opaque.logout_audiences = ['a']", "logout_audiences", "signs none"),
        (
            "auth.issuers.opaque.dpop = 'maybe'",
            "dpop",
            "expected \"off\", \"optional\" or \"required\"",
        ),
        ("auth.issuers.opaque.introspection_client_id = ''", "introspection_client_id", "empty"),
        (
            "auth.issuers.opaque.introspection_client_secret_file = '/nonexistent'",
            "introspection_client_secret_file",
            "can't be read",
        ),
        (
            "auth.issuers.opaque.introspection_url = 'http://a.example'",
            "introspection_url",
            "plain http",
        ),
        ("auth.issuers.opaque.introspection_url = 'x'", "introspection_url", "begins with"),
        (
            "auth.issuers.opaque.introspection_url = 'http://127.0.0.1/x'",
            "introspection_url",
            "development",
        ),
        (
            "auth.issuers.opaque.introspection_allow_no_audience = 'yes'",
            "introspection_allow_no_audience",
            "true or false",
        ),
        ("auth.issuers.opaque.audiences = []", "audiences", "empty"),
        (
            "auth.issuers.opaque = {audience_claim = 'client_id', introspection_allow_no_audience = true}",
            "introspection_allow_no_audience",
            "applies to the claim aud",
        ),
    ] {
        let key = format!("auth.issuers.opaque.{key}");
        compare(line, &faults(&valid, line), &[(&key, reason)]);
    }
}

#[test]
fn conflicts_outside_the_table_are_reported() {
    let file = secret();
    let valid = introspected("opaque", file.path());
    for (line, key, reason) in [
        ("auth.introspection_cache = '61m'", "auth.introspection_cache", "the maximum of 1h"),
        (
            "auth.introspection_cache = 60",
            "auth.introspection_cache",
            "with a unit, found a number",
        ),
        (
            "auth.issuers.opaque.jwks_url = 'https://a.example'",
            "auth.issuers.opaque",
            "more than one key source: jwks_url, introspection_url",
        ),
        (
            "auth.issuers.opaque.discovery = true",
            "auth.issuers.opaque",
            "more than one key source: discovery, introspection_url",
        ),
        (
            "auth.issuers.main.introspection_client_id = 'a'",
            "auth.issuers.main.introspection_client_id",
            "no token is introspected",
        ),
        (
            "auth.issuers.main.introspection_allow_no_audience = true",
            "auth.issuers.main.introspection_allow_no_audience",
            "no token is introspected",
        ),
    ] {
        compare(line, &faults(&valid, line), &[(key, reason)]);
    }
}

#[test]
fn missing_introspection_settings_are_reported() {
    let bare = "[auth.issuers.opaque]\nissuer = 'https://opaque.example'\naudiences = ['api']\n\
                introspection_url = 'https://opaque.example/introspect'\n";
    let [id, secret] =
        ["id", "secret_file"].map(|end| format!("auth.issuers.opaque.introspection_client_{end}"));
    compare(bare, &faults(bare, ""), &[(&id, "missing"), (&secret, "missing")]);
}

#[test]
fn at_most_one_issuer_uses_introspection() {
    let file = secret();
    let two = [introspected("a", file.path()), introspected("b", file.path())].concat();
    let [a, b] = ["a", "b"].map(|name| format!("auth.issuers.{name}.introspection_url"));
    compare(&two, &faults(&two, ""), &[(&b, &a)]);
}

#[test]
fn introspection_settings_are_read_despite_a_faulty_issuer() {
    let file = secret();
    let lines = "auth.issuers.opaque = {issuer = 1, discovery = true}";
    let [issuer, table] = ["auth.issuers.opaque.issuer", "auth.issuers.opaque"];
    let expected = [(issuer, "expected a string"), (table, "discovery, introspection_url")];
    compare(lines, &faults(&introspected("opaque", file.path()), lines), &expected);
}
