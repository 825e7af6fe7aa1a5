//! A request's id, as it stands in `X-Request-Id`, in problems and in the log.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that it comes and goes in.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest one taken from a client, in bytes: it's logged, and passed back.
const MAX_BYTES: usize = 128;

/// The id: letters, digits, `-`, `_` and `.`. Clones share their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own when it is a sane one, else a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).filter(|sent| is_sane(sent.as_bytes()));
        sent.map_or_else(Self::random, |sent| Self(sent.clone()))
    }

    /// 128 random bits, as 32 hex digits.
    pub(super) fn random() -> Self {
        let digits = format!("{:032x}", rand::random::<u128>());
        Self(HeaderValue::try_from(digits).unwrap_or(HeaderValue::from_static("-")))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The value of the header.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
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
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
