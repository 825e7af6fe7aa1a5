//! `Basic` credentials (RFC 7617), made in memory that is wiped when the last of them is dropped.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use secrecy::zeroize::Zeroizing;

const SCHEME: &str = "Basic ";

/// `Basic base64("USER:PASSWORD")`, for a header that is marked as not to be printed.
///
/// A `HeaderValue` made of it (`from_maybe_shared`) is no copy.
#[must_use]
pub fn basic(user: &str, password: &str) -> Bytes {
    // `concat` has room for all from the start: what grows is moved, and leaves its content behind.
    let pair = Zeroizing::new([user, ":", password].concat());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    Bytes::from_owner(Zeroizing::new([SCHEME, &*encoded].concat().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_rfc() {
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("test", "123\u{a3}"), "Basic dGVzdDoxMjPCow==");
        assert_eq!(basic("key", ""), "Basic a2V5Og==");
        assert_eq!(basic("", ""), "Basic Og==");
    }
}
