//! `Basic` credentials (RFC 7617), in memory that is wiped when the last copy is dropped.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use secrecy::zeroize::Zeroizing;

const SCHEME: &str = "Basic ";

/// `Basic base64("USER:PASSWORD")`, for a header that must not be logged.
///
/// A `HeaderValue` made of it with `from_maybe_shared` shares its memory.
#[must_use]
pub fn credentials(user: &str, password: &str) -> Bytes {
    // `concat` allocates the full length at once. Growing would leave copies of the secret in
    // memory.
    let pair = Zeroizing::new([user, ":", password].concat());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    Bytes::from_owner(Zeroizing::new([SCHEME, &*encoded].concat().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_match_the_rfc_examples() {
        assert_eq!(credentials("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(credentials("test", "123\u{a3}"), "Basic dGVzdDoxMjPCow==");
        assert_eq!(credentials("key", ""), "Basic a2V5Og==");
        assert_eq!(credentials("", ""), "Basic Og==");
    }
}
