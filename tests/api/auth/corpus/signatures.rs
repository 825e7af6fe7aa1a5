//! Signatures that are almost valid, or made of numbers that careless verifiers accept.

use simulator::{Algorithm, MintRequest};

use super::{
    Row,
    forge::{Forge, base64url, decoded},
};

/// The order of P-256 (SEC 2 §2.4.2).
pub const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// `a − b` of big-endian numbers, `a` being the larger.
pub fn minus(a: &[u8; 32], b: &[u8]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0;
    for at in (0..32).rev() {
        let digit = i16::from(a[at]) - i16::from(b[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    difference
}

/// The next big-endian number.
fn and_one(mut number: Vec<u8>) -> Vec<u8> {
    for digit in number.iter_mut().rev() {
        *digit = digit.wrapping_add(1);
        if *digit != 0 {
            break;
        }
    }
    number
}

/// A signature as X.509 has it, two DER integers.
fn in_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let integer = |number: &[u8]| [&[0x02, 33, 0], number].concat();
    [vec![0x30, 70], integer(r), integer(s)].concat()
}

fn split(token: &str) -> (String, Vec<u8>) {
    let (message, signature) = token.rsplit_once('.').expect("parts");
    (message.to_owned(), decoded(&signature.into()))
}

/// Signatures that are invalid for tokens of any kind.
fn altered(valid: &[u8], other: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut bent = vec![
        ("none".to_owned(), Vec::new()),
        ("a byte".to_owned(), vec![0]),
        ("of another token".to_owned(), other.to_vec()),
        ("a byte short".to_owned(), valid[..valid.len() - 1].to_vec()),
        ("without its first byte".to_owned(), valid[1..].to_vec()),
        ("a zero more".to_owned(), [valid, &[0]].concat()),
        ("a zero before".to_owned(), [&[0], valid].concat()),
        ("a half".to_owned(), valid[..valid.len() / 2].to_vec()),
        ("twice".to_owned(), valid.repeat(2)),
        ("backwards".to_owned(), valid.iter().rev().copied().collect()),
        ("zeros".to_owned(), vec![0; valid.len()]),
        ("ones".to_owned(), vec![0xff; valid.len()]),
        ("as text".to_owned(), base64url(valid).into_bytes()),
    ];
    for at in (0..valid.len()).step_by(valid.len() / 16) {
        let mut flipped = valid.to_vec();
        flipped[at] ^= 0x10;
        bent.push((format!("with a bit of byte {at} turned"), flipped));
    }
    bent
}

fn rows(message: &str, signatures: Vec<(String, Vec<u8>)>) -> Vec<Row> {
    let row = |(what, signature): (String, Vec<u8>)| {
        let token = format!("{message}.{}", base64url(signature));
        Row::invalid("signature", format!("signature {what}"), token)
    };
    signatures.into_iter().map(row).collect()
}

/// Two 32-byte numbers, or an HMAC of the same length.
pub fn elliptic(forge: &Forge<'_>) -> Vec<Row> {
    let (message, valid) = split(&forge.valid());
    let (_, other) = split(&forge.valid());
    let (r, s) = valid.split_at(32);
    let (zero, mut one) = ([0; 32], [0; 32]);
    one[31] = 1;
    let pair = |r: &[u8], s: &[u8]| [r, s].concat();
    let mut signatures = altered(&valid, &other);
    signatures.extend(
        [
            // CVE-2022-21449, the "psychic" signatures, and similar ones.
            ("r and s zero", pair(&zero, &zero)),
            ("r zero", pair(&zero, s)),
            ("s zero", pair(r, &zero)),
            ("r and s the order", pair(&ORDER, &ORDER)),
            ("r the order", pair(&ORDER, s)),
            ("s the order", pair(r, &ORDER)),
            ("r zero, s the order", pair(&zero, &ORDER)),
            ("r and s one", pair(&one, &one)),
            ("r one", pair(&one, s)),
            ("s one", pair(r, &one)),
            ("r negated", pair(&minus(&ORDER, r), s)),
            ("r and s negated", pair(&minus(&ORDER, r), &minus(&ORDER, s))),
            ("r and s exchanged", pair(s, r)),
            ("in DER", in_der(&valid)),
            ("zeros in DER", in_der(&[0; 64])),
            ("of an empty DER sequence", vec![0x30, 0]),
            ("as of P-384", [&[0; 16], r, &[0; 16], s].concat()),
        ]
        .map(|(what, signature)| (what.to_owned(), signature)),
    );
    rows(&message, signatures)
}

pub fn rsa(forge: &Forge<'_>) -> Vec<Row> {
    let wish = |subject| {
        let wish = MintRequest { algorithm: Algorithm::RS256, ..MintRequest::of(subject) };
        wish.with("iss", forge.iss())
    };
    let (message, valid) = split(&forge.issuer().mint(&wish("alice")).unwrap());
    let (_, other) = split(&forge.issuer().mint(&wish("bob")).unwrap());
    let modulus = decoded(&forge.jwk("RSA")["n"]);
    let mut one = vec![0; 256];
    one[255] = 1;
    let mut signatures = altered(&valid, &other);
    signatures.extend([
        ("one".to_owned(), one.clone()),
        ("the modulus".to_owned(), modulus.clone()),
        ("the modulus and one".to_owned(), and_one(modulus)),
        ("as of 1024 bits".to_owned(), valid[128..].to_vec()),
    ]);
    rows(&message, signatures)
}
