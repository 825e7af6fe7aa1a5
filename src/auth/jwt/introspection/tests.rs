//! Which introspection responses are accepted, and the reason for each rejection.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    auth::{
        digest::Sha256,
        error::Reason,
        testing::{ISSUER, LEEWAY, START, introspected_issuer, with},
    },
    settings::{self, AudienceClaim, ClaimPath, ClaimValue, DpopMode, KeySource, RequiredClaim},
};

fn rules(settings: settings::Issuer) -> Rules {
    let leeway = Duration::from_secs(LEEWAY.unsigned_abs());
    let table = "auth.issuers.main".to_owned();
    Rules { table, settings, leeway, foreign_prefixes: vec!["web-".to_owned()] }
}

fn response() -> Value {
    json!({"active": true, "aud": "juspay-bff", "sub": "alice", "exp": START + 300})
}

/// The customer, or the label of the rejection; `"none"` for a malformed response.
fn outcome(settings: settings::Issuer, response: &Value) -> Result<String, &'static str> {
    match Introspected::parse(response.to_string().as_bytes()) {
        Ok(Some(introspected)) => {
            let now = Timestamp::from_second(START).unwrap();
            let checked = introspected.check(&rules(settings), Scheme::Bearer, now);
            let accepted = checked.map_err(|error| error.reason())?;
            Ok(accepted.customer.as_str().to_owned())
        }
        Ok(None) => Err("inactive"),
        Err(MalformedResponse) => Err("none"),
    }
}

/// A thumbprint and its form in a response.
const THUMBPRINT: Sha256 = [7; 32];
const JKT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// Confirmations that name no key, or use another method.
fn unprovable() -> [Value; 11] {
    [
        json!({"token_type": "DPoP"}),
        json!({"typ": "dpop"}),
        json!({"cnf": {}}),
        json!({"cnf": JKT}),
        json!({"cnf": {"jkt": [JKT]}}),
        json!({"cnf": [{"jkt": JKT}]}),
        json!({"cnf": {"jkt": JKT.trim_start_matches('B')}}),
        json!({"cnf": {"jkt": format!("{JKT}=")}}),
        json!({"cnf": {"x5t#S256": JKT}}),
        json!({"cnf": {"jkt": JKT, "x5t#S256": JKT}, "token_type": "DPoP"}),
        json!({"cnf": {"jkt": ""}, "token_type": "DPoP"}),
    ]
}

#[test]
fn p1_bound_tokens_are_rejected_without_their_key() {
    use DpopMode::{Off, Optional, Required};
    use Scheme::{Bearer, Dpop};
    let unbound = [json!({}), json!({"token_type": "Bearer", "typ": "at+jwt"})];
    let bound = [
        json!({"cnf": {"jkt": JKT}, "token_type": "DPoP"}),
        json!({"cnf": {"jkt": JKT}, "token_type": "dpop", "typ": "DPoP"}),
        // Another `token_type` than in RFC 9449, with a `cnf` that names the key.
        json!({"cnf": {"jkt": JKT}}),
        json!({"cnf": {"jkt": JKT}, "token_type": "Bearer"}),
    ];
    let now = Timestamp::from_second(START).unwrap();
    for (mode, scheme, accepts_unbound, accepts_bound) in [
        (Off, Bearer, true, false),
        (Off, Dpop, false, false),
        (Optional, Bearer, true, false),
        (Optional, Dpop, false, true),
        (Required, Bearer, false, false),
        (Required, Dpop, false, true),
    ] {
        let rules = rules(settings::Issuer { dpop: mode, ..introspected_issuer() });
        let check = |changes: &Value| {
            let response = with(&response(), changes.clone()).to_string();
            let introspected = Introspected::parse(response.as_bytes()).unwrap().unwrap();
            let checked = introspected.check(&rules, scheme, now);
            checked.map(|accepted| accepted.bound_to).map_err(|error| error.reason())
        };
        for changes in &unbound {
            let expected = if accepts_unbound { Ok(None) } else { Err("unbound") };
            assert_eq!(check(changes), expected, "{mode:?} {changes}");
        }
        for changes in &bound {
            let expected = if accepts_bound { Ok(Some(THUMBPRINT)) } else { Err("confirmation") };
            assert_eq!(check(changes), expected, "{mode:?} {changes}");
        }
        for changes in &unprovable() {
            let rejected = check(changes);
            let is_rejected = matches!(rejected, Err("confirmation" | "unbound"));
            assert!(is_rejected, "{mode:?} {changes}: {rejected:?}");
        }
    }
}

