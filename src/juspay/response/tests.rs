//! Parsing Juspay's responses.

use std::io;

use awc::http::header::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;
use crate::customer::FieldSet;

/// The documented response with a token.
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

fn read_as(object: &Value, requested: &str, form: CustomerIdForm) -> Result<Read, InvalidResponse> {
    customer(object.to_string().as_bytes(), &CustomerId::parse(requested).unwrap(), form)
}

fn read(object: &Value) -> Result<Read, InvalidResponse> {
    read_as(object, "alice", CustomerIdForm::Merchant)
}

fn with(member: &str, value: Value) -> Value {
    let mut object = documented();
    object[member] = value;
    object
}

#[test]
fn numbers_are_passed_on_unchanged() {
    let object = documented().to_string();
    for number in ["70e+300", "7.000000000000001e301", "0.1", "9007199254740993", "-0.0"] {
        let object = object.replace("\"9999999999\"", number);
        let id = CustomerId::parse("alice").unwrap();
        let (read, _) = customer(object.as_bytes(), &id, CustomerIdForm::Merchant).unwrap();
        let json = read.to_json(&FieldSet::all(), None).with_token();
        let read: Value = serde_json::from_slice(&json).unwrap();
        let expected: f64 = number.parse().unwrap();
        assert_eq!(read["mobile_number"].as_f64(), Some(expected), "{number}");
    }
}

fn without(member: &str) -> Value {
    let mut object = documented();
    object.as_object_mut().unwrap().remove(member);
    object
}

#[test]
fn documented_response_is_parsed() {
    let (customer, auth) = read(&documented()).unwrap();
    let json = customer.to_json(&FieldSet::all(), Some(&auth.unwrap())).with_token();
    let read: Value = serde_json::from_slice(&json).unwrap();
    let mut expected = documented();
    expected["date_created"] = json!("2016-08-02T08:07:52Z");
    expected["last_updated"] = json!("2020-03-17T14:30:26Z");
    assert_eq!(read, expected);
}

