//! Claims that the operator names: which are valid, and which conflict.

use super::*;

/// The key of `auth.issuers.main.NAME`.
fn key(name: &str) -> String {
    format!("auth.issuers.main.{name}")
}

/// The faults of these lines in the table of a valid issuer.
fn faults(lines: &str) -> Vec<Fault> {
    faults_of(valid().text("x.toml", format!("[auth.issuers.main]\n{lines}")))
}

/// An issuer without audiences, plus `lines`.
fn without_audiences(lines: &str) -> Sources {
    let main = "[auth.issuers.main]\nissuer = 'https://id.example'\nalgorithms = ['RS256']\n\
                jwks_url = 'https://id.example/keys'";
    let juspay = "juspay = {base_url = 'https://api.juspay.in', merchant_id = 'm', api_key = 'k'}";
    Sources::default().text("x.toml", format!("{juspay}\n{main}\n{lines}"))
}

#[test]
fn audience_claim_is_a_top_level_claim_or_none() {
    for (text, claim) in [
        ("aud", AudienceClaim::Aud),
        ("client_id", AudienceClaim::Named("client_id".to_owned())),
        ("https://a.example/app", AudienceClaim::Named("https://a.example/app".to_owned())),
    ] {
        let loaded = valid().text("x", format!("[auth.issuers.main]\naudience_claim = '{text}'"));
        let loaded = loaded.load().unwrap();
        assert_eq!(loaded.settings.auth.issuers["main"].audience_claim, claim);
        assert_eq!(loaded.warnings, []);
    }
    for (line, reason) in [
        ("audience_claim = 'sub'", "does not identify a token's audience"),
        ("audience_claim = 'iss'", "does not identify a token's audience"),
        ("audience_claim = 'jti'", "does not identify a token's audience"),
        ("audience_claim = '/app/id'", "JSON Pointer"),
        ("audience_claim = ''", "empty"),
        ("audience_claim = ['aud']", "expected a string"),
        ("audience_claim = 'email'\ncustomer_id_claim = 'email'", "no audience"),
        ("customer_id_claim = 'aud'", "no audience"),
        ("audience_claim = 'aud'\ncustomer_id_claim = '/aud/0'", "no audience"),
        ("audience_claim = 'none'\nissuer = 'https://id.example'", "nothing is compared"),
    ] {
        let at = if reason == "nothing is compared" { "audiences" } else { "audience_claim" };
        compare(line, &faults(line), &[(&key(at), reason)]);
    }
}

#[test]
fn issuer_without_audiences_is_reported() {
    let loaded = without_audiences("audience_claim = 'none'").load().unwrap();
    let issuer = &loaded.settings.auth.issuers["main"];
    assert_eq!((&issuer.audience_claim, issuer.audiences.len()), (&AudienceClaim::None, 0));
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.warning().starts_with(&key("audience_claim is \"none\": every token")));
    let missing = faults_of(without_audiences(""));
    compare("", &missing, &[(&key("audiences"), "missing")]);
}

#[test]
fn shared_issuer_requires_an_audience() {
    let (claim, none) = (key("audience_claim"), "audience_claim = 'none'");
    let id_tokens = faults_of(without_audiences(&format!("{none}\nid_tokens = 'accept'")));
    compare("ID tokens", &id_tokens, &[(&claim, "ID tokens of any app")]);
    let rejected = without_audiences(&format!("{none}\nid_tokens = 'accept'")).load().unwrap_err();
    assert_eq!(rejected.warnings(), [], "a setting with a fault gets no warning");
    for issuer in [
        "https://accounts.google.com",
        "accounts.google.com",
        "https://Accounts.Google.com/",
        "https://appleid.apple.com",
        "https://www.facebook.com",
    ] {
        let over = format!("[auth.issuers.main]\nissuer = '{issuer}'");
        let found = faults_of(without_audiences(none).text("y.toml", over));
        compare(issuer, &found, &[(&claim, "tokens for every developer's apps")]);
    }
    let project = "[auth.issuers.main]\nissuer = 'https://securetoken.google.com/project'";
    assert_eq!(faults_of(without_audiences(none).text("y.toml", project)), []);
}

