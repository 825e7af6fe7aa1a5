//! Valid tokens that look like attacks. Rejecting them would lock out users. Each gets the customer
//! that it names, and no look-alike.

use serde_json::json;
use simulator::Algorithm;

use super::{
    forge::{Forge, base64url, changed, decoded},
    signatures::{ORDER, minus},
    times::{LEEWAY, named},
};

/// Description, customer and token.
type ValidToken = (String, String, String);

pub fn rows(forge: &Forge<'_>) -> Vec<ValidToken> {
    let mut rows = vec![negated(forge)];
    headers(forge, &mut rows);
    claims(forge, &mut rows);
    times(forge, &mut rows);
    subjects(forge, &mut rows);
    rows
}

/// ECDSA's second valid signature by the same key for the same text: no check may assume that a
/// token has only one form.
fn negated(forge: &Forge<'_>) -> ValidToken {
    let valid = forge.valid();
    let (message, signature) = valid.rsplit_once('.').unwrap();
    let signature = decoded(&signature.into());
    let (r, s) = signature.split_at(32);
    let other = base64url([r, &minus(&ORDER, s)].concat());
    ("s negated".to_owned(), "alice".to_owned(), format!("{message}.{other}"))
}

fn alice(what: impl Into<String>, token: String) -> ValidToken {
    (what.into(), "alice".to_owned(), token)
}

fn headers(forge: &Forge<'_>, rows: &mut Vec<ValidToken>) {
    let trap = format!("http://{}/", forge.trap);
    let untrusted_key = forge.untrusted_issuer.jwks()["keys"][0].clone();
    for changes in [
        json!({"typ": "AT+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"typ": "JWT"}),
        json!({"typ": null}),
        json!({"kid": null}),
        json!({ "jwk": untrusted_key }),
        json!({"jku": trap, "x5u": trap, "x5c": ["AAAA"], "x5t": 1}),
        json!({"cty": "JWT"}),
        json!({"Crit": ["exp"], "ZIP": "DEF"}),
        json!({"zip": "DEF"}),
        json!({"zip": "GZ"}),
        json!({"zip": [null]}),
        json!({"unknown": {"deep": [1, {"a": null}]}}),
    ] {
        rows.push(alice(format!("header {changes}"), forge.with_header(&changes)));
    }
    let claims = forge.claims().to_string();
    let spaced = forge.header().to_string().replace(',', " ,\r\n\t");
    rows.push(alice("white space", forge.signed(&format!(" {spaced}\n"), &format!("\t{claims} "))));
    let escaped = forge.header().to_string().replacen("alg", "\\u0061lg", 1);
    rows.push(alice("an escaped name", forge.signed(&escaped, &claims)));
}

fn claims(forge: &Forge<'_>, rows: &mut Vec<ValidToken>) {
    for changes in [
        json!({"aud": ["others", "juspay-bff-demo"]}),
        json!({"aud": ["juspay-bff-demo", "juspay-bff-demo"]}),
        json!({"nonce": "n", "at_hash": "h"}),
        json!({"typ": "Bearer", "token_use": "access", "token_type": "access"}),
        json!({"typ": "idea", "token_use": "refreshing", "token_type": 1}),
        json!({"customer_id": "bob", "user_id": "bob", "object_reference_id": "bob"}),
        json!({"SUB": "bob", "Sub": "bob", "sub ": "bob", "preferred_username": "bob"}),
        json!({"act": {"sub": "bob"}, "may_act": {"sub": "bob"}}),
        json!({"__proto__": {"sub": "bob"}, "constructor": {"prototype": {"sub": "bob"}}}),
        json!({"email": "bob", "email_verified": true}),
        json!({"x": "\u{0}\u{202e}"}),
        json!({"client_id": "app", "azp": "other app"}),
    ] {
        rows.push(alice(format!("claims {changes}"), forge.with_claims(&changes)));
    }
    for typ in ["JWT", ""] {
        let header = changed(forge.header(), &json!({ "typ": typ })).to_string();
        let claims = changed(forge.claims(), &json!({"nonce": "n"})).to_string();
        rows.push(alice(format!("nonce alone, typ {typ:?}"), forge.signed(&header, &claims)));
    }
    let deep = format!("\"x\":{}1{}", "[".repeat(100), "]".repeat(100));
    rows.push(alice("100 lists deep", forge.with_text(&deep)));
    let escaped = forge.with_text_for("sub", "\"\\u0061lice\"");
    rows.push(alice("an escaped subject", escaped));
    let longest = (0..8192).rev().find_map(|length| {
        let token = forge.with_claims(&json!({ "x": "x".repeat(length) }));
        (token.len() <= 8192).then_some(token)
    });
    rows.push(alice("as long as can be", longest.unwrap()));
    let rs256 = forge.rsa_header().to_string();
    let claims = forge.claims().to_string();
    let token = forge.issuer().sign_raw(&rs256, &claims, Algorithm::RS256).unwrap();
    rows.push(alice("the issuer's other key", token));
}

fn times(forge: &Forge<'_>, rows: &mut Vec<ValidToken>) {
    let now = forge.world.clock_seconds();
    for (claim, value) in [
        ("exp", (now - LEEWAY + 1).to_string()),
        ("exp", format!("{}.001", now - LEEWAY)),
        ("exp", "253402207200".to_owned()),
        // 9999-12-31T23:59:59Z, often used for "never".
        ("exp", "253402300799".to_owned()),
        ("exp", "253402300799.5".to_owned()),
        ("exp", "4.1024448e9".to_owned()),
        ("nbf", (now + LEEWAY).to_string()),
        ("nbf", "0".to_owned()),
        ("nbf", "-0.0".to_owned()),
        ("iat", (now + LEEWAY).to_string()),
        ("iat", format!("{}.999", now + LEEWAY - 1)),
        ("iat", "0".to_owned()),
    ] {
        let what = format!("{claim} {}", named(&value, now));
        rows.push(alice(what, forge.with_text_for(claim, &value)));
    }
}

/// Subjects that look like alice.
fn subjects(forge: &Forge<'_>, rows: &mut Vec<ValidToken>) {
    for subject in [
        "Alice",
        "ALICE",
        "\u{430}lice",
        "al\u{456}ce",
        "alice\u{200b}",
        "\u{202e}ecila",
        "\u{ff41}lice",
        "alice%00",
        "alice%2F..%2Fbob",
        "al.ice",
        "alice@example.com",
        "caf\u{e9}",
        "cafe\u{301}",
        "null",
        "undefined",
        "' OR '1'='1",
        "*",
    ] {
        let token = forge.with_claims(&json!({ "sub": subject }));
        rows.push((format!("sub {subject:?}"), subject.to_owned(), token));
    }
    rows.push(("sub 7".to_owned(), "7".to_owned(), forge.with_claims(&json!({"sub": 7}))));
}
