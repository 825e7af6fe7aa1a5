//! Claims that the operator names: which may be, and which can't be together.

use super::*;

/// The key below `auth.issuers.main`.
fn key(name: &str) -> String {
    format!("auth.issuers.main.{name}")
}

/// What is wrong with these lines in the table of the good issuer.
fn faults(lines: &str) -> Vec<Fault> {
    faults_of(good().text("x.toml", format!("[auth.issuers.main]\n{lines}")))
}

/// An issuer without audiences, with these further lines.
fn without_audiences(lines: &str) -> Sources {
    let main = "[auth.issuers.main]\nissuer = 'https://id.example'\nalgorithms = ['RS256']\n\
                jwks_url = 'https://id.example/keys'";
    let juspay = "juspay = {base_url = 'https://api.juspay.in', merchant_id = 'm', api_key = 'k'}";
    Sources::default().text("x.toml", format!("{juspay}\n{main}\n{lines}"))
}

#[test]
fn an_audience_is_in_a_claim_of_its_own_or_in_none() {
    for (text, claim) in [
        ("aud", AudienceClaim::Aud),
        ("client_id", AudienceClaim::Named("client_id".to_owned())),
        ("https://a.example/app", AudienceClaim::Named("https://a.example/app".to_owned())),
    ] {
        let loaded = good().text("x", format!("[auth.issuers.main]\naudience_claim = '{text}'"));
        let loaded = loaded.load().unwrap();
        assert_eq!(loaded.settings.auth.issuers["main"].audience_claim, claim);
        assert_eq!(loaded.warnings, []);
    }
    for (line, reason) in [
        ("audience_claim = 'sub'", "whom a token is for"),
        ("audience_claim = 'iss'", "whom a token is for"),
        ("audience_claim = 'jti'", "whom a token is for"),
        ("audience_claim = '/app/id'", "JSON Pointer"),
        ("audience_claim = ''", "empty"),
        ("audience_claim = ['aud']", "expected a string"),
        ("audience_claim = 'email'\ncustomer_id_claim = 'email'", "no audience"),
        ("audience_claim = 'none'\nissuer = 'https://id.example'", "nothing is compared"),
    ] {
        let at = if reason == "nothing is compared" { "audiences" } else { "audience_claim" };
        compare(line, &faults(line), &[(&key(at), reason)]);
    }
}

#[test]
fn an_issuer_without_audiences_is_reported() {
    let loaded = without_audiences("audience_claim = 'none'").load().unwrap();
    let issuer = &loaded.settings.auth.issuers["main"];
    assert_eq!((&issuer.audience_claim, issuer.audiences.len()), (&AudienceClaim::None, 0));
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.warning().starts_with(&key("audience_claim is \"none\": every token")));
    let missing = faults_of(without_audiences(""));
    compare("", &missing, &[(&key("audiences"), "missing")]);
}

#[test]
fn an_issuer_of_everybodys_apps_has_an_audience() {
    let (claim, none) = (key("audience_claim"), "audience_claim = 'none'");
    let id_tokens = faults_of(without_audiences(&format!("{none}\nid_tokens = 'accept'")));
    compare("ID tokens", &id_tokens, &[(&claim, "ID tokens of any app")]);
    for issuer in [
        "https://accounts.google.com",
        "accounts.google.com",
        "https://Accounts.Google.com/",
        "https://appleid.apple.com",
        "https://www.facebook.com",
    ] {
        let over = format!("[auth.issuers.main]\nissuer = '{issuer}'");
        let found = faults_of(without_audiences(none).text("y.toml", over));
        compare(issuer, &found, &[(&claim, "everybody's apps")]);
    }
    let project = "[auth.issuers.main]\nissuer = 'https://securetoken.google.com/project'";
    assert_eq!(faults_of(without_audiences(none).text("y.toml", project)), []);
}
