//! Tokens of a wrong shape: parts, encodings, other serialisations, sizes.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde_json::json;

use super::{
    Row,
    forge::{Forge, base64url, changed},
};

fn not_jws(what: &str, token: impl Into<String>) -> Row {
    Row::invalid("not_jws", what, token.into())
}

pub fn parts(forge: &Forge<'_>) -> Vec<Row> {
    let [head, body, signature] = &forge.parts();
    let valid = forge.valid();
    vec![
        not_jws("one part", head),
        not_jws("two parts", format!("{head}.{body}")),
        not_jws("two parts of claims", format!("{body}.{signature}")),
        not_jws("four parts", format!("{valid}.{signature}")),
        not_jws("four parts, the last empty", format!("{valid}.")),
        not_jws("five parts", format!("{head}.{body}.{signature}.{signature}.{signature}")),
        not_jws("a dot before", format!(".{valid}")),
        not_jws("a dot more", format!("{head}..{body}.{signature}")),
        not_jws("no header", format!(".{body}.{signature}")),
        not_jws("no claims", format!("{head}..{signature}")),
        not_jws("a detached payload", format!("{head}..{signature}")),
        not_jws("dots", ".".repeat(2)),
        not_jws("more dots", ".".repeat(500)),
        not_jws("an opaque token", "2YotnFZFEjr1zCsicMWpAA"),
        not_jws("an API key", "test_0123456789ABCDEF"),
        not_jws("two tokens", format!("{valid}.{valid}")),
        not_jws("with a disclosure", format!("{valid}~WyJzYWx0IiwiYSIsMV0~")),
        not_jws("header and claims exchanged, unsigned", format!("{body}.{head}.{signature}x")),
        Row::malformed("two tokens with a comma", format!("{valid},{valid}")),
        Row::malformed("two tokens with a space", format!("{valid} {valid}")),
        Row::malformed("in quotes", format!("\"{valid}\"")),
        Row::malformed("as a parameter", format!("token=\"{valid}\"")),
        Row::malformed("in angle brackets", format!("<{valid}>")),
        Row::malformed("a comment", format!("{valid} (alice)")),
    ]
}

pub fn other_serialisations(forge: &Forge<'_>) -> Vec<Row> {
    let [head, body, signature] = &forge.parts();
    let flattened = json!({"protected": head, "payload": body, "signature": signature});
    let general = json!({
        "payload": body, "signatures": [{"protected": head, "signature": signature}],
    });
    let unprotected = json!({
        "payload": body, "header": {"alg": "none"}, "protected": head, "signature": signature,
    });
    let mut rows = Vec::new();
    for (what, document) in
        [("flattened", &flattened), ("general", &general), ("unprotected", &unprotected)]
    {
        rows.push(Row::malformed(format!("JSON, {what}"), document.to_string()));
        let encoded = base64url(document.to_string());
        rows.push(not_jws("JSON in base64url", &*encoded));
        rows.push(Row::invalid(
            "header",
            "JSON as a header",
            format!("{encoded}.{body}.{signature}"),
        ));
        rows.push(Row::invalid("unknown_issuer", "JSON as claims", {
            forge.signed(&forge.header().to_string(), &document.to_string())
        }));
    }
    for (alg, enc) in [
        ("dir", "A128GCM"),
        ("RSA-OAEP", "A256GCM"),
        ("ECDH-ES", "A128CBC-HS256"),
        ("none", "none"),
    ] {
        let header = base64url(json!({"alg": alg, "enc": enc}).to_string());
        rows.push(not_jws("encrypted", format!("{header}.AAAA.AAAA.{body}.{signature}")));
        rows.push(not_jws("encrypted, no key", format!("{header}..AAAA.{body}.{signature}")));
        let header = base64url(changed(forge.header(), &json!({"enc": enc})).to_string());
        rows.push(Row::invalid("header", "half encrypted", format!("{header}.{body}.{signature}")));
    }
    let header = forge.header().to_string();
    for cty in [json!("JWT"), json!("jwt"), json!("application/jwt"), json!(null)] {
        let nested = changed(forge.header(), &json!({ "cty": cty })).to_string();
        rows.push(not_jws("a token in a token", forge.signed(&nested, &forge.valid())));
        let quoted = json!(forge.valid()).to_string();
        rows.push(not_jws("a token in a token, quoted", forge.signed(&nested, &quoted)));
    }
    let compressed = "\u{1}\u{2}not JSON";
    rows.push(not_jws("claims that are no JSON", forge.signed(&header, compressed)));
    rows
}

