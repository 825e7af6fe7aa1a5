//! Public keys as X.509 and PEM write them, made of JWKs.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

/// Object identifiers of keys (RFC 5480 §2.1.1, P-256; RFC 8017 appendix A.1), with their parameters.
pub const ELLIPTIC: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
pub const RSA: &[u8] =
    &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The `PUBLIC KEY` block of a P-256 or RSA key.
pub fn public_key_pem(jwk: &Value) -> String {
    let member = |name: &str| {
        URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("a text")).expect("base64url")
    };
    let der = if jwk["kty"] == "RSA" {
        spki(RSA, &der(0x30, &[minimal(&member("n")), minimal(&member("e"))].concat()))
    } else {
        spki(ELLIPTIC, &[vec![4], member("x"), member("y")].concat())
    };
    String::from_utf8(pem("PUBLIC KEY", &der, "\n")).expect("a text")
}

pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = match content.len() {
        short @ 0..128 => vec![tag, u8::try_from(short).unwrap()],
        _ => [vec![tag, 0x80 | u8::try_from(length.len()).unwrap()], length].concat(),
    };
    [head, content.to_vec()].concat()
}

pub fn integer(magnitude: &[u8]) -> Vec<u8> {
    der(0x02, &[&[0], magnitude].concat())
}

/// An INTEGER without a needless leading zero (X.690 §8.3.2).
fn minimal(magnitude: &[u8]) -> Vec<u8> {
    let is_positive = magnitude.first().is_some_and(|first| *first < 0x80);
    if is_positive { der(0x02, magnitude) } else { integer(magnitude) }
}

pub fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let key = der(0x03, &[&[0], key].concat());
    der(0x30, &[der(0x30, algorithm), key].concat())
}

pub fn pem(label: &str, der: &[u8], end: &str) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let (lines, dashes) = (lines.join(end), "-----");
    format!("{dashes}BEGIN {label}{dashes}{end}{lines}{end}{dashes}END {label}{dashes}{end}").into()
}
