//! Introspection responses.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::said::{self, Said};
use crate::{
    auth::{
        credentials::Scheme,
        explanation::{explain_claims, first_failure},
        jwt::{Accepted, CheckContext, Introspected, Rules},
    },
    settings::{DpopMode, Introspection, KeySource},
};

/// Each mode with its issuer's rules.
static RULES: LazyLock<[(DpopMode, Rules); 3]> = LazyLock::new(|| {
    [DpopMode::Off, DpopMode::Optional, DpopMode::Required].map(|mode| {
        let rules = said::rules(|issuer| {
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
    let said = Said::read(json).expect("an object");
    assert_eq!(said.get("active"), Some(&json!(parsed.is_some())), "not what it says");
    let Some(introspected) = parsed else { return };
    for (mode, rules) in &*RULES {
        for scheme in [Scheme::Bearer, Scheme::Dpop] {
            let checked = introspected.check(rules, scheme, said::now());
            let context = CheckContext { rules, scheme, now: said::now() };
            let checks = explain_claims(introspected.claims(), &context);
            assert_eq!(checked.as_ref().err(), first_failure(&checks), "explained otherwise");
            if let Ok(accepted) = checked {
                check_accepted(&said, &accepted);
                check_binding(&said, &accepted, *mode, scheme);
            }
        }
    }
}

/// Checks what an accepted response must contain.
fn check_accepted(said: &Said, accepted: &Accepted) {
    assert!(!said.has("iss") || said.text("iss") == Some(said::ISSUER), "another issuer's");
    said.check_kind(false);
    for (name, taken) in [
        ("token_type", &["bearer", "dpop"][..]),
        ("token_use", &["access_token", "access", "dpop"]),
        ("typ", &["bearer", "at+jwt", "jwt", "dpop"]),
    ] {
        let kind = said.get(name).map(|kind| kind.as_str().expect("a text").to_ascii_lowercase());
        assert!(kind.is_none_or(|kind| taken.contains(&&*kind)), "of another kind: {name}");
    }
    said.check_end(accepted.end, false);
    said.check(&accepted.customer, &said::USUAL);
}

/// Checks that a bound token is never accepted without its key, and that no other passes for one.
fn check_binding(said: &Said, accepted: &Accepted, mode: DpopMode, scheme: Scheme) {
    let is_called_bound = ["token_type", "token_use", "typ"]
        .into_iter()
        .filter_map(|name| said.text(name))
        .any(|kind| kind.eq_ignore_ascii_case("DPoP"));
    match said.get("cnf") {
        None => {
            assert!(!is_called_bound, "bound to nobody knows what");
            assert!(accepted.bound_to.is_none(), "bound to a key out of nowhere");
            assert!(scheme == Scheme::Bearer && mode != DpopMode::Required, "unbound");
        }
        Some(cnf) => {
            assert!(scheme == Scheme::Dpop && mode != DpopMode::Off, "without its proof");
            let members = cnf.as_object().expect("an object");
            assert_eq!(members.len(), 1, "bound in a way that nobody proves");
            let key = accepted.bound_to.expect("a key");
            let spelt = members.get("jkt").and_then(Value::as_str);
            assert_eq!(spelt, Some(&*URL_SAFE_NO_PAD.encode(key)), "another's key");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::{said::NOW, *};

    #[test]
    fn stored_responses_keep_the_invariants() {
        crate::corpus::replay("introspection_answer", introspection_answer);
    }

    const JKT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

    fn good() -> Vec<(&'static str, String)> {
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
        let mut bound = good();
        bound.push(("cnf", format!("{{\"jkt\":\"{JKT}\"}}")));
        bound.push(("token_type", "\"DPoP\"".to_owned()));
        for (members, expected) in [(good(), [2, 0]), (bound, [0, 2])] {
            let introspected = Introspected::parse(object(&members).as_bytes()).unwrap().unwrap();
            let accepting = |scheme| {
                let accepts = |(_, rules): &&(_, Rules)| {
                    introspected.check(rules, scheme, said::now()).is_ok()
                };
                RULES.iter().filter(accepts).count()
            };
            assert_eq!([Scheme::Bearer, Scheme::Dpop].map(accepting), expected);
        }
    }

    fn odd() -> impl Strategy<Value = String> {
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
            changes in vec((select(NAMES), option::of(odd())), 0..4),
            doubled in any::<bool>(),
        ) {
            let mut members = good();
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
