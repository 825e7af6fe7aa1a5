//! The id of a request, in `X-Request-Id`, in problem responses and in the log.

use std::cell::RefCell;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use rand::{RngExt as _, rngs::SmallRng};

thread_local! {
    /// Ids must be unique, not unpredictable, and most requests need one.
    static RANDOM: RefCell<SmallRng> = RefCell::new(rand::make_rng());
}

/// The header of the request and of the response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of a client's id, in bytes.
const MAX_BYTES: usize = 128;

/// An id of letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id if it is valid, otherwise a random one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).filter(|sent| is_valid(sent.as_bytes()));
        sent.map_or_else(Self::random, |sent| Self(sent.clone()))
    }

    /// 128 random bits, as 32 hex digits.
    #[must_use]
    pub fn random() -> Self {
        let bits: u128 = RANDOM.with_borrow_mut(SmallRng::random);
        let digits = HeaderValue::try_from(format!("{bits:032x}"));
        // Digits are a valid header value.
        Self(digits.unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The value of the header.
    #[must_use]
    pub const fn header(&self) -> &HeaderValue {
        &self.0
    }
}

fn is_valid(id: &[u8]) -> bool {
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
    fn valid_request_ids_are_kept_and_others_replaced() {
        let longest = "x".repeat(MAX_BYTES);
        for valid in ["a", "7f3d2c1a-4b5e_6.7", &longest] {
            assert_eq!(id_for(valid), valid);
        }
        for invalid in ["", "a b", "a\"b", "a{b", "ä", &format!("{longest}x")] {
            let random = id_for(invalid);
            assert!(random.len() == 32 && random != invalid, "{invalid:?} became {random:?}");
            assert!(u128::from_str_radix(&random, 16).is_ok(), "{random}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
