//! Checks of the form fields of Create and Update.
//!
//! Juspay documents how an empty field is rejected. It requires customer ids of at least 8 characters,
//! and recommends mobile numbers without `+` and country code. It doesn't document what happens to
//! other values, so these checks are off by default.

use crate::{
    customers::Contact,
    errors::{self, INVALID_VALUE},
    http::Request,
    response::Response,
};

/// The documented minimum length of an `object_reference_id`, in characters.
const MIN_REFERENCE: usize = 8;

/// Length of a mobile number from which on it may contain the country code.
const LONG_NUMBER: usize = 11;

/// The country code of numbers without one: Juspay documents no default, but India's in its examples.
const DEFAULT_COUNTRY_CODE: &str = "91";

/// The form fields that Create and Update accept in addition to the id.
const CONTACT_FIELDS: [&str; 5] =
    ["mobile_number", "mobile_country_code", "email_address", "first_name", "last_name"];

/// Whether a new customer can have this id.
pub(super) fn is_valid_reference(reference: &str, strict: bool) -> bool {
    reference.chars().count() >= if strict { MIN_REFERENCE } else { 1 }
}

/// The contact fields of a form. Present fields mustn't be empty.
pub(super) fn contact(request: &Request, strict: bool) -> Result<Contact, Response> {
    let is_invalid = |field: &&str| {
        request.form_value(field).is_some_and(|value| {
            value.is_empty() || (strict && !follows_recommendation(request, field, &value))
        })
    };
    let reasoned = |field| (field, INVALID_VALUE);
    let invalid: Vec<_> = CONTACT_FIELDS.into_iter().filter(is_invalid).map(reasoned).collect();
    if !invalid.is_empty() {
        return Err(errors::invalid_fields(&invalid));
    }
    Ok(Contact {
        mobile_number: request.form_value("mobile_number"),
        mobile_country_code: request.form_value("mobile_country_code"),
        email_address: request.form_value("email_address"),
        first_name: request.form_value("first_name"),
        last_name: request.form_value("last_name"),
    })
}

/// Whether a value looks as Juspay recommends: numbers without `+`, and the country code in its own field.
fn follows_recommendation(request: &Request, field: &str, value: &str) -> bool {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    match field {
        "mobile_country_code" => is_number,
        "mobile_number" => {
            let code = request.form_value("mobile_country_code");
            let code = code.as_deref().unwrap_or(DEFAULT_COUNTRY_CODE);
            is_number && !(value.len() >= LONG_NUMBER && value.starts_with(code))
        }
        _ => true,
    }
}