#[test]
fn unaccepted_kinds_are_rejected_for_bound_tokens_too() {
    let settings = settings::Issuer { dpop: DpopMode::Optional, ..introspected_issuer() };
    let now = Timestamp::from_second(START).unwrap();
    for kind in [json!({"token_use": "refresh_token"}), json!({"typ": "Refresh"})] {
        let bound = json!({"cnf": {"jkt": JKT}, "token_type": "DPoP"});
        let response = with(&with(&response(), bound), kind).to_string();
        let introspected = Introspected::parse(response.as_bytes()).unwrap().unwrap();
        let rejected = introspected.check(&rules(settings.clone()), Scheme::Dpop, now).err();
        assert_eq!(rejected, Some(Reason::Type.into()), "{response}");
    }
}

#[test]
fn valid_responses_name_their_customer() {
    for changes in [
        json!({}),
        json!({"iss": ISSUER, "iat": START, "nbf": START, "jti": "j", "client_id": "app"}),
        json!({"aud": ["x", "other-bff"]}),
        json!({"token_type": "Bearer", "token_use": "access_token", "typ": "Bearer"}),
        json!({"token_type": "bearer", "token_use": "access", "typ": "at+JWT"}),
        json!({"nonce": "n"}),
        json!({"exp": START - LEEWAY + 1}),
        json!({"nbf": START + LEEWAY}),
        json!({"scope": "a b", "username": "x", "anything": {"else": []}}),
    ] {
        let accepted = outcome(introspected_issuer(), &with(&response(), changes.clone()));
        assert_eq!(accepted, Ok("alice".to_owned()), "{changes}");
    }
}

#[test]
fn invalid_responses_are_rejected_for_their_reason() {
    for (changes, label) in [
        (json!({"active": false}), "inactive"),
        (json!({"active": null}), "none"),
        (json!({"active": "true"}), "none"),
        (json!({"active": 1}), "none"),
        (json!({"active": [true]}), "none"),
        (json!({"iss": "https://other.example"}), "unknown_issuer"),
        (json!({"iss": [ISSUER]}), "unknown_issuer"),
        (json!({"iss": format!("{ISSUER}/")}), "unknown_issuer"),
        (json!({"aud": null}), "claims"),
        (json!({"aud": "another"}), "audience"),
        (json!({"aud": []}), "audience"),
        (json!({"aud": ["juspay-bff", 1]}), "claims"),
        (json!({"aud": {"juspay-bff": true}}), "claims"),
        (json!({"token_type": "DPoP"}), "confirmation"),
        (json!({"token_type": "mac", "nonce": "n"}), "type"),
        (json!({"token_type": 1}), "claims"),
        (json!({"token_type": "refresh_token"}), "type"),
        (json!({"token_use": "refresh_token"}), "type"),
        (json!({"token_use": "id"}), "id_token"),
        (json!({"token_use": "access", "at_hash": "h"}), "id_token"),
        (json!({"typ": "Offline"}), "type"),
        (json!({"typ": "Refresh"}), "type"),
        (json!({"typ": "logout+jwt"}), "type"),
        (json!({"cnf": {"jkt": "x"}}), "confirmation"),
        (json!({"cnf": {}}), "confirmation"),
        (json!({"events": {}}), "type"),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), "type"),
        (json!({"exp": null}), "claims"),
        (json!({"exp": "soon"}), "claims"),
        (json!({"exp": START - LEEWAY}), "expired"),
        (json!({"nbf": START + LEEWAY + 1}), "not_yet_valid"),
        (json!({"iat": START + LEEWAY + 1}), "not_yet_valid"),
        (json!({"iat": "then"}), "claims"),
        (json!({"sub": null}), "no_customer"),
        (json!({"sub": ""}), "no_customer"),
        (json!({"sub": ["alice"]}), "claims"),
        (json!({"sub": "app", "client_id": "app"}), "no_customer"),
        (json!({"sub": "0oa1", "cid": "0oa1"}), "no_customer"),
        (json!({"sub": "app@clients", "azp": "app"}), "no_customer"),
        (json!({"sub": "web-1"}), "no_customer"),
        (json!({"sub": "juspay-bff"}), "no_customer"),
    ] {
        let rejected = outcome(introspected_issuer(), &with(&response(), changes.clone()));
        assert_eq!(rejected, Err(label), "{changes}");
    }
}