#[test]
fn required_claims_are_names_or_pointers_with_values() {
    let lines = "[auth.issuers.main.required_claims]\ntoken_use = 'access'\nis_anonymous = false\n\
                 '/firebase/sign_in_provider' = ['phone', 'google.com']\n'https://a.example/x' = 7";
    let loaded = valid().text("x.toml", lines).load().unwrap();
    let found = &loaded.settings.auth.issuers["main"].required_claims;
    let text = |text: &str| ClaimValue::Text(text.to_owned());
    let claim = |path: &str, accepted| RequiredClaim { claim: ClaimPath::of(path), accepted };
    let expected = [
        claim("/firebase/sign_in_provider", vec![text("phone"), text("google.com")]),
        claim("https://a.example/x", vec![ClaimValue::Integer(7)]),
        claim("is_anonymous", vec![ClaimValue::Boolean(false)]),
        claim("token_use", vec![text("access")]),
    ];
    assert_eq!(**found, expected);
    assert_eq!(expected[0].claim.segments(), ["firebase", "sign_in_provider"]);
    // `check-config` prints a valid settings file.
    let shown = loaded.effective.to_string().replace("\"********\"", "\"key\"");
    let again = Sources::default().text("shown", shown).load().unwrap();
    assert_eq!(*again.settings.auth.issuers["main"].required_claims, expected);
    // A later file adds claims; it doesn't replace the table.
    let later = valid().text("x.toml", lines).text("y.toml", lines.replace("token_use", "kind"));
    let loaded = later.load().unwrap();
    assert_eq!(loaded.settings.auth.issuers["main"].required_claims.len(), 5);
}

#[test]
fn each_invalid_required_claim_is_a_fault() {
    let entries = "required_claims = {a = 1.5, b = [], '' = 'x', '/c//d' = 1, '/~2' = 1, e = {f = 1}, \
                   g = [[1]], ok = 'hush', h = 99999999999999999999}";
    compare(
        entries,
        &faults(entries),
        &[
            (&key("required_claims.\"\""), "empty"),
            (&key("required_claims.\"/c//d\""), "an empty name"),
            (&key("required_claims.\"/~2\""), "a ~ that is not followed by 0 or 1"),
            (&key("required_claims.a"), "found a float"),
            (&key("required_claims.b"), "empty"),
            (&key("required_claims.e"), "found a table"),
            (&key("required_claims.g"), "found a list"),
            (&key("required_claims.h"), "64 bits"),
        ],
    );
    let line = "required_claims = ['token_use']";
    compare(line, &faults(line), &[(&key("required_claims"), "expected a table")]);
    let name = "JUSPAY_BFF__AUTH__ISSUERS__MAIN__REQUIRED_CLAIMS";
    let found = faults_of(valid().variable(format!("{name}__TOKEN_USE"), "hush"));
    compare(name, &found, &[(&key("required_claims.token_use"), "environment variable")]);
    let found = faults_of(valid().variable(name, "hush"));
    compare(name, &found, &[(&key("required_claims"), "expected a table")]);
}

#[test]
fn user_editable_customer_id_claim_is_rejected() {
    for line in [
        "customer_id_claim = '/user_metadata/customer_id'",
        "customer_id_claim = '/unsafe_metadata/customer_id'",
        "customer_id_claim = '/a/user_metadata'",
        "customer_id_claim = 'user_metadata'",
        "customer_id_claim = '/User_Metadata/x'",
        "customer_id_claim = '/unsafeMetadata/x'",
        "customer_id_claim = '/untrusted_metadata/customer_id'",
        "customer_id_claim = '/clientMetadata/customer_id'",
        "customer_id_claim = 'user_metadata.customer_id'",
        "customer_id_claim = '/https:~1~1shop.example~1user_metadata/id'",
    ] {
        compare(line, &faults(line), &[(&key("customer_id_claim"), "users can edit")]);
    }
    for claim in [
        "/app_metadata/customer_id",
        "https://shop.example/id",
        "/public_metadata/id",
        "/client_read_only_metadata/id",
    ] {
        assert_eq!(faults(&format!("customer_id_claim = '{claim}'")), [], "{claim}");
    }
    let line = "required_claims = { '/user_metadata/tier' = 'gold' }";
    let faults_found = faults(line);
    assert!(
        faults_found.iter().any(|fault| fault.reason.contains("users can edit")),
        "{faults_found:?}"
    );
    let line = "customer_id_claim = '/a//b'";
    compare(line, &faults(line), &[(&key("customer_id_claim"), "an empty name")]);
    let line = "customer_id_claim = '/azp'\naudience_claim = 'azp'";
    compare(line, &faults(line), &[(&key("audience_claim"), "no audience")]);
}

