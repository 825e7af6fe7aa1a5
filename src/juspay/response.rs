//! Reads Juspay's responses: status, headers and JSON become a customer or an error.
//!
//! The JSON is read leniently for personal data, strictly for the identity and the token. Field names,
//! date formats and error bodies follow Juspay's Get Customer page. Values are passed on unchanged if
//! they are in this service's format already. Fields with an undocumented type are dropped. Ids, the
//! token and its expiry must be valid and occur once. Undocumented members have no effect.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::time::Duration;

use awc::{
    ClientResponse,
    error::PayloadError,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
};
use futures_util::Stream;
use jiff::{Timestamp, civil::DateTime};
use serde_json::{Value, value::RawValue};

use super::{
    CustomerResponse, InvalidResponse, JuspayError, NotCreated, Operation, RejectedBy, RetryAfter,
    lenient_json::{Document, Members},
};
use crate::{
    clock::{self, calendar},
    customer::{
        ClientAuth, ClientAuthToken, Customer, CustomerId, CustomerIdForm, Field, NewCustomerField,
        date_json,
    },
    http_client::content_length,
};

/// Maximum size of a response body in bytes. A customer object has about 500.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Upper limit of an accepted `Retry-After`. This service never waits longer itself, and clients
/// shouldn't either.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The `error_code` or `error_info.code` of an unknown customer. Other 404s indicate a wrong route.
const NOT_FOUND_CODES: [&str; 2] = ["object_not_found", "RESOURCE_NOT_FOUND"];

/// Juspay's `error_code` or `error_info.code` in the 401 of a wrong API key.
const CREDENTIALS_CODES: [&str; 2] = ["access_denied", "UNAUTHORIZED"];

/// Juspay's `error_info.code` in the 403 of a blocked address.
const ORIGIN_CODES: [&str; 1] = ["BAD_ORIGIN"];

/// Juspay's `error_code` or `error_info.code` if a customer to be created exists.
const EXISTS_CODES: [&str; 2] = ["unique", "ALREADY_EXISTS"];

/// In the body of an error.
const ERROR_CODE: &str = "error_code";
const ERROR_INFO: &str = "error_info";
const INFO_CODE: &str = "code";
const INFO_FIELDS: &str = "fields";
const FIELD_NAME: &str = "field_name";

/// In `juspay`.
const TOKEN: &str = "client_auth_token";
const EXPIRY: &str = "client_auth_token_expiry";

/// A customer and its token, parsed from the body of a 200.
type Read = (Customer, Result<ClientAuth, InvalidResponse>);

/// Reads the response to a request for a customer. `date` is that of its headers.
pub(super) async fn read<S>(
    mut response: ClientResponse<S>,
    date: Option<Timestamp>,
    requested: &CustomerId,
    operation: Operation,
    form: CustomerIdForm,
) -> Result<CustomerResponse, JuspayError>
where
    S: Stream<Item = Result<bytes::Bytes, PayloadError>> + Unpin,
{
    let status = response.status();
    let announced = content_length(response.headers());
    let retry_after = retry_after(response.headers(), date);
    let read = response.body().limit(MAX_BODY_BYTES).await;
    let body = match read.map_err(|error| from_payload_error(&error)) {
        Ok(body) => body,
        Err(error) if matches!(status, StatusCode::OK | StatusCode::NOT_FOUND) => {
            return Err(error);
        }
        // For other statuses the body doesn't matter.
        Err(_) => bytes::Bytes::new(),
    };
    match status {
        StatusCode::OK => {
            if announced.is_some_and(|length| length != body.len()) {
                return Err(InvalidResponse::Truncated.into());
            }
            let (customer, auth) = customer(&body, requested, form).map_err(|why| {
                let is_cut = announced.is_none() && is_truncated(&body);
                if is_cut { InvalidResponse::Truncated } else { why }
            })?;
            Ok(CustomerResponse { customer, auth, date, is_new: false })
        }
        StatusCode::UNAUTHORIZED => {
            Err(JuspayError::RejectedCredentials(rejected_by(&body, &CREDENTIALS_CODES)))
        }
        StatusCode::FORBIDDEN => {
            Err(JuspayError::RejectedOrigin(rejected_by(&body, &ORIGIN_CODES)))
        }
        StatusCode::NOT_FOUND => Err(not_found(&body)),
        StatusCode::BAD_REQUEST if operation == Operation::Create => Err(not_created(&body)),
        StatusCode::TOO_MANY_REQUESTS => Err(JuspayError::TooManyRequests(retry_after)),
        status if status.is_redirection() => Err(InvalidResponse::Redirect.into()),
        status if status.is_success() => Err(InvalidResponse::Status.into()),
        status => Err(JuspayError::Status(status.as_u16(), retry_after)),
    }
}

