//! Get, Create and Update Customer.

use jiff::SignedDuration;
use percent_encoding::percent_decode_str;

use super::{
    Simulator,
    fields::{contact, is_valid_reference},
};
use crate::{
    customers::CustomerRecord,
    errors::{self, ApiError, INVALID_VALUE},
    fault::{Fault, ObjectFault, TokenFault},
    http::Request,
    magic::MagicCustomer,
    object::{CustomerObject, juspay_member},
    response::Response,
    time::shifted,
};

/// The operation that a request calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `GET /customers/{id}`
    Get(String),
    /// `POST /customers` for the `object_reference_id` in its form, if present.
    Create(Option<String>),
    /// `POST /customers/{id}`
    Update(String),
    /// Any other.
    WrongRoute,
}

impl Call {
    /// Parses the method, the path and, for Create, the form.
    pub(super) fn of(request: &Request) -> Self {
        let Some(rest) = request.path.strip_prefix("/customers") else { return Self::WrongRoute };
        let id = rest.strip_prefix('/').and_then(decode_segment);
        match (request.method.as_str(), id) {
            ("GET", Some(id)) => Self::Get(id),
            ("POST", Some(id)) => Self::Update(id),
            ("POST", None) if rest.is_empty() => {
                Self::Create(request.form_value("object_reference_id"))
            }
            _ => Self::WrongRoute,
        }
    }

    /// The requested id.
    pub(super) fn customer(&self) -> Option<&str> {
        match self {
            Self::Get(id) | Self::Update(id) => Some(id),
            Self::Create(id) => id.as_deref(),
            Self::WrongRoute => None,
        }
    }
}

/// Decodes an id that is exactly one path segment.
fn decode_segment(raw: &str) -> Option<String> {
    if raw.is_empty() || raw.contains('/') || matches!(raw, "." | "..") {
        return None;
    }
    percent_decode_str(raw).decode_utf8().ok().map(Into::into)
}

/// The response without the common header fields.
pub(super) fn response(
    simulator: &Simulator,
    request: &Request,
    call: &Call,
    fault: Option<&Fault>,
) -> Response {
    if let Some(error) = fault.and_then(Fault::error) {
        return error.response();
    }
    if *call == Call::WrongRoute {
        return errors::wrong_route();
    }
    let made = admit(simulator, request).and_then(|()| execute(simulator, request, call, fault));
    match made {
        Ok(record) => customer(simulator, request, record, fault),
        Err(rejection) => rejection,
    }
}

/// Checks API key and merchant.
fn admit(simulator: &Simulator, request: &Request) -> Result<(), Response> {
    if !simulator.0.keys.admit(request.header("authorization")) {
        return Err(ApiError::AccessDenied.response());
    }
    match request.header("x-merchantid") {
        None | Some("") if simulator.0.lenient => Ok(()),
        None | Some("") => {
            Err(errors::mandatory_fields_missing("Mandatory field x-merchantid is missing"))
        }
        Some(merchant) if merchant != simulator.merchant() => {
            Err(ApiError::AccessDenied.response())
        }
        Some(_) => Ok(()),
    }
}

/// Executes the call and returns the customer.
fn execute(
    simulator: &Simulator,
    request: &Request,
    call: &Call,
    fault: Option<&Fault>,
) -> Result<CustomerRecord, Response> {
    match call {
        Call::Get(id) => find(simulator, id, fault),
        Call::Create(reference) => create(simulator, request, reference.as_deref(), fault),
        Call::Update(id) => {
            find(simulator, id, fault)?;
            let contact = contact(request, simulator.0.strict_fields)?;
            let updated = simulator.0.customers.update(id, contact, simulator.now());
            updated.ok_or_else(|| ApiError::NotFound.response())
        }
        Call::WrongRoute => Err(errors::wrong_route()),
    }
}

fn find(
    simulator: &Simulator,
    id: &str,
    fault: Option<&Fault>,
) -> Result<CustomerRecord, Response> {
    let customers = &simulator.0.customers;
    let is_provisioned = || simulator.provisions_customers() || MagicCustomer::named(id).is_some();
    if !fault.is_some_and(Fault::requires_creation) && is_provisioned() {
        Ok(customers.find_or_create(id, simulator.now()))
    } else {
        customers.find(id).ok_or_else(|| ApiError::NotFound.response())
    }
}

fn create(
    simulator: &Simulator,
    request: &Request,
    reference: Option<&str>,
    fault: Option<&Fault>,
) -> Result<CustomerRecord, Response> {
    let missing = |field: &str| {
        errors::mandatory_fields_missing(&format!("Mandatory field {field} is missing"))
    };
    let reference = reference.ok_or_else(|| missing("object_reference_id"))?;
    if request.form_value("mobile_number").is_none() {
        return Err(missing("mobile_number"));
    }
    if let Some(rejected) = fault.and_then(Fault::rejected_field) {
        return Err(errors::invalid_fields(&[rejected]));
    }
    let strict = simulator.0.strict_fields;
    if !is_valid_reference(reference, strict) {
        return Err(errors::invalid_fields(&[("object_reference_id", INVALID_VALUE)]));
    }
    let contact = contact(request, strict)?;
    let created = simulator.0.customers.create(reference, contact, simulator.now());
    created.ok_or_else(|| ApiError::Duplicate.response())
}

/// 200 with the customer, and with a new token if requested.
fn customer(
    simulator: &Simulator,
    request: &Request,
    mut record: CustomerRecord,
    fault: Option<&Fault>,
) -> Response {
    let object_fault = fault.and_then(Fault::object);
    if object_fault == Some(ObjectFault::OtherCustomer) {
        record = simulator.0.customers.find_or_create("sim_somebody_else", simulator.now());
    }
    let mut object = CustomerObject::of(record, object_fault);
    if requests_token(request) {
        let fault = fault.and_then(Fault::token);
        let life = match fault {
            Some(TokenFault::Life { seconds }) => SignedDuration::from_secs(seconds),
            _ => simulator.0.token_life,
        };
        let uses = if fault == Some(TokenFault::UsedUp) { 0 } else { simulator.0.token_uses };
        let end = shifted(simulator.now(), life);
        let token = simulator.0.tokens.mint(end, uses);
        object.juspay = juspay_member(&token, end, fault);
    }
    Response::json(200, &object)
}

/// Juspay accepts the option in the query and in the form.
fn requests_token(request: &Request) -> bool {
    const OPTION: &str = "options.get_client_auth_token";
    let value = request.query_value(OPTION).or_else(|| request.form_value(OPTION));
    value.as_deref() == Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_must_be_exactly_one_segment() {
        for (raw, id) in [
            ("alice", Some("alice")),
            ("a.b%40example.com", Some("a.b@example.com")),
            ("a%2Fb", Some("a/b")),
            ("%2e%2e", Some("..")),
            ("a+b", Some("a+b")),
            ("100%25", Some("100%")),
            ("a/b", None),
            ("a/", None),
            ("", None),
            (".", None),
            ("..", None),
            ("%ff", None),
        ] {
            assert_eq!(decode_segment(raw).as_deref(), id, "{raw}");
        }
    }
}