#[test]
fn only_email_and_phone_number_can_be_assumed_verified() {
    let assumed = "customer_id_verified = 'assumed'";
    for claim in ["email", "phone_number", "/a/email", "/email/0"] {
        assert_eq!(faults(&format!("customer_id_claim = '{claim}'\n{assumed}")), [], "{claim}");
    }
    for claim in ["sub", "emails", "/email/x", "email_address"] {
        let line = format!("customer_id_claim = '{claim}'\n{assumed}");
        compare(&line, &faults(&line), &[(&key("customer_id_verified"), "another claim")]);
    }
    compare(assumed, &faults(assumed), &[(&key("customer_id_verified"), "another claim")]);
    let line = "customer_id_verified = 'yes'";
    compare(
        line,
        &faults(line),
        &[(&key("customer_id_verified"), "expected \"required\" or \"assumed\"")],
    );
}

#[test]
fn verified_claim_is_a_sibling() {
    for (claim, twin) in [
        ("email", Some("email_verified")),
        ("/email", Some("email_verified")),
        ("/a~1b/email/0", Some("/a~1b/email_verified")),
        ("/a/phone_number", Some("/a/phone_number_verified")),
        ("/email/a", None),
        ("sub", None),
        ("/0", None),
    ] {
        let found = ClaimPath::of(claim).verified_claim();
        assert_eq!(found.as_ref().map(ClaimPath::as_str), twin, "{claim}");
    }
}

const CREATES: &str = "juspay.create_missing_customers = true\n";

#[test]
fn claims_of_new_customers_are_read_if_they_are_used() {
    let claims = |lines: &str| {
        let sources = valid().text("x.toml", lines);
        let claims = sources.load().unwrap().settings.auth.issuers["main"].new_customer.clone()?;
        let NewCustomerClaims { mobile_number, email, first_name, last_name } = claims;
        Some([mobile_number, email, first_name, last_name].map(|it| it.as_str().to_owned()))
    };
    let names = |names: [&str; 4]| Some(names.map(str::to_owned));
    assert_eq!(claims(CREATES), names(["phone_number", "email", "given_name", "family_name"]));
    let own = "[auth.issuers.main]\nmobile_number_claim = '/a/mobile'\nemail_claim = '/emails/0'\n\
               first_name_claim = '/user_metadata/first'\nlast_name_claim = 'surname'";
    let own_names = names(["/a/mobile", "/emails/0", "/user_metadata/first", "surname"]);
    assert_eq!(claims(&format!("{CREATES}{own}")), own_names);
    assert_eq!(claims(own), None, "customers are not created");
}

#[test]
fn contacts_of_new_customers_are_not_in_claims_that_users_can_edit() {
    for claim in ["mobile_number_claim", "email_claim"] {
        for path in ["/user_metadata/x", "/unsafeMetadata/x", "client_metadata"] {
            let line = format!("{claim} = '{path}'");
            compare(&line, &faults(&line), &[(&key(claim), "users can edit")]);
        }
        let line = format!("{claim} = '/a//b'");
        compare(&line, &faults(&line), &[(&key(claim), "an empty name")]);
    }
}

#[test]
fn assumed_verification_holds_for_new_customers() {
    let assumed = "[auth.issuers.main]\ncustomer_id_verified = 'assumed'\n";
    let found = |lines: &str| faults_of(valid().text("x.toml", lines));
    assert_eq!(found(&format!("{CREATES}{assumed}")), []);
    let loaded = valid().text("x.toml", format!("{CREATES}{assumed}")).load().unwrap();
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.warning().contains("customers are also created"), "{}", warning.warning());
    let other = "mobile_number_claim = 'mobile'\nemail_claim = 'mail'";
    let lines = format!("{CREATES}{assumed}{other}");
    compare(&lines, &found(&lines), &[(&key("customer_id_verified"), "another claim")]);
}
