//! The customer's id, which is a path segment of Juspay's URL and the cache's key, Juspay's customer object
//! and its client auth token.
//!
//! No I/O, no HTTP, no time. `Debug` output never contains personal data or tokens.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod mobile_number;
mod new_customer;
mod object;
mod reference;

use std::{borrow::Cow, fmt, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::{
    mobile_number::MobileNumber,
    new_customer::{NewCustomer, NewCustomerField},
    object::{
        ClientAuth, ClientAuthToken, Customer, CustomerJson, Field, FieldSet, date_json,
        whole_seconds,
    },
    reference::{CustomerRef, CustomerRefKey},
};

/// Maximum length of an id in bytes. Juspay documents no limit; the longest e-mail address has 254
/// bytes (RFC 5321).
const MAX_BYTES: usize = 256;

/// Everything except RFC 3986's unreserved characters is percent-encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A customer id that is safe in Juspay's URL: never empty, never more than one path segment.
///
/// `Debug` doesn't show it, because ids are often e-mail addresses or phone numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CustomerId(Arc<str>);

/// Why a string isn't a customer id. The string itself may be personal and is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustomerIdError {
    /// Empty, or only a prefix.
    #[error("the customer id is empty")]
    Empty,
    /// More than 256 bytes.
    #[error("the customer id is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// `.` or `..`, which URL parsers resolve as path segments.
    #[error("the customer id is a dot segment")]
    DotSegment,
    /// A slash, backslash or control character, or leading or trailing white space.
    #[error("the customer id contains an invalid character")]
    Character,
}

impl CustomerId {
    /// Parses a customer id.
    ///
    /// # Errors
    /// If `text` could be anything other than exactly one path segment.
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

    /// The id itself, for Juspay and for comparisons. Never log it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reuses the allocation of `text` if it holds the same id.
    #[must_use]
    pub fn reusing(self, text: &Arc<str>) -> Self {
        if self.0 == *text { Self(Arc::clone(text)) } else { self }
    }

    /// Juspay's `x-routing-id`, which must be the same in every call for the customer, also in the app's own.
    ///
    /// The plain id where that is unambiguous, else percent-encoded: with a raw `%`, the ids `a b` and
    /// `a%20b` would get the same routing id.
    #[must_use]
    pub fn routing_id(&self) -> Cow<'_, str> {
        let is_plain = self.0.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
        if is_plain { Cow::Borrowed(&self.0) } else { self.path_segment().to_string().into() }
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

/// Which id identifies the customer in calls to Juspay (`juspay.customer_id_form`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerIdForm {
    /// The merchant's id. The response's `object_reference_id` must equal it.
    Merchant,
    /// Juspay's `cst_…` id. The response's `id` must equal it.
    Juspay,
}

impl CustomerIdForm {
    /// Whether `id` is valid in this form.
    #[must_use]
    pub fn accepts(self, id: &CustomerId) -> bool {
        match self {
            Self::Merchant => true,
            Self::Juspay => id.as_str().starts_with("cst_"),
        }
    }
}

/// The cache key: everything that changes Juspay's response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CustomerKey {
    /// Juspay's `x-merchantid`.
    pub merchant: Arc<str>,
    /// The requested customer.
    pub customer: CustomerId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_ids_are_accepted() {
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
    fn ids_that_are_not_one_path_segment_are_rejected() {
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
    fn juspay_ids_start_with_cst() {
        let accepts = |form: CustomerIdForm, id| form.accepts(&CustomerId::parse(id).unwrap());
        assert!(
            accepts(CustomerIdForm::Juspay, "cst_1") && accepts(CustomerIdForm::Merchant, "cst_1")
        );
        assert!(
            !accepts(CustomerIdForm::Juspay, "alice") && accepts(CustomerIdForm::Merchant, "alice")
        );
    }

    #[test]
    fn debug_hides_the_id() {
        let id = CustomerId::parse("alice@example.com").unwrap();
        assert!(!format!("{id:?}").contains("alice"));
    }

    proptest! {
        #[test]
        fn encoded_id_is_one_segment_and_decodes_to_itself(text in any::<String>()) {
            if let Ok(id) = CustomerId::parse(&text) {
                let segment = id.path_segment().to_string();
                prop_assert!(!segment.contains(['/', '?', '#', '\\']) && segment.is_ascii());
                let back = percent_encoding::percent_decode_str(&segment).decode_utf8().unwrap();
                prop_assert_eq!(back, text);
            }
        }
    }
}