#[test]
fn undocumented_members_and_invalid_dates_are_dropped() {
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
fn p1_response_about_another_customer_is_rejected() {
    use CustomerIdForm::{Juspay, Merchant};
    let ok = |object: &Value, requested, form| read_as(object, requested, form).is_ok();
    assert!(ok(&documented(), "alice", Merchant));
    assert!(!ok(&documented(), "bob", Merchant));
    assert!(!ok(&documented(), "Alice", Merchant));
    // `customer_id` matters only if `object_reference_id` is absent.
    assert!(!ok(&with("customer_id", json!("bob")), "bob", Merchant));
    let mut by_customer_id = without("object_reference_id");
    assert!(!ok(&by_customer_id, "alice", Merchant), "about no customer");
    by_customer_id["customer_id"] = json!("alice");
    assert!(ok(&by_customer_id, "alice", Merchant));
    by_customer_id["object_reference_id"] = Value::Null;
    assert!(ok(&by_customer_id, "alice", Merchant));
    by_customer_id["object_reference_id"] = json!(["alice"]);
    assert!(!ok(&by_customer_id, "alice", Merchant));
    // The token's subject is another customer's Juspay id.
    assert!(!ok(&documented(), "cst_1", Merchant));
    assert!(ok(&documented(), "cst_1", Juspay));
    assert!(!ok(&documented(), "cst_2", Juspay));
    assert!(!ok(&documented(), "alice", Juspay));
    assert!(!ok(&without("id"), "cst_1", Juspay));
}

#[test]
fn token_requires_a_string_and_a_valid_expiry() {
    let auth = |juspay: Value| read(&with("juspay", juspay)).unwrap().1;
    for (juspay, why) in [
        (Value::Null, InvalidResponse::NoToken),
        (json!({}), InvalidResponse::NoToken),
        (json!("tkn"), InvalidResponse::NoToken),
        (json!({"client_auth_token": null}), InvalidResponse::NoToken),
        (json!({"client_auth_token": ""}), InvalidResponse::NoToken),
        (json!({"client_auth_token": 7}), InvalidResponse::NoToken),
        (json!({"client_auth_token": "t"}), InvalidResponse::NoExpiry),
        (
            json!({"client_auth_token": "t", "client_auth_token_expiry": null}),
            InvalidResponse::NoExpiry,
        ),
        (
            json!({"client_auth_token": "t", "client_auth_token_expiry": "soon"}),
            InvalidResponse::NoExpiry,
        ),
    ] {
        assert_eq!(auth(juspay.clone()).unwrap_err(), why, "{juspay}");
    }
    assert_eq!(read(&without("juspay")).unwrap().1.unwrap_err(), InvalidResponse::NoToken);
}

#[test]
fn all_date_formats_are_converted_to_one() {
    for (style, expected) in [
        ("2020-03-17T14:45:26Z", Some("2020-03-17T14:45:26Z")),
        ("2020-03-17T14:45:26+0000", Some("2020-03-17T14:45:26Z")),
        ("2020-03-17T20:15:26+05:30", Some("2020-03-17T14:45:26Z")),
        ("2020-03-17T14:45:26.999Z", Some("2020-03-17T14:45:26Z")),
        ("1969-12-31T23:59:59.5Z", Some("1969-12-31T23:59:59Z")),
        ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z")),
        ("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59Z")),
        ("9999-12-31T23:59:59-00:01", None),
        ("-000001-12-31T23:59:59Z", None),
        ("0000-01-01T00:00:00+05:30", None),
        ("2020-13-17T14:45:26Z", None),
    ] {
        let (customer, _) = read(&with("date_created", json!(style))).unwrap();
        let expected = expected.map(|expected| format!("\"{expected}\""));
        assert_eq!(customer.get(Field::DateCreated), expected.as_deref(), "{style}");
    }
}

#[test]
fn expiry_at_the_end_of_year_9999_is_the_latest_timestamp() {
    let auth = |expiry: &str| {
        let juspay = json!({"client_auth_token": "t", "client_auth_token_expiry": expiry});
        read(&with("juspay", juspay)).unwrap().1.map(|auth| auth.expiry)
    };
    assert_eq!(auth("9999-12-31T23:59:59Z"), Ok(jiff::Timestamp::MAX));
    assert_eq!(auth("9999-12-31T23:59:59-00:01"), Err(InvalidResponse::NoExpiry));
    assert_eq!(auth("+010000-01-01T00:00:00Z"), Err(InvalidResponse::NoExpiry));
}

#[test]
fn body_without_a_customer_is_rejected() {
    let requested = CustomerId::parse("alice").unwrap();
    let form = CustomerIdForm::Merchant;
    for body in ["", "null", "[]", "\"alice\"", "<html>", "{\"object_reference_id\":\"alice\""] {
        let read = customer(body.as_bytes(), &requested, form);
        assert_eq!(read.unwrap_err(), InvalidResponse::Json, "{body}");
    }
}

/// The documented response with `bytes` in place of `part`.
fn altered(part: &str, bytes: &[u8]) -> Vec<u8> {
    let object = documented().to_string();
    let (before, after) = object.split_once(part).unwrap_or_else(|| panic!("{part}"));
    [before.as_bytes(), bytes, after.as_bytes()].concat()
}

fn read_bytes(body: &[u8]) -> Result<Read, InvalidResponse> {
    customer(body, &CustomerId::parse("alice").unwrap(), CustomerIdForm::Merchant)
}

