//! Juspay's customer object, with or without a fault.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    customers::CustomerRecord,
    fault::{ObjectFault, TokenFault},
    time::{shifted, whole_seconds},
};

/// Juspay's customer object, in its documented order.
#[derive(Debug, Default, Serialize)]
pub(super) struct CustomerObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_reference_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mobile_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date_created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mobile_country_code: Option<String>,
    #[serde(flatten)]
    undocumented: Map<String, Value>,
    /// `Some(Value::Null)` is serialized as null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) juspay: Option<Value>,
}

impl CustomerObject {
    /// The object of `record`, without a token.
    pub(super) fn of(record: CustomerRecord, fault: Option<ObjectFault>) -> Self {
        let reference = record.reference.clone();
        match fault {
            None | Some(ObjectFault::OtherCustomer) => Self::usual(record),
            Some(ObjectFault::CustomerIdToo) => {
                Self { customer_id: Some(reference), ..Self::usual(record) }
            }
            Some(ObjectFault::CustomerIdOnly) => Self {
                customer_id: Some(reference),
                object_reference_id: None,
                ..Self::usual(record)
            },
            Some(ObjectFault::Sparse) => {
                Self { object_reference_id: Some(reference), ..Self::default() }
            }
            Some(ObjectFault::UnknownFields) => {
                Self { undocumented: undocumented(), ..Self::usual(record) }
            }
        }
    }

    fn usual(record: CustomerRecord) -> Self {
        Self {
            id: Some(record.id),
            object: Some("customer"),
            object_reference_id: Some(record.reference),
            customer_id: None,
            mobile_number: record.contact.mobile_number,
            date_created: Some(offset_style(record.created)),
            last_updated: Some(offset_style(record.updated)),
            email_address: record.contact.email_address,
            first_name: record.contact.first_name,
            last_name: record.contact.last_name,
            mobile_country_code: record.contact.mobile_country_code,
            undocumented: Map::new(),
            juspay: None,
        }
    }
}

fn undocumented() -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("gstin".to_owned(), Value::Null);
    fields.insert("metadata".to_owned(), json!({"tags": ["gold"], "visits": 3}));
    fields
}

/// The `juspay` member with a token; `None` if it is missing.
pub(super) fn juspay_member(
    token: &str,
    expiry: Timestamp,
    fault: Option<TokenFault>,
) -> Option<Value> {
    let member = |token: Value, expiry: Value| {
        Some(json!({"client_auth_token": token, "client_auth_token_expiry": expiry}))
    };
    let usual = json!(whole_seconds(expiry));
    match fault {
        None | Some(TokenFault::Life { .. } | TokenFault::UsedUp) => member(token.into(), usual),
        Some(TokenFault::Missing) => None,
        Some(TokenFault::Null) => Some(Value::Null),
        Some(TokenFault::NullToken) => member(Value::Null, usual),
        Some(TokenFault::EmptyToken) => member("".into(), usual),
        Some(TokenFault::NoExpiry) => Some(json!({"client_auth_token": token})),
        Some(TokenFault::NullExpiry) => member(token.into(), Value::Null),
        Some(TokenFault::UnreadableExpiry) => member(token.into(), "in a while".into()),
        Some(TokenFault::OffsetExpiry) => member(token.into(), offset_style(expiry).into()),
        Some(TokenFault::FractionalExpiry) => {
            let written = expiry.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            member(token.into(), written.into())
        }
        Some(TokenFault::ReportedLate { seconds }) => {
            let reported = shifted(expiry, SignedDuration::from_secs(seconds));
            member(token.into(), whole_seconds(reported).into())
        }
    }
}

/// The format of `date_created` and `last_updated`, which isn't RFC 3339.
fn offset_style(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}
