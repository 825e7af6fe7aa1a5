//! A request's id, as it stands in `X-Request-Id`, in problems and in the log.

use std::cell::RefCell;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use rand::{RngExt as _, rngs::SmallRng};

thread_local! {
    /// Ids must differ, not be unforeseeable, and nearly every request needs one.
    static RANDOM: RefCell<SmallRng> = RefCell::new(rand::make_rng());
}

/// The header that it comes and goes in.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest one taken from a client, in bytes: it's logged, and passed back.
const MAX_BYTES: usize = 128;

/// Digits of one made here.
const RANDOM_DIGITS: usize = 32;

/// The id: letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl RequestId {
    /// The client's own when it is a sane one, else a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::sent(headers.get(REQUEST_ID))
    }

    /// The same, by the value of that header.
    pub(super) fn sent(value: Option<&HeaderValue>) -> Self {
        let sent = value.map(HeaderValue::as_bytes);
        sent.filter(|sent| is_sane(sent)).map_or_else(Self::random, Self::from_sane)
    }

    /// 128 random bits, as 32 hex digits.
    pub(super) fn random() -> Self {
        let bits: [u8; 16] = RANDOM.with_borrow_mut(SmallRng::random);
        let mut id = Self { bytes: [0; MAX_BYTES], length: RANDOM_DIGITS };
        for (pair, byte) in id.bytes.as_chunks_mut().0.iter_mut().zip(bits) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 0xf)];
        }
        id
    }

    fn from_sane(sent: &[u8]) -> Self {
        let mut id = Self { bytes: [0; MAX_BYTES], length: sent.len() };
        id.bytes.iter_mut().zip(sent).for_each(|(to, from)| *to = *from);
        id
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The value of the header.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_bytes()).unwrap_or(HeaderValue::from_static("-"))
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Quicker than `format!`, and needed for nearly every request.
const fn hex_digit(half: u8) -> u8 {
    if half < 10 { b'0'.wrapping_add(half) } else { b'a'.wrapping_add(half.wrapping_sub(10)) }
}

fn is_sane(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    !id.is_empty() && id.len() <= MAX_BYTES && id.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn sane_request_ids_are_kept_and_others_replaced() {
        let longest = "x".repeat(MAX_BYTES);
        for sane in ["a", "7f3d2c1a-4b5e_6.7", &longest] {
            assert_eq!(id_for(sane), sane);
        }
        for odd in ["", "a b", "a\"b", "a{b", "ä", &format!("{longest}x")] {
            let made = id_for(odd);
            assert!(made.len() == 32 && made != odd, "{odd:?} became {made:?}");
            assert!(u128::from_str_radix(&made, 16).is_ok(), "{made}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
