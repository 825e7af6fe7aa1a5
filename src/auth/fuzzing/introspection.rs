//! Introspection responses.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::reparsed::{self, Reparsed};
use crate::{
    auth::{
        credentials::Scheme,
        explanation::{explain_claims, first_failure},
        jwt::{Accepted, CheckContext, Introspected, Rules},
    },
    settings::{DpopMode, Introspection, KeySource},
};

/// The rules of an issuer, by its DPoP mode.
static RULES: LazyLock<[(DpopMode, Rules); 3]> = LazyLock::new(|| {
    [DpopMode::Off, DpopMode::Optional, DpopMode::Required].map(|mode| {
        let rules = reparsed::rules(|issuer| {
            issuer.dpop = mode;
            issuer.keys = KeySource::Introspection(Introspection {
                url: "https://id.example/introspect".to_owned(),
                client_id: "bff".to_owned(),
                client_secret_file: "/nonexistent".into(),
                allow_no_audience: false,
            });
        });
        (mode, rules)
    })
});

/// Checks a response.
pub fn introspection_answer(json: &[u8]) {
    let Ok(parsed) = Introspected::parse(json) else { return };
    let reparsed = Reparsed::parse(json).expect("an object");
    assert_eq!(reparsed.get("active"), Some(&json!(parsed.is_some())), "`active` is misread");
    let Some(introspected) = parsed else { return };
    for (mode, rules) in &*RULES {
        for scheme in [Scheme::Bearer, Scheme::Dpop] {
            let checked = introspected.check(rules, scheme, reparsed::now());
            let context = CheckContext { rules, scheme, now: reparsed::now() };
            let checks = explain_claims(introspected.claims(), &context);
            assert_eq!(checked.as_ref().err(), first_failure(&checks), "the explanation differs");
            if let Ok(accepted) = checked {
                check_accepted(&reparsed, &accepted);
                check_binding(&reparsed, &accepted, *mode, scheme);
            }
        }
    }
}

/// Checks what an accepted response must contain.
fn check_accepted(reparsed: &Reparsed, accepted: &Accepted) {
    assert!(
        !reparsed.has("iss") || reparsed.text("iss") == Some(reparsed::ISSUER),
        "another issuer"
    );
    reparsed.check_token_type(false);
    for (name, accepted_kinds) in [
        ("token_type", &["bearer", "dpop"][..]),
        ("token_use", &["access_token", "access", "dpop"]),
        ("typ", &["bearer", "at+jwt", "jwt", "dpop"]),
    ] {
        let kind =
            reparsed.get(name).map(|kind| kind.as_str().expect("a string").to_ascii_lowercase());
        assert!(kind.is_none_or(|kind| accepted_kinds.contains(&&*kind)), "unexpected {name}");
    }
    reparsed.check_end(accepted.end, false);
    reparsed.check(&accepted.customer, &reparsed::DEFAULT);
}

/// Checks that a bound token is accepted only with its key, and an unbound one only as a bearer token.
fn check_binding(reparsed: &Reparsed, accepted: &Accepted, mode: DpopMode, scheme: Scheme) {
    let claims_to_be_bound = ["token_type", "token_use", "typ"]
        .into_iter()
        .filter_map(|name| reparsed.text(name))
        .any(|kind| kind.eq_ignore_ascii_case("DPoP"));
    match reparsed.get("cnf") {
        None => {
            assert!(!claims_to_be_bound, "bound to an unknown key");
            assert!(accepted.bound_to.is_none(), "bound without cnf");
            assert!(scheme == Scheme::Bearer && mode != DpopMode::Required, "unbound");
        }
        Some(cnf) => {
            assert!(scheme == Scheme::Dpop && mode != DpopMode::Off, "accepted without a proof");
            let members = cnf.as_object().expect("an object");
            assert_eq!(members.len(), 1, "another confirmation method");
            let key = accepted.bound_to.expect("a key");
            let thumbprint = members.get("jkt").and_then(Value::as_str);
            assert_eq!(thumbprint, Some(&*URL_SAFE_NO_PAD.encode(key)), "another key");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::{reparsed::NOW, *};

    #[test]
    fn stored_responses_keep_the_invariants() {
        crate::corpus::replay("introspection_answer", introspection_answer);
    }

    const JKT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

    fn valid() -> Vec<(&'static str, String)> {
        vec![
            ("active", "true".to_owned()),
            ("aud", "\"api\"".to_owned()),
            ("sub", "\"alice\"".to_owned()),
            ("scope", "\"a pay\"".to_owned()),
            ("exp", (NOW + 300).to_string()),
        ]
    }

    fn object(members: &[(&str, String)]) -> String {
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn the_invariants_are_exercised() {
        let mut bound = valid();
        bound.push(("cnf", format!("{{\"jkt\":\"{JKT}\"}}")));
        bound.push(("token_type", "\"DPoP\"".to_owned()));
        for (members, expected) in [(valid(), [2, 0]), (bound, [0, 2])] {
            let introspected = Introspected::parse(object(&members).as_bytes()).unwrap().unwrap();
            let accepting = |scheme| {
                let accepts = |(_, rules): &&(_, Rules)| {
                    introspected.check(rules, scheme, reparsed::now()).is_ok()
                };
                RULES.iter().filter(accepts).count()
            };
            assert_eq!([Scheme::Bearer, Scheme::Dpop].map(accepting), expected);
        }
    }

    fn unusual() -> impl Strategy<Value = String> {
        let bound = [format!("{{\"jkt\":\"{JKT}\"}}"), format!("{{\"jkt\":\"{JKT}\",\"x\":1}}")];
        let times = [NOW - 29, NOW - 30, NOW + 30, NOW + 31].map(|time| time.to_string());
        let others = [
            "null",
            "true",
            "false",
            "\"true\"",
            "1",
            "[]",
            "{}",
            "\"\"",
            "\"DPoP\"",
            "\"bearer\"",
            "\"refresh_token\"",
            "\"Refresh\"",
            "\"ID\"",
            "\"https://id.example\"",
            "[\"x\",\"api\"]",
            "\"n.x\"",
            "1e400",
        ];
        let all: Vec<_> = bound.into_iter().chain(times).chain(others.map(str::to_owned)).collect();
        select(all)
    }

    const NAMES: &[&str] = &[
        "active",
        "iss",
        "aud",
        "sub",
        "scope",
        "scp",
        "scopes",
        "exp",
        "iat",
        "nbf",
        "cnf",
        "token_type",
        "token_use",
        "typ",
        "nonce",
        "at_hash",
        "client_id",
        "azp",
        "cid",
        "jti",
        "events",
    ];

    proptest! {
        #[test]
        fn generated_responses_keep_the_invariants(
            changes in vec((select(NAMES), option::of(unusual())), 0..4),
            doubled in any::<bool>(),
        ) {
            let mut members = valid();
            for (name, value) in changes {
                if !doubled {
                    members.retain(|(other, _)| *other != name);
                }
                members.extend(value.map(|value| (name, value)));
            }
            introspection_answer(object(&members).as_bytes());
        }
    }
}
