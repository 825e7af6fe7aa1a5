//! Juspay's JSON: read leniently where it is about people, strictly where it is about whose token.
//!
//! Field names, date styles and error bodies are those of Juspay's Get Customer page. Values are
//! passed on as they were written, where that is how we would write them.

mod members;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use self::members::{Members, members};
use super::{InvalidAnswer, JuspayError};
use crate::customer::{
    ClientAuth, ClientAuthToken, Customer, CustomerId, CustomerIdForm, Field, date_json,
};

/// The `error_code` and `error_info.code` of "no such customer". Other 404s are wrong routes.
const NOT_FOUND_CODES: [&str; 2] = ["object_not_found", "RESOURCE_NOT_FOUND"];

/// 0000-01-01T00:00:00Z, in seconds since 1970.
const YEAR_ZERO: i64 = -62_167_219_200;

/// Of `juspay`.
const TOKEN: &str = "client_auth_token";
const EXPIRY: &str = "client_auth_token_expiry";

/// A customer and its token, read from the body of a 200.
type Read = (Customer, Result<ClientAuth, InvalidAnswer>);

/// Reads the body of a 200, which must be about `asked`.
pub(super) fn customer(
    body: &[u8],
    asked: &CustomerId,
    form: CustomerIdForm,
) -> Result<Read, InvalidAnswer> {
    // All of it: members that are passed over aren't looked at any more.
    let body = str::from_utf8(body).map_err(|_| InvalidAnswer::Json)?;
    let object = members(body, Field::ALL.map(Field::name)).map_err(|_| InvalidAnswer::Json)?;
    if !is_about(&object, asked, form) {
        return Err(InvalidAnswer::OtherCustomer);
    }
    let mut customer = Customer::with_room(body.len());
    for (field, value) in Field::ALL.into_iter().zip(object.values()) {
        if let Some(value) = value
            && let Some(json) = told(field, value)?
        {
            customer.push(field, &json);
        }
    }
    Ok((customer, client_auth(&object)))
}

/// Whether the answer is about the customer that was asked for.
fn is_about<const N: usize>(
    object: &Members<'_, N>,
    asked: &CustomerId,
    form: CustomerIdForm,
) -> bool {
    let present = |field: Field| object.get(field.name()).filter(|value| value.get() != "null");
    let named = match form {
        CustomerIdForm::Merchant => {
            present(Field::ObjectReferenceId).or_else(|| present(Field::CustomerId))
        }
        CustomerIdForm::Juspay => present(Field::Id),
    };
    named.and_then(text).is_some_and(|named| named == asked.as_str())
}

fn client_auth<const N: usize>(object: &Members<'_, N>) -> Result<ClientAuth, InvalidAnswer> {
    let juspay = object.get(Field::Juspay.name());
    let juspay = juspay.and_then(|it| members(it.get(), [TOKEN, EXPIRY]).ok());
    let text = |name| juspay.as_ref()?.get(name).and_then(text);
    let token = text(TOKEN)
        .and_then(|token| ClientAuthToken::parse(token.into_owned()))
        .ok_or(InvalidAnswer::NoToken)?;
    let expiry = text(EXPIRY).and_then(|it| timestamp(&it)).ok_or(InvalidAnswer::NoExpiry)?;
    Ok(ClientAuth { token, expiry })
}

/// The field's value as a phone is told it; `None` when it isn't.
fn told(field: Field, value: &RawValue) -> Result<Option<Cow<'_, str>>, InvalidAnswer> {
    let json = value.get();
    // `juspay` has a type of its own, and nested values aren't documented.
    if field == Field::Juspay || json.starts_with(['{', '[']) {
        return Ok(None);
    }
    if json == "null" {
        return Ok(Some(json.into()));
    }
    if matches!(field, Field::DateCreated | Field::LastUpdated) {
        let moment = text(value).and_then(|date| timestamp(&date));
        return Ok(moment.map(|moment| date_json(moment).into()));
    }
    let is_ours = plain(json).is_some();
    Ok(Some(if is_ours { json.into() } else { rewritten(json)?.into() }))
}

/// What stands between the quotes of a string without escapes.
fn plain(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

/// The text of a string.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    plain(json)
        .map_or_else(|| serde_json::from_str(json).ok().map(Cow::Owned), |it| Some(it.into()))
}

/// A number, or a string with escapes, in our own writing; neither may be one that phones can't read.
fn rewritten(json: &str) -> Result<String, InvalidAnswer> {
    let value: Value = serde_json::from_str(json).map_err(|_| InvalidAnswer::Json)?;
    Ok(value.to_string())
}

/// `2016-08-02T08:07:52+0000` and `2020-03-17T14:45:26.123Z` alike. Years before 0 can't be written
/// in the style that leaves this service.
fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|moment: &Timestamp| moment.as_second() >= YEAR_ZERO)
}

