//! Invariants that hold for every response from Juspay. Compiled for fuzz targets and tests only.

#![expect(clippy::expect_used, reason = "a panic is a finding")]

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use super::{InvalidResponse, JuspayError, response};
use crate::customer::{ClientAuth, CustomerId, CustomerIdForm, Field, FieldSet};

/// The token of a response about the right customer.
type Auth = Result<ClientAuth, InvalidResponse>;

/// Parses a response body and panics if an invariant is violated. The cache checks the token's
/// expiry.
pub(crate) fn response(body: &[u8]) -> Option<ClientAuth> {
    check_not_found(body);
    let [merchant, juspay] = [
        read(body, "alice", CustomerIdForm::Merchant),
        read(body, "cst_1", CustomerIdForm::Juspay),
    ];
    for (other, form) in [("bob", CustomerIdForm::Merchant), ("cst_2", CustomerIdForm::Juspay)] {
        let requested = CustomerId::parse(other).expect("an id");
        let is_other = merchant.is_some() && form == CustomerIdForm::Merchant
            || juspay.is_some() && form == CustomerIdForm::Juspay;
        assert!(
            !is_other || response::customer(body, &requested, form).is_err(),
            "about two customers"
        );
    }
    merchant.or(juspay)?.ok()
}

/// The token if the response is accepted as one about `id`.
fn read(body: &[u8], id: &str, form: CustomerIdForm) -> Option<Auth> {
    let requested = CustomerId::parse(id).expect("an id");
    let (customer, auth) = response::customer(body, &requested, form).ok()?;
    check_exact(body);
    let document = document(body).expect("an object");
    assert_eq!(named(&document, form), Some(id), "about another customer");
    let usable = auth.as_ref().ok();
    let json = customer.to_json(&FieldSet::all(), usable);
    assert_eq!(json.has_token(), usable.is_some());
    assert_eq!(json.len(), json.with_token().len());
    check_client_json(&json.with_token(), &document, usable);
    check_client_json(&json.without_token(), &document, None);
    Some(auth)
}

/// Checks that ids, token and expiry occur in the body once, exactly as parsed.
fn check_exact(body: &[u8]) {
    let text = response::repaired(body);
    let Pairs(object) = serde_json::from_str(&text).expect("an object");
    let ids = ["object_reference_id", "customer_id", "id"];
    check_written_once(body, &object, &ids);
    let of_token = object.iter().filter(|(name, _)| name == "juspay");
    let of_token: Vec<_> = of_token.map(|(_, value)| value).collect();
    assert!(of_token.len() <= 1, "juspay occurs twice");
    for juspay in of_token {
        let Ok(Pairs(juspay)) = serde_json::from_str(juspay.get()) else { continue };
        check_written_once(body, &juspay, &["client_auth_token", "client_auth_token_expiry"]);
    }
}

fn check_written_once(body: &[u8], object: &[(String, &RawValue)], names: &[&str]) {
    for name in names {
        let values: Vec<_> = object.iter().filter(|(it, _)| it == name).collect();
        assert!(values.len() <= 1, "{name} occurs twice");
        for (_, value) in values {
            let written = value.get().as_bytes();
            let is_written = body.windows(written.len()).any(|part| part == written);
            assert!(is_written, "{name} isn't as it was written");
        }
    }
}

/// All members of an object, in order.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// Parses the body with `serde_json`, in which the last of several members with the same name wins.
/// Members that the code under test skips may be invalid for `serde_json`.
fn document(body: &[u8]) -> Option<Map<String, Value>> {
    object(&response::repaired(body), true)
}

/// With `is_deep`, nested objects are parsed in the same way.
fn object(text: &str, is_deep: bool) -> Option<Map<String, Value>> {
    let Pairs(members) = serde_json::from_str(text).ok()?;
    let members: BTreeMap<String, &RawValue> = members.into_iter().collect();
    let read = |(name, value): (String, &RawValue)| {
        let inner = if is_deep { object(value.get(), false) } else { None };
        let inner = inner.map(Value::Object);
        Some((name, inner.or_else(|| serde_json::from_str(value.get()).ok())?))
    };
    Some(members.into_iter().filter_map(read).collect())
}

/// The customer that the response identifies.
fn named(document: &Map<String, Value>, form: CustomerIdForm) -> Option<&str> {
    let names: &[&str] = match form {
        CustomerIdForm::Merchant => &["object_reference_id", "customer_id"],
        CustomerIdForm::Juspay => &["id"],
    };
    let present = names.iter().filter_map(|name| document.get(*name));
    present.into_iter().find(|value| !value.is_null()).and_then(Value::as_str)
}

/// Checks what clients receive: documented fields only, with Juspay's values.
fn check_client_json(json: &[u8], document: &Map<String, Value>, auth: Option<&ClientAuth>) {
    let json: Map<String, Value> = serde_json::from_slice(json).expect("an object");
    for (name, value) in &json {
        match Field::from_name(name).expect("a documented field") {
            Field::Juspay => check_token(value, document, auth.expect("a token")),
            Field::DateCreated | Field::LastUpdated => {
                assert!(value.is_null() || is_rfc3339(value), "a date of another style");
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
                let may_be_number = name.starts_with("mobile_");
                let is_documented =
                    value.is_string() || value.is_null() || value.is_number() && may_be_number;
                assert!(is_documented, "{name} is of another type");
                assert_eq!(document.get(name), Some(value), "{name} has changed");
            }
        }
    }
    assert_eq!(json.contains_key("juspay"), auth.is_some());
}

fn check_token(json: &Value, document: &Map<String, Value>, auth: &ClientAuth) {
    let json = json.as_object().expect("an object");
    let names: Vec<&str> = json.keys().map(String::as_str).collect();
    assert_eq!(names, ["client_auth_token", "client_auth_token_expiry"]);
    let token = json.get("client_auth_token");
    assert!(token.and_then(Value::as_str).is_some_and(|token| !token.is_empty()), "no token");
    assert_eq!(token, document.get("juspay").and_then(|juspay| juspay.get("client_auth_token")));
    let expiry = json.get("client_auth_token_expiry").expect("an expiry");
    assert!(is_rfc3339(expiry), "an expiry of another style");
    let expiry = expiry.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    assert!(expiry.expect("a time") <= auth.expiry, "later than Juspay reports");
}

/// Whether the date has the format `YYYY-MM-DDTHH:MM:SSZ`.
fn is_rfc3339(date: &Value) -> bool {
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
    let is_not_found = matches!(response::not_found(body), JuspayError::CustomerNotFound);
    let document = document(body).unwrap_or_default();
    let inner = document.get("error_info").and_then(|info| info.get("code"));
    let codes = [document.get("error_code"), inner].into_iter().flatten().filter_map(Value::as_str);
    let has_code =
        codes.into_iter().any(|code| ["object_not_found", "RESOURCE_NOT_FOUND"].contains(&code));
    assert!(!is_not_found || has_code, "not found, but the response has no such code");
}

/// Parses the `Date` of a response.
pub(crate) fn date(text: &str) -> Option<jiff::Timestamp> {
    crate::clock::http_date(text)
}