#[test]
fn invalid_characters_in_strings_are_replaced() {
    for (name, expected) in [
        (&b"\"Ali\\ud800ce\""[..], "\"Ali\u{fffd}ce\""),
        (b"\"Ali\x00ce\"", "\"Ali\u{fffd}ce\""),
        (b"\"Ali\nce\"", "\"Ali\u{fffd}ce\""),
        (b"\"Andr\xe9\"", "\"Andr\u{fffd}\""),
        (b"\"\\q\"", "\"\u{fffd}q\""),
        ("\"\u{fffd}\u{7f}é\"".as_bytes(), "\"\u{fffd}\u{7f}é\""),
    ] {
        let (customer, auth) = read_bytes(&altered("\"Alice\"", name)).unwrap();
        assert_eq!(customer.get(Field::FirstName), Some(expected), "{}", name.escape_ascii());
        assert!(auth.is_ok());
    }
}

#[test]
fn fields_with_invalid_types_or_ranges_are_dropped() {
    for (part, field, value, expected) in [
        ("\"Alice\"", Field::FirstName, "7", None),
        ("\"Alice\"", Field::FirstName, "true", None),
        ("\"Alice\"", Field::FirstName, "1e999", None),
        ("\"Alice\"", Field::FirstName, "[\"\\ud800\"]", None),
        ("\"cst_1\"", Field::Id, "7", None),
        ("\"9999999999\"", Field::MobileNumber, "9999999999", Some("9999999999")),
        ("\"9999999999\"", Field::MobileNumber, "1e999", None),
        ("\"9999999999\"", Field::MobileNumber, "-1e999", None),
        ("\"9999999999\"", Field::MobileNumber, "false", None),
        ("\"91\"", Field::MobileCountryCode, "91", Some("91")),
        ("\"2016-08-02T08:07:52+0000\"", Field::DateCreated, "1e999", None),
        ("\"2016-08-02T08:07:52+0000\"", Field::DateCreated, "\"2016\u{1}\"", None),
    ] {
        let (customer, auth) = read_bytes(&altered(part, value.as_bytes())).unwrap();
        assert_eq!(customer.get(field), expected, "{field:?}: {value}");
        let others = Field::ALL.into_iter().filter(|it| *it != field);
        assert_eq!(others.filter(|it| customer.get(*it).is_some()).count(), 9, "{value}");
        assert!(auth.is_ok());
    }
}

#[test]
fn undocumented_members_have_no_effect() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
    let (list, object) = (deep("[", "]"), deep("{\"a\":", "}").replacen('}', "1}", 1));
    for value in [
        &b"1e999"[..],
        b"99999999999999999999999999999999999999",
        b"\"\\ud800\x00\xff\\q\"",
        b"{\"id\":\"cst_2\",\"id\":[\"\xff\"]}",
        list.as_bytes(),
        object.as_bytes(),
    ] {
        let body = altered("\"id\"", &[b"\"hid\xe9\":", value, b",\"id\""].concat());
        let (customer, auth) = read_bytes(&body).unwrap();
        assert_eq!(customer.get(Field::Id), Some("\"cst_1\""), "{}", value.escape_ascii());
        assert!(auth.is_ok());
    }
}

#[test]
fn byte_order_mark_is_skipped() {
    let object = documented().to_string();
    assert!(read_bytes(format!("\u{feff}{object}").as_bytes()).unwrap().1.is_ok());
    for body in [format!("\u{feff}\u{feff}{object}"), format!("{object}\u{feff}")] {
        assert_eq!(read_bytes(body.as_bytes()).unwrap_err(), InvalidResponse::Json);
    }
}

