//! What a missing customer is created from: claims of its verified access token.
//!
//! The form of Juspay's Create Customer is built here, so that nothing else can add to it (promise P1).

use std::fmt;

use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};

use super::{CustomerId, MobileNumber};

/// Longest e-mail address and name in bytes. An e-mail address has at most 254 (RFC 5321); Juspay documents
/// no limit for names.
const MAX_EMAIL_BYTES: usize = 254;
const MAX_NAME_BYTES: usize = 255;

/// The values of a new customer. `Debug` shows none of them, because they are personal data.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NewCustomer {
    /// `None` if the token has no verified mobile number. Then the customer can't be created.
    mobile_number: Option<MobileNumber>,
    email_address: Option<Box<str>>,
    first_name: Option<Box<str>>,
    last_name: Option<Box<str>>,
}

/// A field of Create Customer, as Juspay names it in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewCustomerField {
    /// `object_reference_id`: the customer's id.
    ObjectReferenceId,
    /// `mobile_number`
    MobileNumber,
    /// `mobile_country_code`
    MobileCountryCode,
    /// `email_address`
    EmailAddress,
    /// `first_name`
    FirstName,
    /// `last_name`
    LastName,
}

impl NewCustomerField {
    /// Every field that is sent.
    pub const ALL: [Self; 6] = [
        Self::ObjectReferenceId,
        Self::MobileNumber,
        Self::MobileCountryCode,
        Self::EmailAddress,
        Self::FirstName,
        Self::LastName,
    ];

    /// Juspay's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ObjectReferenceId => "object_reference_id",
            Self::MobileNumber => "mobile_number",
            Self::MobileCountryCode => "mobile_country_code",
            Self::EmailAddress => "email_address",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
        }
    }

    /// The field with this name, also in the spelling of some of Juspay's versions: `objectReferenceId`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let name = plain(name);
        Self::ALL.into_iter().find(|field| plain(field.name()) == name)
    }
}

impl NewCustomer {
    /// Unusable optional values count as missing: text with control characters, or too long.
    #[must_use]
    pub fn new(
        mobile_number: Option<MobileNumber>,
        email_address: Option<&str>,
        first_name: Option<&str>,
        last_name: Option<&str>,
    ) -> Self {
        let is_email = |text: &str| text.contains('@') && !text.contains(char::is_whitespace);
        let name = |name: Option<&str>| name.and_then(|name| text(name, MAX_NAME_BYTES));
        Self {
            mobile_number,
            email_address: email_address
                .and_then(|email| text(email, MAX_EMAIL_BYTES))
                .filter(|email| is_email(email)),
            first_name: name(first_name),
            last_name: name(last_name),
        }
    }

    /// Whether Juspay's required values are present.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.mobile_number.is_some()
    }

    /// The form that creates this customer and returns it with a client auth token.
    #[must_use]
    pub fn form(&self, id: &CustomerId) -> String {
        let mobile_number = self.mobile_number.as_ref();
        let values = NewCustomerField::ALL.map(|field| {
            let value = match field {
                NewCustomerField::ObjectReferenceId => Some(id.as_str()),
                NewCustomerField::MobileNumber => mobile_number.map(MobileNumber::national),
                NewCustomerField::MobileCountryCode => {
                    mobile_number.map(MobileNumber::country_code)
                }
                NewCustomerField::EmailAddress => self.email_address.as_deref(),
                NewCustomerField::FirstName => self.first_name.as_deref(),
                NewCustomerField::LastName => self.last_name.as_deref(),
            };
            Some((field.name(), value?))
        });
        Serializer::new(String::new())
            .extend_pairs(values.into_iter().flatten())
            .append_pair("options.get_client_auth_token", "true")
            .finish()
    }
}

/// The trimmed text; `None` if it is empty, too long or has control characters.
fn text(text: &str, max_bytes: usize) -> Option<Box<str>> {
    let text = text.trim();
    let is_usable = (1..=max_bytes).contains(&text.len()) && !text.contains(char::is_control);
    is_usable.then(|| text.into())
}

impl fmt::Debug for NewCustomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewCustomer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(email: &str, first_name: &str, last_name: &str) -> String {
        let mobile_number = MobileNumber::parse("+919876543210");
        let new = NewCustomer::new(mobile_number, Some(email), Some(first_name), Some(last_name));
        new.form(&CustomerId::parse("a&b=c").unwrap())
    }

    #[test]
    fn form_has_every_value_once() {
        let start = "object_reference_id=a%26b%3Dc&mobile_number=9876543210&mobile_country_code=91";
        let end = "&options.get_client_auth_token=true";
        assert_eq!(
            form("a+b@example.com", "Asha & Co", "ग्"),
            format!(
                "{start}&email_address=a%2Bb%40example.com&first_name=Asha+%26+Co\
                 &last_name=%E0%A4%97%E0%A5%8D{end}"
            )
        );
        let long = "x".repeat(256);
        let long_email = format!("{}@example.com", "x".repeat(243));
        for (email, name) in [
            ("", ""),
            (" ", " "),
            ("no address", "a\nb"),
            ("a b@example.com", "a\0"),
            ("none", &long),
            (&long_email, "\u{7f}"),
        ] {
            assert_eq!(form(email, name, name), format!("{start}{end}"), "{email:?} {name:?}");
        }
        assert!(form(" a@example.com ", " A ", "").contains("=a%40example.com&first_name=A&opt"));
    }

    #[test]
    fn fields_are_found_by_either_spelling() {
        for field in NewCustomerField::ALL {
            assert_eq!(NewCustomerField::from_name(field.name()), Some(field));
        }
        let found = NewCustomerField::from_name("objectReferenceId");
        assert_eq!(found, Some(NewCustomerField::ObjectReferenceId));
        for other in ["", "id", "options.get_client_auth_token", "mobile_number "] {
            assert_eq!(NewCustomerField::from_name(other), None, "{other}");
        }
    }

    #[test]
    fn p2_debug_shows_no_value() {
        let mobile_number = MobileNumber::parse("+919876543210");
        let new = NewCustomer::new(mobile_number, Some("a@example.com"), Some("Asha"), None);
        assert_eq!(format!("{new:?}"), "NewCustomer(…)");
    }
}
