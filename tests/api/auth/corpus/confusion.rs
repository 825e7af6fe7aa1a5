//! Tokens that confuse an issuer with public keys and one with shared secrets in the same process,
//! their keys and their algorithms (RFC 8725 §2.1).
//!
//! An issuer's secrets verify only its own tokens with its own algorithms, and a public key is
//! never a secret.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use simulator::Algorithm;

use super::{
    super::der::public_key_pem,
    IssuerKind, Row,
    forge::{Forge, base64url, changed, decoded, mac},
    issuers::{PREVIOUS, SECRET},
};

/// The two issuers' claims, and the `kid`s of the public keys.
struct Both {
    main: Value,
    shared: Value,
    elliptic: Value,
    rsa: Value,
}

pub fn issuers(forge: &Forge<'_>) -> Vec<Row> {
    let both = Both {
        main: forge.claims_of(IssuerKind::PublicKeys),
        shared: forge.claims_of(IssuerKind::Hmac),
        elliptic: forge.jwk("EC")["kid"].clone(),
        rsa: forge.jwk("RSA")["kid"].clone(),
    };
    let mut rows = Vec::new();
    by_public_keys(forge, &both, &mut rows);
    by_secrets(forge, &both, &mut rows);
    by_text_for_a_secret(forge, &both, &mut rows);
    unsigned(&both, &mut rows);
    broken(&both, &mut rows);
    rows
}

fn header(alg: &str, kid: &Value) -> Value {
    changed(json!({"alg": alg, "typ": "at+jwt"}), &json!({ "kid": kid }))
}

/// Signed by the issuer with public keys.
fn by_public_keys(forge: &Forge<'_>, both: &Both, rows: &mut Vec<Row>) {
    let mut row = |reason, what: String, header: &Value, claims: &Value, by| {
        let token = forge.issuer().sign_raw(&header.to_string(), &claims.to_string(), by);
        rows.push(Row::invalid(reason, what, token.expect("a token")));
    };
    for (by, kid) in [(Algorithm::ES256, &both.elliptic), (Algorithm::RS256, &both.rsa)] {
        for kid in [kid, &Value::Null] {
            let name = by.name();
            let which = if kid.is_null() { ", no kid" } else { "" };
            let own = header(name, kid);
            let what = format!("{name} for the issuer with secrets{which}");
            row("algorithm", what, &own, &both.shared, by);
            for alg in ["HS256", "HS512"] {
                let as_hmac = header(alg, kid);
                let what = format!("{name} as {alg} for the issuer with secrets{which}");
                row("signature", what, &as_hmac, &both.shared, by);
                let what = format!("{name} as {alg} for its own issuer{which}");
                row("algorithm", what, &as_hmac, &both.main, by);
            }
        }
    }
}

/// Signed with a secret of the other issuer.
fn by_secrets(forge: &Forge<'_>, both: &Both, rows: &mut Vec<Row>) {
    let mut row = |reason, what: String, header: &Value, claims: &Value, function, secret: &str| {
        let token = mac(header, claims, function, secret.as_bytes());
        rows.push(Row::invalid(reason, what, token));
    };
    let functions = [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)];
    for (which, secret) in [("the secret", SECRET), ("the previous secret", PREVIOUS)] {
        for (key, kid) in [
            ("the P-256 kid", &both.elliptic),
            ("the RSA kid", &both.rsa),
            ("the name as kid", &json!("shared")),
            ("no kid", &Value::Null),
        ] {
            for (alg, function) in functions {
                let what = format!("{alg} with {which} for the issuer with public keys, {key}");
                row("algorithm", what, &header(alg, kid), &both.main, function, secret);
            }
        }
        for (alg, kid) in [("ES256", &both.elliptic), ("RS256", &both.rsa)] {
            let as_key = header(alg, kid);
            let what = format!("{which} as {alg} for the issuer with public keys");
            row("signature", what, &as_key, &both.main, HMAC_SHA512, secret);
            let what = format!("{which} as {alg} for its own issuer");
            row("algorithm", what, &as_key, &both.shared, HMAC_SHA512, secret);
        }
        let what = format!("HS384 with {which}, which isn't in the settings");
        row("algorithm", what, &header("HS384", &Value::Null), &both.shared, HMAC_SHA384, secret);
    }
    let iss = [&both.shared["iss"], &both.main["iss"]];
    let listed = changed(both.shared.clone(), &json!({ "iss": iss }));
    let hs512 = header("HS512", &Value::Null);
    row("unknown_issuer", "both issuers".to_owned(), &hs512, &listed, HMAC_SHA512, SECRET);
    let brought = changed(
        header("HS512", &json!("a")),
        &json!({"jwk": {"kty": "oct", "kid": "a", "k": base64url("own")}, "jku": forge.untrusted_issuer.jwks_url()}),
    );
    row("signature", "a secret as jwk".to_owned(), &brought, &both.shared, HMAC_SHA512, "own");
}