#[test]
fn p1_malformed_or_repeated_id_is_rejected() {
    let id = "\"object_reference_id\":\"alice\"";
    for part in [
        &b"\"object_reference_id\":\"alice\\ud800\""[..],
        b"\"object_reference_id\":\"alice\xff\"",
        b"\"object_reference_id\":\"alice\0\"",
        b"\"object_reference_id\":\"alice\",\"object_reference_id\":\"alice\"",
        b"\"object_reference_id\":null,\"object_reference_id\":\"alice\"",
        b"\"object_reference_id\":\"alice\",\"object_reference_\\u0069d\":\"bob\"",
        b"\"object_reference_id\":\"alice\",\"customer_id\":\"\xff\"",
        b"\"object_reference_id\":\"alice\",\"customer_id\":\"alice\",\"customer_id\":1",
        b"\"object_reference_id\":\"alice\",\"\\u0069d\":\"cst_1\"",
    ] {
        let why = read_bytes(&altered(id, part)).unwrap_err();
        assert_eq!(why, InvalidResponse::MalformedIdentity, "{}", part.escape_ascii());
    }
    let body = altered("\"cst_1\"", b"\"cst_\xff\"");
    assert_eq!(read_bytes(&body).unwrap_err(), InvalidResponse::MalformedIdentity);
    // An id that differs in valid text stays another customer's.
    let bob = CustomerId::parse("bob").unwrap();
    let why = customer(&body, &bob, CustomerIdForm::Merchant).unwrap_err();
    assert_eq!(why, InvalidResponse::OtherCustomer);
    // After a repair, this would equal the requested id.
    let requested = CustomerId::parse("Andr\u{fffd}").unwrap();
    let read = |body: &[u8]| customer(body, &requested, CustomerIdForm::Merchant);
    let repaired = read(&altered(id, b"\"object_reference_id\":\"Andr\xe9\"")).unwrap_err();
    assert_eq!(repaired, InvalidResponse::MalformedIdentity);
    let name = "\"object_reference_id\":\"Andr\u{fffd}\",\"a\":\"";
    let itself = altered(id, &[name.as_bytes(), b"\xff\""].concat());
    assert!(read(&itself).is_ok(), "an id that has the character itself");
}

#[test]
fn p2_malformed_or_repeated_token_is_rejected() {
    let token = "\"client_auth_token\":\"tkn_8649cd66d30c47728b8dd2fb6279a4cc\"";
    let expiry = "\"client_auth_token_expiry\":\"2020-03-17T14:45:26Z\"";
    for (part, bytes) in [
        (token, &b"\"client_auth_token\":\"tkn\\ud800\""[..]),
        (token, b"\"client_auth_token\":\"tkn\xff\""),
        (token, b"\"client_auth_token\":\"tkn\n\""),
        (token, b"\"client_auth_token\":\"a\",\"client_auth_token\":\"a\""),
        (token, b"\"client_auth_token\":\"a\",\"client_auth_\\u0074oken\":\"b\""),
        (expiry, b"\"client_auth_token_expiry\":\"2020-03-17T14:45:26Z\xff\""),
        (
            expiry,
            b"\"client_auth_token_expiry\":1,\"client_auth_token_expiry\":\"2020-03-17T14:45:26Z\"",
        ),
        ("\"juspay\"", b"\"juspay\":null,\"juspay\""),
        ("\"juspay\"", b"\"\\u006auspay\":null,\"juspay\""),
    ] {
        let why = read_bytes(&altered(part, bytes)).unwrap_err();
        assert_eq!(why, InvalidResponse::MalformedToken, "{}", bytes.escape_ascii());
    }
    let beside = altered(token, &[b"\"a\":\"\xff\",", token.as_bytes()].concat());
    assert!(read_bytes(&beside).unwrap().1.is_ok(), "undocumented members decide nothing");
}

