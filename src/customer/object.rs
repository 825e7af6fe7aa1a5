//! Juspay's customer object in memory, and the JSON that clients receive.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use jiff::{Timestamp, civil::DateTime, fmt::temporal::DateTimePrinter};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// A documented field of Juspay's customer object. The order is that of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `id`: Juspay's own id, `cst_…`.
    Id,
    /// `object`: always `"customer"`.
    Object,
    /// `object_reference_id`: the merchant's id.
    ObjectReferenceId,
    /// `customer_id`: the merchant's id too; some versions send it.
    CustomerId,
    /// `mobile_country_code`.
    MobileCountryCode,
    /// `mobile_number`.
    MobileNumber,
    /// `email_address`.
    EmailAddress,
    /// `first_name`.
    FirstName,
    /// `last_name`.
    LastName,
    /// `date_created`.
    DateCreated,
    /// `last_updated`.
    LastUpdated,
    /// `juspay`: the client auth token and its expiry. Always last.
    Juspay,
}

impl Field {
    /// Every field, in the order of the response.
    pub const ALL: [Self; 12] = [
        Self::Id,
        Self::Object,
        Self::ObjectReferenceId,
        Self::CustomerId,
        Self::MobileCountryCode,
        Self::MobileNumber,
        Self::EmailAddress,
        Self::FirstName,
        Self::LastName,
        Self::DateCreated,
        Self::LastUpdated,
        Self::Juspay,
    ];

    /// The field's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Object => "object",
            Self::ObjectReferenceId => "object_reference_id",
            Self::CustomerId => "customer_id",
            Self::MobileCountryCode => "mobile_country_code",
            Self::MobileNumber => "mobile_number",
            Self::EmailAddress => "email_address",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::DateCreated => "date_created",
            Self::LastUpdated => "last_updated",
            Self::Juspay => "juspay",
        }
    }

    /// The field with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// The JSON of most customers is shorter than this, in bytes.
const USUAL_BYTES: usize = 1024;

const DATES: DateTimePrinter = DateTimePrinter::new().precision(Some(0));

/// The fields that clients receive (`response.fields`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSet(Vec<Field>);

impl FieldSet {
    /// A set of `fields`, in any order.
    #[must_use]
    pub fn new(fields: &[Field]) -> Self {
        Self(Field::ALL.into_iter().filter(|field| fields.contains(field)).collect())
    }

    /// Every documented field.
    #[must_use]
    pub fn all() -> Self {
        Self(Field::ALL.to_vec())
    }

    /// Whether clients receive `field`.
    #[must_use]
    pub fn contains(&self, field: Field) -> bool {
        self.0.contains(&field)
    }
}

/// A client auth token. Only [`CustomerJson`] exposes it.
#[derive(Clone)]
pub struct ClientAuthToken(SecretString);

impl ClientAuthToken {
    /// Parses Juspay's token; `None` if it is empty.
    #[must_use]
    pub fn parse(text: String) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }
}

impl fmt::Debug for ClientAuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAuthToken(…)")
    }
}

/// A token and its expiry on Juspay's clock.
#[derive(Debug, Clone)]
pub struct ClientAuth {
    /// The token.
    pub token: ClientAuthToken,
    /// `client_auth_token_expiry`.
    pub expiry: Timestamp,
}

impl ClientAuth {
    /// The value of `juspay`.
    fn to_json(&self) -> String {
        let token = Value::from(self.token.0.expose_secret());
        let expiry = whole_seconds(self.expiry);
        format!("{{\"client_auth_token\":{token},\"client_auth_token_expiry\":\"{expiry}\"}}")
    }
}

/// Juspay's customer object, with its documented scalar fields only, as JSON values.
#[derive(Clone, Default)]
pub struct Customer(BTreeMap<Field, String>);

impl Customer {
    /// Adds a field. `json` must be a scalar; it isn't validated.
    pub fn push(&mut self, field: Field, json: impl Into<String>) {
        self.0.insert(field, json.into());
    }

    /// The value of `field` in JSON, if present.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// The JSON for clients: the `wanted` fields in order, `juspay` last. It contains the expiry in
    /// `auth`; the cache puts the conservative one there.
    #[must_use]
    pub fn to_json(&self, wanted: &FieldSet, auth: Option<&ClientAuth>) -> CustomerJson {
        let mut object = String::with_capacity(USUAL_BYTES);
        object.push('{');
        for (field, json) in self.0.iter().filter(|(field, _)| wanted.contains(**field)) {
            push_member(&mut object, *field, json);
        }
        let without_token = object.len();
        if let Some(auth) = auth.filter(|_| wanted.contains(Field::Juspay)) {
            push_member(&mut object, Field::Juspay, &auth.to_json());
        }
        object.push('}');
        CustomerJson::new(object, without_token)
    }
}

/// Appends a member to an object without its closing brace.
fn push_member(object: &mut String, field: Field, json: &str) {
    if object.len() > 1 {
        object.push(',');
    }
    for part in ["\"", field.name(), "\":", json] {
        object.push_str(part);
    }
}

impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Customer(…)")
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`, rounded down: the only date format in responses.
#[must_use]
pub fn whole_seconds(moment: Timestamp) -> String {
    DATES.timestamp_to_string(&moment)
}

/// A date and time in UTC as a JSON string in the same format.
#[must_use]
pub fn date_json(utc: DateTime) -> String {
    format!("\"{}Z\"", DATES.datetime_to_string(&utc))
}

/// The body of a response. It contains the token, so `Debug` shows only its length.
#[derive(Clone)]
pub struct CustomerJson {
    json: Bytes,
    /// Length of the part before `juspay` (and its comma).
    without_token: usize,
}

impl CustomerJson {
    fn new(json: String, without_token: usize) -> Self {
        // A boxed slice has no spare capacity.
        Self { json: json.into_bytes().into_boxed_slice().into(), without_token }
    }

    /// The object with its token, without a copy.
    #[must_use]
    pub fn with_token(&self) -> Bytes {
        self.json.clone()
    }

    /// The object without `juspay`.
    #[must_use]
    pub fn without_token(&self) -> Bytes {
        [self.json.slice(..self.without_token).as_ref(), b"}"].concat().into()
    }

    /// Whether it contains a token. It doesn't if `juspay` isn't a wanted field.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.json.get(self.without_token) != Some(&b'}')
    }

    /// The length of the part before `juspay`, for [`CustomerJson::from_parts`].
    #[must_use]
    pub const fn split(&self) -> usize {
        self.without_token
    }

    /// The body that another process built, and its [`CustomerJson::split`]. `None` if they can't be
    /// those of an object.
    #[must_use]
    pub fn from_parts(json: Bytes, split: usize) -> Option<Self> {
        let is_object = json.starts_with(b"{") && json.ends_with(b"}");
        let is_inside = (1..json.len()).contains(&split);
        (is_object && is_inside).then_some(Self { json, without_token: split })
    }

    /// The length of [`CustomerJson::with_token`] in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.json.len()
    }

    /// Always false: even an empty object has its braces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }
}

impl fmt::Debug for CustomerJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomerJson({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Customer {
        let mut alice = Customer::default();
        alice.push(Field::FirstName, r#""Alice \"A\"""#);
        alice.push(Field::Id, "\"cst_1\"");
        alice.push(Field::LastName, "null");
        alice
    }

    #[test]
    fn fields_have_their_values() {
        let alice = alice();
        for (field, value) in [
            (Field::FirstName, Some(r#""Alice \"A\"""#)),
            (Field::Id, Some("\"cst_1\"")),
            (Field::LastName, Some("null")),
            (Field::Object, None),
        ] {
            assert_eq!(alice.get(field), value);
        }
    }

    fn auth() -> ClientAuth {
        ClientAuth {
            token: ClientAuthToken::parse("tkn_1".to_owned()).unwrap(),
            expiry: "2020-03-17T14:45:26.9Z".parse().unwrap(),
        }
    }

    #[test]
    fn json_has_fields_in_order_with_the_token_last() {
        let json = alice().to_json(&FieldSet::all(), Some(&auth()));
        assert_eq!(
            json.with_token(),
            r#"{"id":"cst_1","first_name":"Alice \"A\"","last_name":null,"juspay":{"client_auth_token":"tkn_1","client_auth_token_expiry":"2020-03-17T14:45:26Z"}}"#
        );
        assert_eq!(
            json.without_token(),
            r#"{"id":"cst_1","first_name":"Alice \"A\"","last_name":null}"#
        );
    }

    #[test]
    fn any_token_is_escaped_as_json() {
        for token in ["tkn_1", "\"", "a\\b", "\u{0}", "\u{1f}", "\n", " ~\u{7f}", "é€😀"] {
            let parsed = ClientAuthToken::parse(token.to_owned()).unwrap();
            let auth = ClientAuth { token: parsed, ..auth() };
            let json = alice().to_json(&FieldSet::new(&[Field::Juspay]), Some(&auth));
            let expected: Value = serde_json::from_slice(&json.with_token()).unwrap();
            assert_eq!(expected["juspay"]["client_auth_token"], token);
        }
    }

    #[test]
    fn json_contains_only_wanted_fields() {
        let json = alice().to_json(&FieldSet::new(&[Field::Juspay]), Some(&auth()));
        assert!(json.has_token() && json.with_token().starts_with(b"{\"juspay\":{"));
        assert_eq!(json.without_token(), "{}");
        let json = alice().to_json(&FieldSet::new(&[Field::Id]), Some(&auth()));
        assert_eq!(json.with_token(), r#"{"id":"cst_1"}"#);
        assert_eq!(json.with_token(), json.without_token());
        assert!(!json.has_token());
    }

    #[test]
    fn debug_hides_fields_and_token() {
        let customer = alice();
        let shown = format!(
            "{customer:?} {:?} {:?}",
            auth(),
            customer.to_json(&FieldSet::all(), Some(&auth()))
        );
        assert!(!shown.contains("Alice") && !shown.contains("tkn_1"), "{shown}");
    }

    #[test]
    fn fields_are_found_by_name() {
        for field in Field::ALL {
            assert_eq!(Field::from_name(field.name()), Some(field));
        }
        assert_eq!(Field::from_name("gstin"), None);
    }

    #[test]
    fn empty_token_is_rejected() {
        assert!(ClientAuthToken::parse(String::new()).is_none());
    }

    #[test]
    fn seconds_are_rounded_down() {
        for (moment, expected) in [
            ("2026-01-02T03:04:05.999999999Z", "2026-01-02T03:04:05Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(whole_seconds(moment.parse().unwrap()), expected);
        }
    }
}