/// Texts that a careless verifier may use as the secret.
fn by_text_for_a_secret(forge: &Forge<'_>, both: &Both, rows: &mut Vec<Row>) {
    let (elliptic, rsa) = (forge.jwk("EC"), forge.jwk("RSA"));
    let decoded = STANDARD.decode(SECRET).expect("Base64");
    for (what, secret) in [
        ("the P-256 PEM", public_key_pem(&elliptic).into_bytes()),
        ("the RSA PEM", public_key_pem(&rsa).into_bytes()),
        ("the RSA PEM without its last line end", public_key_pem(&rsa).trim_end().into()),
        ("the JWK", elliptic.to_string().into_bytes()),
        ("the key set", forge.issuer().jwks().to_string().into_bytes()),
        ("x", elliptic["x"].as_str().expect("a text").into()),
        ("nothing", Vec::new()),
        ("a zero byte", vec![0]),
        ("the decoded secret", decoded),
        ("the secret and a line end", format!("{SECRET}\n").into_bytes()),
        ("the secret in capitals", SECRET.to_uppercase().into_bytes()),
        ("a part of the secret", SECRET[..32].into()),
        ("both secrets", format!("{SECRET}\n{PREVIOUS}").into_bytes()),
        ("the file", format!("{SECRET}\n{PREVIOUS}\n").into_bytes()),
        ("another secret", vec![b'x'; 64]),
    ] {
        for (alg, function) in [("HS256", HMAC_SHA256), ("HS512", HMAC_SHA512)] {
            for (claims, reason, whose) in
                [(&both.shared, "signature", ""), (&both.main, "algorithm", ", public keys")]
            {
                let token = mac(&header(alg, &both.elliptic), claims, function, &secret);
                rows.push(Row::invalid(reason, format!("{alg} with {what}{whose}"), token));
            }
        }
    }
}

fn unsigned(both: &Both, rows: &mut Vec<Row>) {
    for alg in ["none", "None", "hs256", "hs512", "HS256 ", "HS512\0", "HS1", "HS3840", ""] {
        for (claims, whose) in [(&both.shared, "secrets"), (&both.main, "public keys")] {
            let what = format!("alg {alg:?} for the issuer with {whose}");
            let signed = mac(&header(alg, &both.elliptic), claims, HMAC_SHA512, SECRET.as_bytes());
            let (message, _) = signed.rsplit_once('.').expect("parts");
            let without = format!("{message}.");
            rows.push(Row::invalid("algorithm", format!("{what}, unsigned"), without));
            rows.push(Row::invalid("algorithm", what, signed));
        }
    }
}

/// Tokens of the issuer with secrets, with an almost valid HMAC.
fn broken(both: &Both, rows: &mut Vec<Row>) {
    let (hs256, hs512) = (header("HS256", &Value::Null), header("HS512", &Value::Null));
    let sign =
        |header: &Value, claims: &Value, function| mac(header, claims, function, SECRET.as_bytes());
    let valid = sign(&hs512, &both.shared, HMAC_SHA512);
    let (message, signature) = valid.rsplit_once('.').expect("parts");
    let bobs = changed(both.shared.clone(), &json!({"sub": "bob"}));
    let bobs = sign(&hs512, &bobs, HMAC_SHA512);
    let bobs = bobs.rsplit_once('.').expect("parts").1;
    let short = mac(&hs256, &both.shared, HMAC_SHA256, SECRET.as_bytes());
    let (short, _) = short.rsplit_once('.').expect("parts");
    let bytes = decoded(&signature.into());
    let cut = |end: usize| format!("{message}.{}", base64url(&bytes[..end]));
    for (what, token) in [
        ("HS256 made as HS512", sign(&hs256, &both.shared, HMAC_SHA512)),
        ("HS256 made as HS384", sign(&hs256, &both.shared, HMAC_SHA384)),
        ("HS512 made as HS256", sign(&hs512, &both.shared, HMAC_SHA256)),
        ("HS512 made as HS384", sign(&hs512, &both.shared, HMAC_SHA384)),
        ("no HMAC", format!("{message}.")),
        ("half an HMAC", cut(32)),
        ("an HMAC without its last byte", cut(63)),
        ("a longer HMAC", format!("{message}.{}", base64url([&*bytes, &[0]].concat()))),
        ("the HMAC twice", format!("{message}.{}", base64url(bytes.repeat(2)))),
        ("another token's HMAC", format!("{message}.{bobs}")),
        ("another algorithm's HMAC", format!("{short}.{signature}")),
    ] {
        rows.push(Row::invalid("signature", what, token));
    }
}