/// Reads a 404: "no such customer", or something is wrong with the route.
pub(super) fn not_found(body: &[u8]) -> JuspayError {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let codes = [told.get("error_code"), told.get("error_info").and_then(|info| info.get("code"))];
    let mut codes = codes.into_iter().flatten().filter_map(Value::as_str);
    let says_so = codes.any(|code| NOT_FOUND_CODES.contains(&code));
    if says_so { JuspayError::CustomerNotFound } else { JuspayError::Status(404, None) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::customer::FieldSet;

    /// The documented answer with a token.
    fn documented() -> Value {
        json!({
            "id": "cst_1", "object": "customer", "object_reference_id": "alice",
            "mobile_number": "9999999999", "date_created": "2016-08-02T08:07:52+0000",
            "last_updated": "2020-03-17T14:30:26.5Z", "email_address": "alice@example.com",
            "first_name": "Alice", "last_name": null, "mobile_country_code": "91",
            "juspay": {
                "client_auth_token": "tkn_8649cd66d30c47728b8dd2fb6279a4cc",
                "client_auth_token_expiry": "2020-03-17T14:45:26Z",
            },
        })
    }

    fn read_as(object: &Value, asked: &str, form: CustomerIdForm) -> Result<Read, InvalidAnswer> {
        customer(object.to_string().as_bytes(), &CustomerId::parse(asked).unwrap(), form)
    }

    fn read(object: &Value) -> Result<Read, InvalidAnswer> {
        read_as(object, "alice", CustomerIdForm::Merchant)
    }

    fn with(member: &str, value: Value) -> Value {
        let mut object = documented();
        object[member] = value;
        object
    }

    #[test]
    fn numbers_leave_as_they_came() {
        let object = documented().to_string();
        for number in ["70e+300", "7.000000000000001e301", "0.1", "9007199254740993", "-0.0"] {
            let object = object.replace("\"9999999999\"", number);
            let id = CustomerId::parse("alice").unwrap();
            let (read, _) = customer(object.as_bytes(), &id, CustomerIdForm::Merchant).unwrap();
            let json = read.to_json(&FieldSet::all(), None).with_token();
            let told: Value = serde_json::from_slice(&json).unwrap();
            let meant: f64 = number.parse().unwrap();
            assert_eq!(told["mobile_number"].as_f64(), Some(meant), "{number}");
        }
    }

    fn without(member: &str) -> Value {
        let mut object = documented();
        object.as_object_mut().unwrap().remove(member);
        object
    }

    #[test]
    fn the_documented_answer_is_read() {
        let (customer, auth) = read(&documented()).unwrap();
        let json = customer.to_json(&FieldSet::all(), Some(&auth.unwrap())).with_token();
        let read: Value = serde_json::from_slice(&json).unwrap();
        let mut expected = documented();
        expected["date_created"] = json!("2016-08-02T08:07:52Z");
        expected["last_updated"] = json!("2020-03-17T14:30:26Z");
        assert_eq!(read, expected);
    }

    #[test]
    fn undocumented_and_nested_members_are_dropped_and_unreadable_dates_too() {
        let mut object = with("first_name", json!({"hidden": 1}));
        object["gstin"] = json!("29ABCDE1234F1Z5");
        object["date_created"] = json!("yesterday");
        object["last_updated"] = json!(7);
        let (customer, _) = read(&object).unwrap();
        let json = customer.to_json(&FieldSet::all(), None).without_token();
        let read: Value = serde_json::from_slice(&json).unwrap();
        let names: Vec<_> = read.as_object().unwrap().keys().collect();
        for gone in ["first_name", "gstin", "date_created", "last_updated", "juspay"] {
            assert!(!names.contains(&&gone.to_owned()), "{gone} in {names:?}");
        }
        assert_eq!(names.len(), 7);
        let (customer, _) = read_null_date();
        assert_eq!(customer.get(Field::DateCreated), Some("null"));
    }

    fn read_null_date() -> Read {
        read(&with("date_created", Value::Null)).unwrap()
    }

    #[test]
    fn p1_an_answer_about_another_customer_is_refused() {
        use CustomerIdForm::{Juspay, Merchant};
        let ok = |object: &Value, asked, form| read_as(object, asked, form).is_ok();
        assert!(ok(&documented(), "alice", Merchant));
        assert!(!ok(&documented(), "bob", Merchant));
        assert!(!ok(&documented(), "Alice", Merchant));
        // `customer_id` counts only where `object_reference_id` is absent.
        assert!(!ok(&with("customer_id", json!("bob")), "bob", Merchant));
        let mut by_customer_id = without("object_reference_id");
        assert!(!ok(&by_customer_id, "alice", Merchant), "about nobody");
        by_customer_id["customer_id"] = json!("alice");
        assert!(ok(&by_customer_id, "alice", Merchant));
        by_customer_id["object_reference_id"] = Value::Null;
        assert!(ok(&by_customer_id, "alice", Merchant));
        by_customer_id["object_reference_id"] = json!(["alice"]);
        assert!(!ok(&by_customer_id, "alice", Merchant));
        // A caller named by another customer's Juspay id.
        assert!(!ok(&documented(), "cst_1", Merchant));
        assert!(ok(&documented(), "cst_1", Juspay));
        assert!(!ok(&documented(), "cst_2", Juspay));
        assert!(!ok(&documented(), "alice", Juspay));
        assert!(!ok(&without("id"), "cst_1", Juspay));
    }

    #[test]
    fn a_token_needs_a_text_and_a_readable_expiry() {
        let auth = |juspay: Value| read(&with("juspay", juspay)).unwrap().1;
        for (juspay, why) in [
            (Value::Null, InvalidAnswer::NoToken),
            (json!({}), InvalidAnswer::NoToken),
            (json!("tkn"), InvalidAnswer::NoToken),
            (json!({"client_auth_token": null}), InvalidAnswer::NoToken),
            (json!({"client_auth_token": ""}), InvalidAnswer::NoToken),
            (json!({"client_auth_token": 7}), InvalidAnswer::NoToken),
            (json!({"client_auth_token": "t"}), InvalidAnswer::NoExpiry),
            (
                json!({"client_auth_token": "t", "client_auth_token_expiry": null}),
                InvalidAnswer::NoExpiry,
            ),
            (
                json!({"client_auth_token": "t", "client_auth_token_expiry": "soon"}),
                InvalidAnswer::NoExpiry,
            ),
        ] {
            assert_eq!(auth(juspay.clone()).unwrap_err(), why, "{juspay}");
        }
        assert_eq!(read(&without("juspay")).unwrap().1.unwrap_err(), InvalidAnswer::NoToken);
    }

    #[test]
    fn both_date_styles_are_the_same_moment() {
        let moment = "2020-03-17T14:45:26Z".parse().unwrap();
        for style in
            ["2020-03-17T14:45:26Z", "2020-03-17T14:45:26+0000", "2020-03-17T20:15:26+05:30"]
        {
            assert_eq!(timestamp(style), Some(moment), "{style}");
        }
        assert_eq!(
            date_json(timestamp("2020-03-17T14:45:26.999Z").unwrap()),
            "\"2020-03-17T14:45:26Z\""
        );
        let year_zero = "0000-01-01T00:00:00Z";
        let told = timestamp(year_zero).map(date_json);
        assert_eq!(told.as_deref(), Some("\"0000-01-01T00:00:00Z\""));
        for earlier in ["-000001-12-31T23:59:59Z", "0000-01-01T00:00:00+05:30"] {
            assert_eq!(timestamp(earlier), None, "{earlier}");
        }
    }

    #[test]
    fn what_is_no_customers_json_is_refused() {
        let asked = CustomerId::parse("alice").unwrap();
        let form = CustomerIdForm::Merchant;
        for body in ["", "null", "[]", "\"alice\"", "<html>", "{\"object_reference_id\":\"alice\""]
        {
            let read = customer(body.as_bytes(), &asked, form);
            assert_eq!(read.unwrap_err(), InvalidAnswer::Json, "{body}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_wherever_that_is() {
        let asked = CustomerId::parse("alice").unwrap();
        for member in ["email_address", "hidden"] {
            let object = with(member, json!({"inner": "MARK"})).to_string();
            let (before, behind) = object.split_once("MARK").unwrap();
            let body = [before.as_bytes(), b"\xff", behind.as_bytes()].concat();
            let read = customer(&body, &asked, CustomerIdForm::Merchant);
            assert_eq!(read.unwrap_err(), InvalidAnswer::Json, "{member}");
        }
    }

    #[test]
    fn only_juspays_own_404_means_that_there_is_no_such_customer() {
        for body in [
            r#"{"status":"invalid_request_error","error_code":"object_not_found"}"#,
            r#"{"error_info":{"code":"RESOURCE_NOT_FOUND"}}"#,
        ] {
            assert_eq!(not_found(body.as_bytes()), JuspayError::CustomerNotFound, "{body}");
        }
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"error_code":"unique"}"#,
            r#"{"error_info":{}}"#,
            r#"["object_not_found",null]"#,
            r#"{"error_info":["RESOURCE_NOT_FOUND"]}"#,
        ] {
            assert_eq!(not_found(body.as_bytes()), JuspayError::Status(404, None), "{body}");
        }
    }
}