#[test]
fn only_documented_404_means_customer_not_found() {
    for body in [
        r#"{"status":"invalid_request_error","error_code":"object_not_found"}"#,
        r#"{"error_info":{"code":"RESOURCE_NOT_FOUND"}}"#,
        "\u{feff}{\"error_message\":\"\\ud800\n\",\"a\":1e999,\"error_code\":\"object_not_found\"}",
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

#[test]
fn creations_are_rejected_because_of_a_field_or_because_the_customer_exists() {
    let rejected = |field| JuspayError::NotCreated(NotCreated::RejectedField(field));
    for (body, error) in [
        (r#"{"error_code":"unique"}"#, NotCreated::Exists.into()),
        (r#"{"error_info":{"code":"ALREADY_EXISTS"}}"#, NotCreated::Exists.into()),
        (
            r#"{"error_info":{"fields":[7,{"field_name":7},{"field_name":"first_name"}]}}"#,
            rejected(NewCustomerField::FirstName),
        ),
        (
            r#"{"error_info":{"fields":[{"field_name":"lastName"},{"field_name":"first_name"}]}}"#,
            rejected(NewCustomerField::LastName),
        ),
        (r#"{"fields":[{"field_name":"first_name"}]}"#, JuspayError::Status(400, None)),
        (r#"{"error_info":{"fields":[{"field_name":"id"}]}}"#, JuspayError::Status(400, None)),
        (r#"["unique"]"#, JuspayError::Status(400, None)),
        ("", JuspayError::Status(400, None)),
    ] {
        assert_eq!(not_created(body.as_bytes()), error, "{body}");
    }
}

#[test]
fn only_documented_json_counts_as_juspays_rejection() {
    let denied =
        r#"{"status":"error","error_code":"access_denied","error_info":{"code":"UNAUTHORIZED"}}"#;
    let inner = r#"{"error_info":{"code":"UNAUTHORIZED"}}"#;
    let origin = r#"{"error":true,"error_info":{"code":"BAD_ORIGIN","category":"USER_ERROR"}}"#;
    let pages = ["", "<html>403 Forbidden</html>", "null", "[]", "{}"];
    let read = |status: u16, body: &str| {
        let codes = if status == 401 { &CREDENTIALS_CODES[..] } else { &ORIGIN_CODES };
        rejected_by(body.as_bytes(), codes)
    };
    for (status, body) in [(401, denied), (401, inner), (403, origin)] {
        assert_eq!(read(status, body), RejectedBy::Juspay, "{status} {body}");
    }
    let others = pages.into_iter().flat_map(|page| [(401, page), (403, page)]);
    for (status, body) in others.chain([(401, origin), (403, denied), (403, inner)]) {
        assert_eq!(read(status, body), RejectedBy::Unknown, "{status} {body}");
    }
}

#[test]
fn body_failures_are_distinguished() {
    for (error, why) in [
        (PayloadError::Overflow, InvalidResponse::TooLarge),
        (PayloadError::Incomplete(None), InvalidResponse::Truncated),
        (PayloadError::Io(io::ErrorKind::ConnectionReset.into()), InvalidResponse::Truncated),
        (PayloadError::EncodingCorrupted, InvalidResponse::Http),
    ] {
        assert_eq!(from_payload_error(&error), why.into());
    }
}

fn expected(fields: &[(&'static str, &'static str)]) -> Option<u64> {
    let fields = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let headers = fields.collect();
    retry_after(&headers, date(&headers)).map(|wait| wait.as_secs())
}

#[test]
fn retry_after_is_parsed_as_seconds_or_date() {
    const DATE: (&str, &str) = ("date", "Mon, 23 Nov 2026 12:00:00 GMT");
    for (value, seconds) in [
        ("0", Some(0)),
        ("7", Some(7)),
        ("60", Some(60)),
        ("61", Some(60)),
        ("18446744073709551615", Some(60)),
        ("Mon, 23 Nov 2026 12:00:09 GMT", Some(9)),
        ("Mon, 23 Nov 2026 11:59:00 GMT", Some(0)),
        ("Mon, 23 Nov 2026 13:00:00 GMT", Some(60)),
        ("-1", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(expected(&[DATE, ("retry-after", value)]), seconds, "{value}");
    }
    assert_eq!(expected(&[("retry-after", "Mon, 23 Nov 2026 12:00:09 GMT")]), None, "no clock");
    assert_eq!(expected(&[DATE]), None);
}