/// Juspay's clock, unless a cache on the path has delayed the response or there are several `Date`
/// fields.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    if headers.contains_key(header::AGE) {
        return None;
    }
    let mut dates = headers.get_all(header::DATE);
    let (Some(date), None) = (dates.next(), dates.next()) else { return None };
    date.to_str().ok().and_then(clock::http_date)
}

/// Parses `Retry-After` (RFC 9110 §10.2.3): seconds, or a date relative to the response's `Date`.
fn retry_after(headers: &HeaderMap, date: Option<Timestamp>) -> Option<RetryAfter> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => clock::until(clock::http_date(text)?, date?),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "awc's enums may grow")]
fn from_payload_error(error: &PayloadError) -> JuspayError {
    let why = match error {
        PayloadError::Overflow => InvalidResponse::TooLarge,
        PayloadError::Incomplete(_) | PayloadError::Io(_) => InvalidResponse::Truncated,
        _ => InvalidResponse::Http,
    };
    why.into()
}

/// Whether the JSON is incomplete. awc doesn't report a chunked body without its last chunk.
fn is_truncated(json: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(json);
    !json.is_empty() && parsed.is_err_and(|error| error.is_eof())
}

/// Parses the body of a 200, which must be about `requested`.
pub(super) fn customer(
    body: &[u8],
    requested: &CustomerId,
    form: CustomerIdForm,
) -> Result<Read, InvalidResponse> {
    let document = Document::read(body);
    let object = Members::parse(document.text()).map_err(|_| InvalidResponse::Json)?;
    check_identity(&document, &object, requested, form)?;
    let auth = client_auth(&document, &object);
    if let Err(InvalidResponse::MalformedToken) = auth {
        return Err(InvalidResponse::MalformedToken);
    }
    let mut customer = Customer::default();
    for field in Field::ALL {
        if let Some(json) = object.get(field.name()).and_then(|it| client_value(field, it)) {
            customer.push(field, json);
        }
    }
    Ok((customer, auth))
}

/// Checks that the response is about the requested customer. Every id must be well-formed,
/// including those that `form` doesn't use.
fn check_identity(
    document: &Document<'_>,
    object: &Members<'_>,
    requested: &CustomerId,
    form: CustomerIdForm,
) -> Result<(), InvalidResponse> {
    let (identifying, other): (&[Field], &[Field]) = match form {
        CustomerIdForm::Merchant => (&[Field::ObjectReferenceId, Field::CustomerId], &[Field::Id]),
        CustomerIdForm::Juspay => (&[Field::Id], &[Field::ObjectReferenceId, Field::CustomerId]),
    };
    let are_exact = |ids: &[Field]| ids.iter().all(|id| is_exact(document, object, id.name()));
    if !are_exact(identifying) {
        return Err(InvalidResponse::MalformedIdentity);
    }
    let mut named = identifying.iter().filter_map(|id| object.get(id.name()));
    let named = named.find(|value| value.get() != "null").and_then(text);
    if named.is_none_or(|named| named != requested.as_str()) {
        return Err(InvalidResponse::OtherCustomer);
    }
    if are_exact(other) { Ok(()) } else { Err(InvalidResponse::MalformedIdentity) }
}

/// Whether the member occurs at most once and needed no repair.
fn is_exact(document: &Document<'_>, object: &Members<'_>, name: &str) -> bool {
    let is_intact = |value: &RawValue| document.is_intact(value.get());
    !object.is_repeated(name) && object.get(name).is_none_or(is_intact)
}