#[test]
fn id_tokens_are_accepted_only_by_setting_and_refresh_tokens_never() {
    let accepting = || settings::Issuer { accepts_id_tokens: true, ..introspected_issuer() };
    for (changes, expected) in [
        (json!({}), Ok("alice".to_owned())),
        (json!({"token_use": "id", "at_hash": "h"}), Ok("alice".to_owned())),
        (json!({"typ": "ID"}), Ok("alice".to_owned())),
        (json!({"aud": ["juspay-bff", "x"], "azp": "juspay-bff"}), Ok("alice".to_owned())),
        (json!({"aud": ["juspay-bff", "x"]}), Err("audience")),
        (json!({"token_use": "id", "typ": "Refresh"}), Err("type")),
        (json!({"token_use": "id", "events": {}}), Err("type")),
        (json!({"token_use": "other"}), Err("type")),
    ] {
        assert_eq!(
            outcome(accepting(), &with(&response(), changes.clone())),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn non_objects_and_duplicate_members_are_malformed_responses() {
    for text in [
        "",
        "true",
        "[]",
        "<html></html>",
        "{}",
        r#"{"active":true"#,
        r#"{"active":true} {}"#,
        r#"{"active":false,"active":true}"#,
        r#"{"active":true,"sub":"alice","sub":"bob"}"#,
    ] {
        assert!(Introspected::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn responses_without_audience_are_accepted_only_by_setting() {
    let without_audience = with(&response(), json!({"aud": null}));
    assert_eq!(outcome(introspected_issuer(), &without_audience), Err("claims"));
    let mut lenient = introspected_issuer();
    if let KeySource::Introspection(introspection) = &mut lenient.keys {
        introspection.allow_no_audience = true;
    }
    assert_eq!(outcome(lenient.clone(), &without_audience), Ok("alice".to_owned()));
    let other_audience = with(&response(), json!({"aud": "another"}));
    assert_eq!(outcome(lenient, &other_audience), Err("audience"));
}

#[test]
fn required_claims_are_required_in_responses() {
    let claim = ClaimPath::of("/ext/tier");
    let accepted = vec![ClaimValue::Text("gold".to_owned())];
    let required_claims = vec![RequiredClaim { claim, accepted }];
    let requiring = settings::Issuer { required_claims, ..introspected_issuer() };
    for (changes, expected) in [
        (json!({"ext": {"tier": "gold"}}), Ok("alice".to_owned())),
        (json!({"ext": {"tier": ["gold"]}}), Err("claims")),
        (json!({"tier": "gold"}), Err("claims")),
        (json!({}), Err("claims")),
    ] {
        let response = with(&response(), changes.clone());
        assert_eq!(outcome(requiring.clone(), &response), expected, "{changes}");
    }
}

#[test]
fn another_claim_can_be_the_audience_of_a_response() {
    let named = AudienceClaim::Named("client_id".to_owned());
    let mut by_client = settings::Issuer { audience_claim: named, ..introspected_issuer() };
    if let KeySource::Introspection(introspection) = &mut by_client.keys {
        introspection.allow_no_audience = true;
    }
    let open = || settings::Issuer {
        audience_claim: AudienceClaim::None,
        audiences: Vec::new(),
        ..introspected_issuer()
    };
    for (changes, by_claim, by_none) in [
        (json!({"aud": null, "client_id": "other-bff"}), Ok("alice"), Ok("alice")),
        (json!({"aud": ["x"], "client_id": "juspay-bff"}), Ok("alice"), Ok("alice")),
        (json!({}), Err("claims"), Ok("alice")),
        (json!({"aud": null}), Err("claims"), Ok("alice")),
        (json!({"client_id": "x"}), Err("audience"), Ok("alice")),
        (json!({"client_id": ["juspay-bff"]}), Err("claims"), Ok("alice")),
        (json!({"client_id": "juspay-bff", "exp": 0}), Err("expired"), Err("expired")),
    ] {
        let response = with(&response(), changes.clone());
        let by_claim = by_claim.map(str::to_owned);
        assert_eq!(outcome(by_client.clone(), &response), by_claim, "{changes}");
        assert_eq!(outcome(open(), &response), by_none.map(str::to_owned), "{changes}");
    }
}

#[test]
fn max_token_age_replaces_a_missing_exp() {
    let with_max_age = || settings::Issuer {
        max_token_age: Some(Duration::from_mins(1)),
        ..introspected_issuer()
    };
    for (changes, expected) in [
        (json!({"exp": null, "iat": START}), Ok("alice".to_owned())),
        (json!({"exp": null, "iat": START - 60 - LEEWAY}), Err("expired")),
        (json!({"iat": START - 60 - LEEWAY}), Err("expired")),
        (json!({"exp": null}), Err("claims")),
        (json!({}), Err("claims")),
    ] {
        assert_eq!(
            outcome(with_max_age(), &with(&response(), changes.clone())),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn scopes_claim_and_prefix_apply_as_in_signed_tokens() {
    let settings = settings::Issuer {
        required_scopes: vec!["pay".to_owned()],
        customer_id_claim: ClaimPath::of("email"),
        customer_id_prefix: "app-".to_owned(),
        ..introspected_issuer()
    };
    for (changes, expected) in [
        (json!({"scope": "read pay", "email_verified": true}), Ok("app-a@b.example".to_owned())),
        (json!({"scope": "read pay"}), Err("no_customer")),
        (json!({"scope": "payread", "email_verified": true}), Err("insufficient_scope")),
    ] {
        let response = with(&with(&response(), json!({"email": "a@b.example"})), changes.clone());
        assert_eq!(outcome(settings.clone(), &response), expected, "{changes}");
    }
}
