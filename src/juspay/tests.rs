//! The outcome label and the properties of each error.

use std::path::PathBuf;

use super::*;
use crate::{customer::CustomerIdForm, settings};

const WAIT: Duration = Duration::from_secs(7);

/// An error, its label, and whether it is an outage, is retryable, and proves that Juspay accepted
/// the key.
type Row = (JuspayError, &'static str, [bool; 3]);

const OUTAGE: [bool; 3] = [true, false, false];
const TRANSIENT: [bool; 3] = [true, true, false];

fn rows() -> Vec<Row> {
    use InvalidResponse as I;
    use JuspayError as E;
    const LOCAL: [bool; 3] = [false, false, false];
    const ONE_CUSTOMER: [bool; 3] = [false, false, true];
    let mut rows = vec![
        (E::CustomerNotFound, "not_found", ONE_CUSTOMER),
        (E::NotCreated(NotCreated::NoMobileNumber), "no_mobile_number", LOCAL),
        (E::NotCreated(NotCreated::Exists), "already_exists", ONE_CUSTOMER),
        (E::RejectedCredentials(RejectedBy::Juspay), "rejected_credentials", LOCAL),
        (E::RejectedCredentials(RejectedBy::Hold(WAIT)), "rejected_credentials", LOCAL),
        (E::RejectedOrigin(RejectedBy::Unknown), "rejected_origin", LOCAL),
        (E::TooManyRequests(None), "too_many_requests", OUTAGE),
        (E::Status(400, None), "client_error", ONE_CUSTOMER),
        (E::Status(499, None), "client_error", ONE_CUSTOMER),
        (E::Status(500, None), "server_error", OUTAGE),
        (E::Status(501, None), "server_error", OUTAGE),
        (E::Status(502, None), "server_error", TRANSIENT),
        (E::Status(503, None), "server_error", TRANSIENT),
        (E::Status(504, None), "server_error", TRANSIENT),
        (E::Status(505, None), "server_error", OUTAGE),
        (E::Timeout, "timeout", TRANSIENT),
        (E::BreakerOpen(WAIT), "breaker_open", LOCAL),
        (E::Saturated, "saturated", LOCAL),
        (E::Aborted, "aborted", LOCAL),
    ];
    rows.extend(connection_rows());
    rows.push((I::Truncated.into(), "invalid_response", TRANSIENT));
    for invalid in [I::Interim, I::Status, I::Redirect, I::Http, I::TooLarge, I::Json] {
        rows.push((invalid.into(), "invalid_response", OUTAGE));
    }
    for invalid in [
        I::OtherCustomer,
        I::MalformedIdentity,
        I::MalformedToken,
        I::NoToken,
        I::NoExpiry,
        I::TooShortLived,
        I::ClockAhead(900),
    ] {
        rows.push((invalid.into(), "invalid_response", ONE_CUSTOMER));
    }
    rows
}

fn connection_rows() -> impl Iterator<Item = Row> {
    use ConnectionFailure as C;
    use ProxyFailure as P;
    let rows = [
        (C::Resolve, TRANSIENT),
        (C::Connect, TRANSIENT),
        (C::ConnectTimeout, TRANSIENT),
        (C::Tls, TRANSIENT),
        (C::Broken, TRANSIENT),
        (C::Proxy(P::Unreachable), TRANSIENT),
        (C::Proxy(P::RejectedCredentials(407)), OUTAGE),
        (C::Proxy(P::Refused(403)), OUTAGE),
        (C::Proxy(P::Refused(503)), TRANSIENT),
        (C::Proxy(P::InvalidResponse), TRANSIENT),
    ];
    rows.into_iter()
        .map(|(why, properties)| (JuspayError::Connection(why), "connection", properties))
}

#[test]
fn errors_have_their_outcomes_and_properties() {
    for (error, outcome, expected) in rows() {
        assert_eq!(error.outcome(), outcome, "{error:?}");
        let properties = [error.is_outage(), error.is_retryable(), error.proves_access()];
        assert_eq!(properties, expected, "{error:?}");
    }
}

#[test]
fn errors_carry_retry_after() {
    use JuspayError as E;
    for error in [
        E::TooManyRequests(Some(WAIT)),
        E::Status(400, Some(WAIT)),
        E::Status(503, Some(WAIT)),
        E::BreakerOpen(WAIT),
        E::NotCreated(NotCreated::Limited(WAIT)),
    ] {
        assert_eq!(error.retry_after(), Some(WAIT), "{error:?}");
    }
    for (error, ..) in rows().into_iter().filter(|(error, ..)| *error != E::BreakerOpen(WAIT)) {
        assert_eq!(error.retry_after(), None, "{error:?}");
    }
}

#[test]
fn errors_of_creations_have_their_own_rules() {
    use NotCreated as N;
    let rejected = N::RejectedField(NewCustomerField::ObjectReferenceId);
    for (why, outcome, [proves_access, is_missing]) in [
        (N::NoMobileNumber, "no_mobile_number", [false, true]),
        (rejected, "rejected_field", [true, true]),
        (N::Exists, "already_exists", [true, false]),
        (N::Limited(WAIT), "creation_limited", [false, true]),
    ] {
        let error = JuspayError::from(why);
        assert_eq!((error.outcome(), error.cause()), (outcome, outcome));
        assert!(!error.is_outage() && !error.is_retryable(), "{error:?}");
        assert_eq!(error.proves_access(), proves_access, "{error:?}");
        assert_eq!(error.is_about_missing_customer(), is_missing, "{error:?}");
        assert!(error.is_remembered(), "{error:?}");
    }
    assert_eq!(JuspayError::from(rejected).retry_after(), Some(REJECTED_FIELD_PAUSE));
}

/// The settings of `config/default.toml`; those without a default are empty.
pub(super) fn shipped_settings() -> settings::Juspay {
    settings::Juspay {
        base_url: String::new(),
        merchant_id: String::new(),
        api_key: settings::SecretSource::File(PathBuf::new()),
        api_key_next: None,
        customer_id_form: CustomerIdForm::Merchant,
        create_missing_customers: false,
        api_version: None,
        ca_file: None,
        egress_proxy: None,
        egress_proxy_credentials: None,
        connect_timeout: Duration::from_secs(1),
        try_timeout: Duration::from_secs(2),
        deadline: Duration::from_secs(5),
        ip_family: settings::IpFamily::Any,
        max_retries: 2,
        retry_budget: 0.2,
        max_in_flight: 64,
        breaker: settings::Breaker {
            failure_rate: 0.5,
            window: Duration::from_secs(10),
            min_calls: 20,
            open_for: Duration::from_secs(5),
        },
    }
}