fn client_auth(
    document: &Document<'_>,
    object: &Members<'_>,
) -> Result<ClientAuth, InvalidResponse> {
    let name = Field::Juspay.name();
    if object.is_repeated(name) {
        return Err(InvalidResponse::MalformedToken);
    }
    let juspay = object.get(name).and_then(|it| Members::parse(it.get()).ok());
    let juspay = juspay.ok_or(InvalidResponse::NoToken)?;
    if ![TOKEN, EXPIRY].into_iter().all(|name| is_exact(document, &juspay, name)) {
        return Err(InvalidResponse::MalformedToken);
    }
    let text = |name| juspay.get(name).and_then(text);
    let token = text(TOKEN).and_then(ClientAuthToken::parse).ok_or(InvalidResponse::NoToken)?;
    let expiry = text(EXPIRY)
        .and_then(|it| parse_date(&it))
        .and_then(calendar::timestamp)
        .ok_or(InvalidResponse::NoExpiry)?;
    Ok(ClientAuth { token, expiry })
}

/// The field's value for clients; `None` if it doesn't have the documented type.
fn client_value(field: Field, value: &RawValue) -> Option<String> {
    // Handled by `client_auth`.
    if field == Field::Juspay {
        return None;
    }
    // Fails for a number that clients can't parse.
    let value: Value = serde_json::from_str(value.get()).ok()?;
    match (field, &value) {
        (Field::DateCreated | Field::LastUpdated, Value::String(text)) => {
            parse_date(text).map(date_json)
        }
        (_, Value::Null | Value::String(_))
        // The digits may be sent as a number.
        | (Field::MobileCountryCode | Field::MobileNumber, Value::Number(_)) => {
            Some(value.to_string())
        }
        _ => None,
    }
}

/// The value of a string.
fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Parses `2016-08-02T08:07:52+0000` and `2020-03-17T14:45:26.123Z`, converted to UTC. Years before
/// 0 aren't representable in the format for clients.
fn parse_date(text: &str) -> Option<DateTime> {
    calendar::utc(text).filter(|utc| utc.year() >= 0)
}

/// Classifies a 404: an unknown customer or a wrong route.
pub(super) fn not_found(body: &[u8]) -> JuspayError {
    let document = Document::read(body);
    let error = Members::parse(document.text()).ok();
    let get = |name| error.as_ref()?.get(name);
    let info = get(ERROR_INFO).and_then(|info| Members::parse(info.get()).ok());
    let codes = [get(ERROR_CODE), info.and_then(|info| info.get(INFO_CODE))];
    let mut codes = codes.into_iter().flatten().filter_map(text);
    let is_not_found = codes.any(|code| NOT_FOUND_CODES.contains(&&*code));
    if is_not_found { JuspayError::CustomerNotFound } else { JuspayError::Status(404, None) }
}

/// Classifies a 400 of Create Customer: the customer exists, or Juspay rejected a field that was sent.
fn not_created(body: &[u8]) -> JuspayError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let info = body.get(ERROR_INFO);
    let codes = [body.get(ERROR_CODE), info.and_then(|it| it.get(INFO_CODE))];
    let mut codes = codes.into_iter().flatten().filter_map(Value::as_str);
    if codes.any(|code| EXISTS_CODES.contains(&code)) {
        return NotCreated::Exists.into();
    }
    let fields = info.and_then(|it| it.get(INFO_FIELDS)).and_then(Value::as_array);
    let mut names = fields.into_iter().flatten().filter_map(|it| it.get(FIELD_NAME)?.as_str());
    let rejected = names.find_map(NewCustomerField::from_name);
    rejected.map_or(JuspayError::Status(400, None), |it| NotCreated::RejectedField(it).into())
}

/// What sent a 401 or 403: Juspay itself, recognized by its documented JSON, or something else, such as a
/// firewall.
fn rejected_by(body: &[u8], known: &[&str]) -> RejectedBy {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let codes = [body.get(ERROR_CODE), body.get(ERROR_INFO).and_then(|it| it.get(INFO_CODE))];
    let mut codes = codes.into_iter().flatten().filter_map(Value::as_str);
    if codes.any(|code| known.contains(&code)) { RejectedBy::Juspay } else { RejectedBy::Unknown }
}

/// The repaired text of a body, for the invariants.
#[cfg(any(test, fuzzing))]
pub(super) fn repaired(body: &[u8]) -> String {
    Document::read(body).text().to_owned()
}

#[cfg(test)]
mod tests;
