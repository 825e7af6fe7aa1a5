//! Juspay's JSON: read leniently where it is about people, strictly where it is about whose token.
//!
//! Field names, date styles and error bodies are those of Juspay's Get Customer page. Values are
//! passed on as they were written, where that is how we would write them. In texts, what JSON doesn't
//! allow becomes U+FFFD; fields of another type than the documented one are dropped. Ids, the token
//! and its expiry must be written well, and once. Undocumented members decide nothing.

mod document;
mod members;

use std::borrow::Cow;

use jiff::civil::DateTime;
use serde_json::{Value, value::RawValue};

use self::{
    document::Document,
    members::{Members, members},
};
use super::{InvalidAnswer, JuspayError};
use crate::{
    clock::calendar,
    customer::{
        ClientAuth, ClientAuthToken, Customer, CustomerId, CustomerIdForm, Field, date_json,
    },
};

/// The `error_code` and `error_info.code` of "no such customer". Other 404s are wrong routes.
const NOT_FOUND_CODES: [&str; 2] = ["object_not_found", "RESOURCE_NOT_FOUND"];

/// Of a 404.
const ERROR_CODE: &str = "error_code";
const ERROR_INFO: &str = "error_info";
const INFO_CODE: &str = "code";

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
    let document = Document::read(body);
    let object =
        members(document.text(), Field::ALL.map(Field::name)).map_err(|_| InvalidAnswer::Json)?;
    check_identity(&document, &object, asked, form)?;
    let auth = client_auth(&document, &object);
    if let Err(InvalidAnswer::MalformedToken) = auth {
        return Err(InvalidAnswer::MalformedToken);
    }
    let mut customer = Customer::with_room(body.len());
    for (field, value) in Field::ALL.into_iter().zip(object.values()) {
        if let Some(json) = value.and_then(|value| told(field, value)) {
            customer.push(field, &json);
        }
    }
    Ok((customer, auth))
}

/// Checks that the answer is about the customer that was asked for. Every id counts, also those that
/// `form` leaves out: an answer with a malformed one isn't trusted.
fn check_identity<const N: usize>(
    document: &Document<'_>,
    object: &Members<'_, N>,
    asked: &CustomerId,
    form: CustomerIdForm,
) -> Result<(), InvalidAnswer> {
    let (deciding, other): (&[Field], &[Field]) = match form {
        CustomerIdForm::Merchant => (&[Field::ObjectReferenceId, Field::CustomerId], &[Field::Id]),
        CustomerIdForm::Juspay => (&[Field::Id], &[Field::ObjectReferenceId, Field::CustomerId]),
    };
    let are_exact = |ids: &[Field]| ids.iter().all(|id| is_exact(document, object, id.name()));
    if !are_exact(deciding) {
        return Err(InvalidAnswer::MalformedIdentity);
    }
    let mut named = deciding.iter().filter_map(|id| object.get(id.name()));
    let named = named.find(|value| value.get() != "null").and_then(text);
    if named.is_none_or(|named| named != asked.as_str()) {
        return Err(InvalidAnswer::OtherCustomer);
    }
    if are_exact(other) { Ok(()) } else { Err(InvalidAnswer::MalformedIdentity) }
}

/// Whether the member occurs once at most, and as Juspay wrote it.
fn is_exact<const N: usize>(document: &Document<'_>, object: &Members<'_, N>, name: &str) -> bool {
    let is_intact = |value: &RawValue| document.is_intact(value.get());
    !object.is_repeated(name) && object.get(name).is_none_or(is_intact)
}

fn client_auth<const N: usize>(
    document: &Document<'_>,
    object: &Members<'_, N>,
) -> Result<ClientAuth, InvalidAnswer> {
    let name = Field::Juspay.name();
    if object.is_repeated(name) {
        return Err(InvalidAnswer::MalformedToken);
    }
    let juspay = object.get(name).and_then(|it| members(it.get(), [TOKEN, EXPIRY]).ok());
    let juspay = juspay.ok_or(InvalidAnswer::NoToken)?;
    if ![TOKEN, EXPIRY].into_iter().all(|name| is_exact(document, &juspay, name)) {
        return Err(InvalidAnswer::MalformedToken);
    }
    let text = |name| juspay.get(name).and_then(text);
    let token = text(TOKEN)
        .and_then(|token| ClientAuthToken::parse(token.into_owned()))
        .ok_or(InvalidAnswer::NoToken)?;
    let expiry = text(EXPIRY)
        .and_then(|it| date(&it))
        .and_then(calendar::timestamp)
        .ok_or(InvalidAnswer::NoExpiry)?;
    Ok(ClientAuth { token, expiry })
}

/// The field's value as a phone gets it; `None` when it isn't of the documented type.
fn told(field: Field, value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    let is_text = json.starts_with('"');
    match field {
        // It has a type of its own.
        Field::Juspay => None,
        _ if json == "null" => Some(json.into()),
        Field::DateCreated | Field::LastUpdated => Some(date_json(date(&text(value)?)?).into()),
        // Their digits may come as a number.
        Field::MobileCountryCode | Field::MobileNumber if !is_text => number(json),
        Field::Id
        | Field::Object
        | Field::ObjectReferenceId
        | Field::CustomerId
        | Field::MobileCountryCode
        | Field::MobileNumber
        | Field::EmailAddress
        | Field::FirstName
        | Field::LastName => {
            if plain(json).is_some() {
                Some(json.into())
            } else if is_text {
                rewritten(json)
            } else {
                None
            }
        }
    }
}

/// A number in the range that phones can read.
fn number(json: &str) -> Option<Cow<'_, str>> {
    let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number { rewritten(json) } else { None }
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

/// A number, or a string with escapes, in our own writing; `None` for a number out of range.
fn rewritten(json: &str) -> Option<Cow<'_, str>> {
    let value: Value = serde_json::from_str(json).ok()?;
    Some(value.to_string().into())
}

/// `2016-08-02T08:07:52+0000` and `2020-03-17T14:45:26.123Z` alike, in UTC. Years before 0 can't be
/// written in the style that leaves this service.
fn date(text: &str) -> Option<DateTime> {
    calendar::utc(text).filter(|utc| utc.year() >= 0)
}

/// Reads a 404: "no such customer", or something is wrong with the route.
pub(super) fn not_found(body: &[u8]) -> JuspayError {
    let document = Document::read(body);
    let error = members(document.text(), [ERROR_CODE, ERROR_INFO]).ok();
    let get = |name| error.as_ref()?.get(name);
    let info = get(ERROR_INFO).and_then(|info| members(info.get(), [INFO_CODE]).ok());
    let codes = [get(ERROR_CODE), info.and_then(|info| info.get(INFO_CODE))];
    let mut codes = codes.into_iter().flatten().filter_map(text);
    let says_so = codes.any(|code| NOT_FOUND_CODES.contains(&&*code));
    if says_so { JuspayError::CustomerNotFound } else { JuspayError::Status(404, None) }
}

/// The text of a body with its repairs, for the invariants.
#[cfg(any(test, fuzzing))]
pub(super) fn repaired(body: &[u8]) -> String {
    Document::read(body).text().to_owned()
}

#[cfg(test)]
mod tests;
