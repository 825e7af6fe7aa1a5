//! Ed25519 keys of small order, for which anyone can make signatures (RFC 8032 §5.1.7, RFC 8725
//! §3.4).
//!
//! Such a point has so few multiples that trying a few messages finds a valid signature. One of
//! these keys is 32 zero bytes, which an issuer may publish by mistake. The library accepts them
//! all.

/// The encodings of these points without the sign, which is the highest bit: order 4 (`y` = 0), 1
/// (`y` = 1), 8, 8 and 2 (`y` = p − 1). The library rejects p and p + 1 as encodings of 0 and 1.
const ENCODINGS: [[u8; 32]; 5] = [
    all(0x00, 0x00, 0x00),
    all(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    all(0xec, 0xff, 0x7f),
];

const fn all(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let [start, .., end] = &mut bytes;
    *start = first;
    *end = last;
    bytes
}

/// Whether `key` is a point of small order.
pub(super) fn is_small_order(key: &[u8]) -> bool {
    let Some((sign, rest)) = key.split_last() else { return false };
    ENCODINGS.iter().any(|[most @ .., last]| most == rest && *last == sign & 0x7f)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};

    use super::*;

    /// Tries each point of small order as the first half of a signature, with zero as the second.
    /// One of them is valid for some message.
    fn forged(key: &[u8]) -> bool {
        let Ok(key) = ParsedPublicKey::new(&ED25519, key) else { return false };
        let is_good = |half: &[u8; 32], message: u8| {
            let signature = [half.as_slice(), &[0; 32]].concat();
            key.verify_sig(&[message], &signature).is_ok()
        };
        ENCODINGS.iter().any(|half| (0..=u8::MAX).any(|message| is_good(half, message)))
    }

    #[test]
    fn signatures_for_keys_of_small_order_can_be_forged() {
        for key in ENCODINGS {
            assert!(forged(&key), "{key:02x?} is listed without need");
            let [most @ .., last] = key;
            let negative = [most.as_slice(), &[last | 0x80]].concat();
            assert!(is_small_order(&key) && is_small_order(&negative), "{key:02x?}");
        }
    }

    #[test]
    fn other_keys_are_not_of_small_order() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        for key in [key, all(0xed, 0xff, 0x7f), all(0xee, 0xff, 0x7f)] {
            assert!(!is_small_order(&key) && !forged(&key), "{key:02x?}");
        }
        for short in [&[][..], &[0; 31], &[0; 33]] {
            assert!(!is_small_order(short));
        }
    }
}