pub fn encodings(forge: &Forge<'_>) -> Vec<Row> {
    let [head, body, signature] = &forge.parts();
    let header = forge.header().to_string();
    let claims = changed(forge.claims(), &json!({"x": "???>>>~~~ÿÿÿ"})).to_string();
    let standard = |text: &str| STANDARD.encode(text).trim_end_matches('=').to_owned();
    // 64 bytes leave four bits of the last character: sixteen ways to write the same signature.
    let last = signature.chars().last().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let neighbours = alphabet.chars().skip(alphabet.find(last).unwrap() + 1).take(15);
    let without_last = &signature[..signature.len() - 1];
    let mut rows: Vec<Row> = neighbours
        .map(|other| format!("{head}.{body}.{without_last}{other}"))
        .map(|token| not_jws("bits that no byte takes", token))
        .collect();
    rows.extend([
        not_jws("padded", format!("{head}.{body}.{signature}==")),
        not_jws("padded once", format!("{head}.{body}.{signature}=")),
        not_jws("padded too much", format!("{head}.{body}.{signature}====")),
        not_jws("a single character more", format!("{head}.{body}.{signature}AAA")),
        not_jws("standard base64", format!("{head}.{}.{signature}", standard(&claims))),
        not_jws("a plus", format!("+{head}.{body}.{signature}")),
        not_jws("a slash", format!("{head}.{body}/.{signature}")),
        not_jws("a tilde", format!("{head}.{body}.{signature}~")),
        not_jws("not encoded", "alg.sub.signature"),
        not_jws("encoded twice", format!("{}.{body}.{signature}", base64url(head))),
        not_jws("the whole encoded again", base64url(forge.valid())),
        not_jws("in hexadecimal", "7b22616c67223a226e6f6e65227d.7b7d."),
        Row::malformed(
            "padding in the header",
            format!("{}.{body}.{signature}", URL_SAFE.encode(format!("{header} "))),
        ),
        Row::malformed("padding in the claims", format!("{head}.{body}=.{signature}")),
        Row::malformed("a space in a part", format!("{head}. {body}.{signature}")),
        Row::malformed("a tab in a part", format!("{head}.{body}\t.{signature}")),
        Row::malformed("a space at the end", format!("{} x", forge.valid())),
        Row::malformed("%0A in a part", format!("{head}%0A.{body}.{signature}")),
        Row::malformed("%2E for a dot", format!("{head}%2E{body}%2E{signature}")),
        Row::malformed("a backslash", format!("{head}\\n.{body}.{signature}")),
        Row::malformed("a letter of another script", format!("{head}.{body}.{signature}а")),
        Row::malformed("a fullwidth dot", format!("{head}．{body}．{signature}")),
        Row::malformed("a soft hyphen", format!("{head}.\u{ad}{body}.{signature}")),
        Row::malformed("a byte order mark", format!("\u{feff}{}", forge.valid())),
        Row::malformed("a colon", format!("{head}:{body}:{signature}")),
    ]);
    rows
}

pub fn sizes(forge: &Forge<'_>) -> Vec<Row> {
    const CAP: usize = 8192;
    let [head, body, signature] = &forge.parts();
    let valid = forge.valid();
    let huge = |claim: String| {
        let claims = changed(forge.claims(), &json!({ "x": claim }));
        forge.signed(&forge.header().to_string(), &claims.to_string())
    };
    let members = (0..600).map(|n| format!("\"{n}\":{n},")).collect::<Vec<_>>().concat();
    let header = forge.header().to_string();
    let many = header.replacen('{', &format!("{{{members}"), 1);
    vec![
        Row::too_large("a byte beyond the cap", "a".repeat(CAP + 1)),
        Row::too_large("good, but too long", huge("x".repeat(CAP))),
        Row::too_large("dots", ".".repeat(CAP + 1)),
        Row::too_large("good and much after it", format!("{valid}.{}", "A".repeat(CAP))),
        Row::too_large("not even a token", "\"".repeat(CAP + 1)),
        Row::too_large("30,000 bytes", "A".repeat(30_000)),
        not_jws("as long as the cap", "a".repeat(CAP)),
        not_jws("as many dots", ".".repeat(CAP)),
        not_jws("as deep", format!("{}.{body}.{signature}", base64url("[".repeat(4000)))),
        not_jws(
            "claims as deep",
            format!("{head}.{}.{signature}", base64url("{\"a\":".repeat(900))),
        ),
        not_jws("zeros", format!("{head}.{}.{signature}", base64url(vec![0; 4000]))),
        not_jws("digits", format!("{head}.{}.{signature}", base64url("9".repeat(4000)))),
        not_jws("a long number", forge.with_text(&format!("\"n\":{}", "9".repeat(3000)))),
        Row::invalid(
            "signature",
            "a header of 600 members",
            format!("{}.{body}.{signature}", base64url(many)),
        ),
        Row::invalid(
            "signature",
            "a signature as long as can be",
            format!("{head}.{body}.{}", "A".repeat(4000)),
        ),
    ]
}
