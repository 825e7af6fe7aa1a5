//! Attacks on `alg` (RFC 8725 §2.1 and §3.1): none, a public key as a secret, another kind of key.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use serde_json::{Value, json};
use simulator::Algorithm;

use super::{
    super::der::{ELLIPTIC, RSA, der, integer, pem, spki},
    Row,
    forge::{Forge, base64url, changed, decoded, mac},
};

pub fn none(forge: &Forge<'_>) -> Vec<Row> {
    let [_, payload, signature] = forge.parts();
    let mut rows = Vec::new();
    let spellings = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "NoNe",
        "none ",
        " none",
        "none\0",
        "none\n",
        "n\u{43e}ne",
        "null",
        "",
        "undefined",
        "0",
    ];
    for alg in spellings {
        for header in [json!({"alg": alg}), json!({"alg": alg, "kid": forge.header()["kid"]})] {
            let header = base64url(header.to_string());
            for signature in ["", &signature] {
                let token = format!("{header}.{payload}.{signature}");
                rows.push(Row::invalid("algorithm", format!("alg {alg:?}"), token));
            }
        }
    }
    for alg in [json!(null), json!(0), json!(true), json!(["none"]), json!(["ES256"]), json!({})] {
        let header = base64url(json!({"alg": alg, "typ": "at+jwt"}).to_string());
        let what = format!("alg {alg}");
        rows.push(Row::invalid("header", what, format!("{header}.{payload}.{signature}")));
    }
    let without = base64url(json!({"typ": "JWT"}).to_string());
    rows.push(Row::invalid("header", "no alg", format!("{without}.{payload}.")));
    rows
}

pub fn public_keys_as_secrets(forge: &Forge<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let claims = forge.claims();
    for (what, kid, secret) in secrets(forge) {
        for (alg, algorithm) in
            [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)]
        {
            let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"});
            let token = mac(&header, &claims, algorithm, &secret);
            rows.push(Row::invalid("algorithm", format!("{alg} with {what}"), token));
        }
    }
    let es256 = || changed(forge.header(), &json!({"alg": "ES256"}));
    let macs = [
        ("ES256 over an HMAC", es256(), HMAC_SHA256),
        ("ES256 over an HMAC of 64 bytes", es256(), HMAC_SHA512),
        ("RS256 over an HMAC", forge.rsa_header(), HMAC_SHA256),
    ];
    for (what, header, algorithm) in macs {
        let token = mac(&header, &claims, algorithm, forge.jwk("EC").to_string().as_bytes());
        rows.push(Row::invalid("signature", what, token));
    }
    rows
}

/// Each form of a public key that a careless verifier may use as a secret.
fn secrets(forge: &Forge<'_>) -> Vec<(String, Value, Vec<u8>)> {
    let (elliptic, rsa) = (forge.jwk("EC"), forge.jwk("RSA"));
    let point = [vec![4], decoded(&elliptic["x"]), decoded(&elliptic["y"])].concat();
    let pkcs1 = der(0x30, &[integer(&decoded(&rsa["n"])), integer(&decoded(&rsa["e"]))].concat());
    let forms = [
        (&elliptic, "the point", point.clone()),
        (&elliptic, "x", decoded(&elliptic["x"])),
        (&elliptic, "x as text", text(&elliptic["x"])),
        (&elliptic, "the JWK", elliptic.to_string().into_bytes()),
        (&elliptic, "the set", forge.issuer().jwks().to_string().into_bytes()),
        (&elliptic, "the DER", spki(ELLIPTIC, &point)),
        (&elliptic, "the PEM", pem("PUBLIC KEY", &spki(ELLIPTIC, &point), "\n")),
        (&rsa, "n", decoded(&rsa["n"])),
        (&rsa, "n as text", text(&rsa["n"])),
        (&rsa, "the RSA JWK", rsa.to_string().into_bytes()),
        (&rsa, "the PKCS #1 DER", pkcs1.clone()),
        (&rsa, "the PKCS #1 PEM", pem("RSA PUBLIC KEY", &pkcs1, "\n")),
        (&rsa, "the RSA DER", spki(RSA, &pkcs1)),
        (&rsa, "the RSA PEM", pem("PUBLIC KEY", &spki(RSA, &pkcs1), "\n")),
        (&rsa, "the RSA PEM with CR", pem("PUBLIC KEY", &spki(RSA, &pkcs1), "\r\n")),
        (&elliptic, "nothing", Vec::new()),
    ];
    forms.map(|(key, what, secret)| (what.to_owned(), key["kid"].clone(), secret)).into()
}

fn text(member: &Value) -> Vec<u8> {
    member.as_str().expect("a text").as_bytes().to_vec()
}

pub fn of_another_kind(forge: &Forge<'_>) -> Vec<Row> {
    let (elliptic, rsa) = (forge.header()["kid"].clone(), forge.rsa_header()["kid"].clone());
    let claims = forge.claims().to_string();
    let signed = |alg: &str, kid: &Value, by: Algorithm| {
        let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string();
        forge.issuer().sign_raw(&header, &claims, by).expect("a token")
    };
    let mut rows = Vec::new();
    for by in
        [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512]
    {
        let what = format!("RS256 in the header, signed as {}", by.name());
        rows.push(Row::invalid("signature", what, signed("RS256", &rsa, by)));
        // The issuer has such a key, but the settings do not accept the algorithm.
        let token = signed(by.name(), &rsa, by);
        rows.push(Row::invalid("algorithm", by.name(), token));
    }
    for alg in ["ES384", "EdDSA", "es256", "Es256", "ES256 ", "ES256\0", "SHA256withECDSA"] {
        let token = signed(alg, &elliptic, Algorithm::ES256);
        rows.push(Row::invalid("algorithm", format!("alg {alg:?}"), token));
    }
    for alg in ["ES256K", "ES512", "Ed25519", "HS256", "RS1", "dir", "RSA-OAEP", "A128KW"] {
        let token = signed(alg, &rsa, Algorithm::RS256);
        rows.push(Row::invalid("algorithm", format!("alg {alg}"), token));
    }
    for (alg, kid, by) in [
        ("RS256", &elliptic, Algorithm::ES256),
        ("RS256", &elliptic, Algorithm::RS256),
        ("ES256", &rsa, Algorithm::RS256),
        ("ES256", &rsa, Algorithm::ES256),
    ] {
        let what = format!("{alg} with the kid of the other key, by {}", by.name());
        rows.push(Row::invalid("unknown_key", what, signed(alg, kid, by)));
    }
    rows
}
