//! What must hold whatever Juspay answers. For the fuzz targets and the tests only: no program has
//! this in it.

#![expect(clippy::expect_used, reason = "what can't be is a finding")]

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};

use super::{InvalidAnswer, JuspayError, wire};
use crate::customer::{ClientAuth, CustomerId, CustomerIdForm, Field, FieldSet};

/// The token in an answer that is about the right customer.
type Auth = Result<ClientAuth, InvalidAnswer>;

/// Takes the body of an answer and panics where a promise is broken. The token's expiry is for the
/// cache to judge.
pub fn answer(body: &[u8]) -> Option<ClientAuth> {
    check_not_found(body);
    let [merchant, juspay] = [
        read(body, "alice", CustomerIdForm::Merchant),
        read(body, "cst_1", CustomerIdForm::Juspay),
    ];
    for (other, form) in [("bob", CustomerIdForm::Merchant), ("cst_2", CustomerIdForm::Juspay)] {
        let asked = CustomerId::parse(other).expect("an id");
        let is_other = merchant.is_some() && form == CustomerIdForm::Merchant
            || juspay.is_some() && form == CustomerIdForm::Juspay;
        assert!(!is_other || wire::customer(body, &asked, form).is_err(), "about two customers");
    }
    merchant.or(juspay)?.ok()
}

/// The token when the answer is taken for one about `id`.
fn read(body: &[u8], id: &str, form: CustomerIdForm) -> Option<Auth> {
    let asked = CustomerId::parse(id).expect("an id");
    let (customer, auth) = wire::customer(body, &asked, form).ok()?;
    let document = document(body).expect("an object");
    assert_eq!(named(&document, form), Some(id), "about another customer");
    let told = auth.as_ref().ok();
    let json = customer.to_json(&FieldSet::all(), told);
    assert_eq!(json.has_token(), told.is_some());
    assert_eq!(json.len(), json.with_token().len());
    check_told(&json.with_token(), &document, told);
    check_told(&json.without_token(), &document, None);
    Some(auth)
}

/// The members that `serde_json` reads: what is passed over may be what it doesn't.
fn document(body: &[u8]) -> Option<Map<String, Value>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    let read =
        |(name, value): (String, &RawValue)| Some((name, serde_json::from_str(value.get()).ok()?));
    Some(members.into_iter().filter_map(read).collect())
}

/// Whom the answer is about.
fn named(document: &Map<String, Value>, form: CustomerIdForm) -> Option<&str> {
    let names: &[&str] = match form {
        CustomerIdForm::Merchant => &["object_reference_id", "customer_id"],
        CustomerIdForm::Juspay => &["id"],
    };
    let present = names.iter().filter_map(|name| document.get(*name));
    present.into_iter().find(|value| !value.is_null()).and_then(Value::as_str)
}

/// What a phone is told: documented fields, each as Juspay has told it.
fn check_told(json: &[u8], document: &Map<String, Value>, auth: Option<&ClientAuth>) {
    let told: Map<String, Value> = serde_json::from_slice(json).expect("an object");
    for (name, value) in &told {
        match Field::named(name).expect("a documented field") {
            Field::Juspay => check_token(value, document, auth.expect("a token")),
            Field::DateCreated | Field::LastUpdated => {
                assert!(value.is_null() || is_in_style(value), "a date of another style");
            }
            Field::Id
            | Field::Object
            | Field::ObjectReferenceId
            | Field::CustomerId
            | Field::MobileCountryCode
            | Field::MobileNumber
            | Field::EmailAddress
            | Field::FirstName
            | Field::LastName => {
                assert!(!value.is_object() && !value.is_array(), "{name} isn't a scalar");
                assert_eq!(document.get(name), Some(value), "{name} has changed");
            }
        }
    }
    assert_eq!(told.contains_key("juspay"), auth.is_some());
}

fn check_token(told: &Value, document: &Map<String, Value>, auth: &ClientAuth) {
    let told = told.as_object().expect("an object");
    let names: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(names, ["client_auth_token", "client_auth_token_expiry"]);
    let token = told.get("client_auth_token");
    assert!(token.and_then(Value::as_str).is_some_and(|token| !token.is_empty()), "no token");
    assert_eq!(token, document.get("juspay").and_then(|juspay| juspay.get("client_auth_token")));
    let expiry = told.get("client_auth_token_expiry").expect("an expiry");
    assert!(is_in_style(expiry), "an expiry of another style");
    let expiry = expiry.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    assert!(expiry.expect("a time") <= auth.expiry, "later than Juspay says");
}

/// `YYYY-MM-DDTHH:MM:SSZ`.
fn is_in_style(date: &Value) -> bool {
    let is_separator = |(index, byte)| match index {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'Z',
        _ => u8::is_ascii_digit(&byte),
    };
    date.as_str().is_some_and(|date| date.len() == 20 && date.bytes().enumerate().all(is_separator))
}

fn check_not_found(body: &[u8]) {
    let says_so = matches!(wire::not_found(body), JuspayError::CustomerNotFound);
    let document = serde_json::from_slice::<Map<String, Value>>(body).unwrap_or_default();
    let inner = document.get("error_info").and_then(|info| info.get("code"));
    let codes = [document.get("error_code"), inner].into_iter().flatten().filter_map(Value::as_str);
    let is_said =
        codes.into_iter().any(|code| ["object_not_found", "RESOURCE_NOT_FOUND"].contains(&code));
    assert!(!says_so || is_said, "a customer that is said not to be, though nobody says so");
}

/// The `Date` of an answer.
pub fn date(text: &str) -> Option<jiff::Timestamp> {
    crate::clock::http_date(text)
}
