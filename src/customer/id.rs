//! Customer ids: what may become a segment of Juspay's URL, and the cache's key.

use std::{fmt, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest id taken, in bytes. Juspay tells no limit; the longest e-mail address has 254.
const MAX_BYTES: usize = 256;

/// All but RFC 3986's unreserved characters is percent-encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A customer's id as Juspay is asked for it: never empty, never a path of its own.
///
/// `Debug` doesn't show it: ids are often e-mail addresses or phone numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CustomerId(Arc<str>);

/// Why a text can't be a customer id. The text itself is left out: it may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustomerIdError {
    /// Nothing, or nothing but a prefix.
    #[error("the customer id is empty")]
    Empty,
    /// More than 256 bytes.
    #[error("the customer id is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// `.` or `..`, which URL parsers take for a path.
    #[error("the customer id is a dot segment")]
    DotSegment,
    /// A slash, backslash, control character, or white space at an end.
    #[error("the customer id contains an invalid character")]
    Character,
}

impl CustomerId {
    /// Takes `text` as a customer id.
    ///
    /// # Errors
    /// When the text could become anything but exactly one path segment.
    pub fn parse(text: &str) -> Result<Self, CustomerIdError> {
        let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\');
        if text.is_empty() {
            Err(CustomerIdError::Empty)
        } else if text.len() > MAX_BYTES {
            Err(CustomerIdError::TooLong)
        } else if matches!(text, "." | "..") {
            Err(CustomerIdError::DotSegment)
        } else if text.contains(forbidden) || text.trim() != text {
            Err(CustomerIdError::Character)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The id itself: for Juspay and for comparing, not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same id in the memory of `text`, where that says the same.
    #[must_use]
    pub fn shared_with(self, text: &Arc<str>) -> Self {
        if self.0 == *text { Self(Arc::clone(text)) } else { self }
    }

    /// The id as exactly one path segment (RFC 3986 §3.3).
    #[must_use]
    pub fn path_segment(&self) -> impl fmt::Display + '_ {
        utf8_percent_encode(&self.0, SEGMENT)
    }
}

impl fmt::Debug for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerId(…)")
    }
}

/// Which of a customer's ids Juspay is asked for (`juspay.customer_id_form`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerIdForm {
    /// The merchant's own: the answer's `object_reference_id` must be the id asked for.
    Merchant,
    /// Juspay's `cst_…`: the answer's `id` must be the id asked for.
    Juspay,
}

impl CustomerIdForm {
    /// Whether `id` can be an id of this form.
    #[must_use]
    pub fn takes(self, id: &CustomerId) -> bool {
        match self {
            Self::Merchant => true,
            Self::Juspay => id.as_str().starts_with("cst_"),
        }
    }
}

/// What a cached customer is found by: all that alters Juspay's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CustomerKey {
    /// Juspay's `x-merchantid`.
    pub merchant: Arc<str>,
    /// The customer asked for.
    pub customer: CustomerId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_of_every_day_pass() {
        for id in [
            "alice",
            "cst_x3h",
            "a.b@example.com",
            "+91 98765",
            "ünïcode",
            "100%",
            "a..b",
            "...",
            "~",
        ] {
            assert!(CustomerId::parse(id).is_ok(), "{id}");
        }
    }

    #[test]
    fn what_is_not_one_segment_is_refused() {
        let long = "x".repeat(MAX_BYTES + 1);
        for (id, why) in [
            ("", CustomerIdError::Empty),
            (long.as_str(), CustomerIdError::TooLong),
            (".", CustomerIdError::DotSegment),
            ("..", CustomerIdError::DotSegment),
            ("a/b", CustomerIdError::Character),
            ("a\\b", CustomerIdError::Character),
            ("a\0", CustomerIdError::Character),
            ("a\nb", CustomerIdError::Character),
            ("a\u{85}b", CustomerIdError::Character),
            (" a", CustomerIdError::Character),
            ("a ", CustomerIdError::Character),
        ] {
            assert_eq!(CustomerId::parse(id), Err(why), "{id:?}");
        }
        assert!(CustomerId::parse(&"x".repeat(MAX_BYTES)).is_ok());
    }

    #[test]
    fn reserved_characters_are_encoded() {
        let id = CustomerId::parse("a b+c@d.e?f#g%2F;h=i").unwrap();
        assert_eq!(id.path_segment().to_string(), "a%20b%2Bc%40d.e%3Ff%23g%252F%3Bh%3Di");
    }

    #[test]
    fn juspays_own_ids_begin_with_cst() {
        let takes = |form: CustomerIdForm, id| form.takes(&CustomerId::parse(id).unwrap());
        assert!(takes(CustomerIdForm::Juspay, "cst_1") && takes(CustomerIdForm::Merchant, "cst_1"));
        assert!(
            !takes(CustomerIdForm::Juspay, "alice") && takes(CustomerIdForm::Merchant, "alice")
        );
    }

    #[test]
    fn debug_hides_the_id() {
        let id = CustomerId::parse("alice@example.com").unwrap();
        assert!(!format!("{id:?}").contains("alice"));
    }

    proptest! {
        #[test]
        fn an_id_is_one_segment_and_comes_back(text in any::<String>()) {
            if let Ok(id) = CustomerId::parse(&text) {
                let segment = id.path_segment().to_string();
                prop_assert!(!segment.contains(['/', '?', '#', '\\']) && segment.is_ascii());
                let back = percent_encoding::percent_decode_str(&segment).decode_utf8().unwrap();
                prop_assert_eq!(back, text);
            }
        }
    }
}
