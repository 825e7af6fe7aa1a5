//! `juspay-bff explain-token`: which checks are unproven or not made after an earlier failure, and
//! for which tokens no setting is suggested.

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{
    Fixture, ends,
    near_misses::{block, settings},
};
use crate::support::process::Ended;

impl Fixture {
    async fn explain_offline(&self, keys: &str, token: &str) -> Ended {
        self.explain_by(&settings(self, keys), token, "", &["--offline"]).await
    }

    async fn json(&self, keys: &str, token: &str) -> Value {
        let flags = ["--offline", "--format", "json"];
        let ended = self.explain_by(&settings(self, keys), token, "", &flags).await;
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

fn forged(token: &str) -> String {
    let (message, _) = token.rsplit_once('.').unwrap();
    format!("{message}.{}", "A".repeat(86))
}

fn check<'d>(document: &'d Value, name: &str) -> &'d Value {
    let mut checks = document["checks"].as_array().unwrap().iter();
    checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {document:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_after_an_invalid_signature_are_marked_unproven() {
    let fixture = Fixture::new().await;
    let token = forged(&fixture.mint(&MintRequest::of("alice").with("aud", "other")));
    let ended = fixture.explain_offline("", &token).await;
    ends(&ended, &["signature", "aud"], "rejected with 401 invalid_token, reason signature");
    for line in [
        "FAILED   signature      its signature is invalid (signature)\n",
        "unproven sub            a single value\n",
        "FAILED   aud            it is for another audience (audience); unproven\n",
        "unproven customer       the claim \"sub\" names a customer;",
    ] {
        assert!(ended.stdout.contains(line), "{line} in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("to accept such tokens"), "{}", ended.stdout);

    let document = fixture.json("", &token).await;
    for (name, proven) in [("alg", true), ("sub", false), ("aud", false), ("customer", false)] {
        assert_eq!(check(&document, name)["proven"], proven, "{name}");
    }
    let good = fixture.json("", &fixture.mint(&MintRequest::of("alice"))).await;
    let checks = good["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["proven"] == true), "{good:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_were_not_made_are_listed() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&MintRequest::of("alice").with("iss", "https://other.example"));
    let because = "not checked, as the check \"issuer\" failed";
    let unmade = [
        "alg",
        "typ",
        "keys",
        "signature",
        "revoked",
        "sub",
        "aud",
        "cnf",
        "use",
        "times",
        "expiry",
        "scope",
        "customer",
    ];
    let ended = fixture.explain_offline("", &token).await;
    ends(&ended, &["issuer"], "rejected with 401 invalid_token, reason unknown_issuer");
    let document = fixture.json("", &token).await;
    for name in unmade {
        let line = format!("-        {name:<14} {because}\n");
        assert!(ended.stdout.contains(&line), "{line} in {}", ended.stdout);
        let expected = json!({"name": name, "outcome": "open", "proven": false, "found": because});
        assert_eq!(check(&document, name), &expected);
    }
    for (token, name, first) in
        [("opaque", "form", "header"), ("two words", "header", "form"), ("a.b.c", "form", "header")]
    {
        let ended = fixture.explain_offline("", token).await;
        let line = format!("-        {first:<14} not checked, as ");
        assert!(ended.stdout.contains(&line), "{token}: {line} in {}", ended.stdout);
        assert!(ended.stdout.contains(&format!("FAILED   {name} ")), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expected_found_and_suggestion_are_in_json() {
    let fixture = Fixture::new().await;
    let wish =
        MintRequest::of("alice").with("aud", Value::Null).with("client_id", "juspay-bff-demo");
    let document = fixture.json("", &fixture.mint(&wish)).await;
    assert_eq!(
        check(&document, "aud"),
        &json!({
            "name": "aud",
            "outcome": "failed",
            "proven": true,
            "expected": "aud \"juspay-bff-demo\" (auth.issuers.main.audiences)",
            "found": "aud none",
            "reason": "claims",
            "message": "a claim is missing or malformed",
            "hint": "aud is missing; auth.issuers.main.audience_claim could name one of these: client_id \
                     \"juspay-bff-demo\"",
            "suggestion": {
                "toml": "auth.issuers.main.audience_claim = \"client_id\"",
                "meaning": "the app that a token was issued to is then compared, not the API: every token \
                            of that app is accepted",
                "proven": true,
            },
        })
    );
    let wish =
        MintRequest::of("alice").with("iss", format!("{}/", fixture.running.issuer().issuer_url()));
    let document = fixture.json("", &fixture.mint(&wish)).await;
    assert_eq!(check(&document, "issuer")["suggestion"]["proven"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_is_suggested_for_dangerous_tokens() {
    let fixture = Fixture::new().await;
    // Each of them would get a suggested audience if it were valid otherwise.
    let wish = || MintRequest::of("alice").with("aud", "JUSPAY-BFF-DEMO");
    let good = fixture.explain_offline("", &fixture.mint(&wish())).await;
    assert!(good.stdout.contains("to accept such tokens: auth.issuers.main.audiences ="));
    let expired = wish().with("exp", 1_000_000_000);
    let typed = MintRequest { typ: "rt+jwt".to_owned(), ..wish() };
    for (token, failed) in [
        (forged(&fixture.mint(&wish())), "signature"),
        (fixture.mint(&expired), "expiry"),
        (fixture.mint(&wish().with("token_use", "refresh")), "use"),
        (fixture.mint(&wish().with("events", json!({}))), "use"),
        (fixture.mint(&typed), "typ"),
    ] {
        let ended = fixture.explain_offline("", &token).await;
        assert!(!block(&ended.stdout, failed).is_empty(), "{failed}: {}", ended.stdout);
        assert!(!block(&ended.stdout, "aud").is_empty(), "{failed}: {}", ended.stdout);
        assert!(!ended.stdout.contains("to accept such tokens"), "{failed}: {}", ended.stdout);
    }
    let entry = json!({"issuer": "main", "sub": "alice", "issued_before": "2090-01-01T00:00:00Z", "expires": "2100-01-01T00:00:00Z"});
    let file = fixture.file("revoked.json", &json!({"revocations": [entry]}).to_string());
    let over = format!("auth.revocations_file = '{}'", file.display());
    let ended = fixture
        .explain_by(&settings(&fixture, ""), &fixture.mint(&wish()), &over, &["--offline"])
        .await;
    assert!(!ended.stdout.contains("to accept such tokens"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn suggested_values_are_escaped_and_long_ones_omitted() {
    let fixture = Fixture::new().await;
    let issuer = "https://a.example/\u{202e}\"x";
    let keys = "issuer = \"https://A.example/\\u202e\\\"x\"";
    let token = fixture.mint(&MintRequest::of("alice").with("iss", issuer));
    let ended = fixture.explain_offline(keys, &token).await;
    let line =
        "to accept such tokens: auth.issuers.main.issuer = \"https://a.example/\\U0000202E\\\"x\"";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
    let accepted = "auth.issuers.main.issuer = \"https://a.example/\\U0000202E\\\"x\"";
    let ended =
        fixture.explain_by(&settings(&fixture, keys), &token, accepted, &["--offline"]).await;
    ends(&ended, &[], "accepted");
    for bad in [format!("https://a.example/{}", "x".repeat(110)), "https://a.example/\n".to_owned()]
    {
        let keys = format!("issuer = 'https://a.example/{}'", bad[18..].to_uppercase().trim_end());
        let token = fixture.mint(&MintRequest::of("alice").with("iss", bad));
        let ended = fixture.explain_offline(&keys, &token).await;
        ends(&ended, &["issuer"], "rejected");
        assert!(!ended.stdout.contains("to accept such tokens"), "{}", ended.stdout);
    }
}
