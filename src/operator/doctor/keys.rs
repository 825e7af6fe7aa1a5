//! Checks each API key over each address family, and compares Juspay's clock with this machine's.

use std::{io, sync::Arc};

use jiff::SignedDuration;

use super::{
    CheckContext, DoctorError,
    report::{Report, format_duration},
    token_life,
};
use crate::{
    customer::{CustomerId, CustomerIdError, CustomerIdForm},
    juspay::{
        InvalidResponse, JuspayError,
        inspection::{InspectedCall, request_customer},
    },
    metrics::Metrics,
    secret_file::Secret,
    settings::{IpFamily, SecretSource},
};

/// An id that no customer has. If Juspay responds that it doesn't exist, key and address are
/// accepted.
const UNKNOWN_CUSTOMER: &str = "juspay-bff-doctor-asks-for-nobody";

/// The same in the form of Juspay's own ids.
const UNKNOWN_JUSPAY_CUSTOMER: &str = "cst_juspay_bff_doctor_asks_for_nobody";

/// Invalid responses that are about one customer's data only.
const MALFORMED: [InvalidResponse; 2] =
    [InvalidResponse::MalformedIdentity, InvalidResponse::MalformedToken];

/// Largest difference of clocks that is no warning.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// An API key, and the setting that contains it.
struct ApiKey {
    setting: &'static str,
    secret: Arc<Secret>,
}

pub(super) async fn check(
    context: &CheckContext<'_>,
    families: &[IpFamily],
    customer: Option<CustomerId>,
    report: &mut Report<'_>,
) -> Result<(), DoctorError> {
    let api_keys = api_keys(context, report)?;
    if families.is_empty() {
        for api_key in &api_keys {
            let fix = "fix the connection to Juspay first (see above)";
            report.warning(api_key.setting, "not checked: no connection to Juspay", fix)?;
        }
        return Ok(());
    }
    let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
    let unknown_customer = unknown_customer(context.settings.juspay.customer_id_form);
    let mut calls = Vec::new();
    for api_key in &api_keys {
        for family in families {
            let Ok(unknown_customer) = unknown_customer.clone() else { continue };
            let call = context.call_juspay(api_key, *family, unknown_customer, &metrics).await?;
            calls.push((api_key.setting, *family, call));
        }
    }
    let any_key_works = calls.iter().any(|(_, _, call)| is_accepted(call));
    for (key, family, call) in &calls {
        report_call(context, (key, *family), call, any_key_works, report)?;
        merchant(context, key, call, report)?;
    }
    if let Some((_, _, call)) = calls.iter().find(|(_, _, call)| call.seen.date.is_some()) {
        clock(context, "Juspay clock", call, report)?;
    } else if any_key_works {
        let fix = "synchronize this machine's clock (NTP): it decides when tokens expire";
        report.warning(
            "Juspay clock",
            "unknown: Juspay's responses have no usable Date header",
            fix,
        )?;
    }
    let Some(customer) = customer else { return Ok(()) };
    let accepted = calls.iter().find(|(_, _, call)| is_accepted(call));
    let Some((key, family, _)) = accepted else { return Ok(()) };
    let Some(api_key) = api_keys.iter().find(|api_key| api_key.setting == *key) else {
        return Ok(());
    };
    let call = context.call_juspay(api_key, *family, customer, &metrics).await?;
    Ok(token_life::check(context, &call, report)?)
}

impl CheckContext<'_> {
    async fn call_juspay(
        &self,
        api_key: &ApiKey,
        family: IpFamily,
        customer: CustomerId,
        metrics: &Arc<Metrics>,
    ) -> Result<InspectedCall, DoctorError> {
        let around = (&self.clock, metrics);
        let proxy_credentials = self.proxy.as_ref().and_then(|proxy| proxy.credentials.clone());
        let secrets = (Arc::clone(&api_key.secret), proxy_credentials);
        Ok(request_customer(&self.settings.juspay, family, secrets, customer, around).await?)
    }
}

/// The API keys that can be read. The others are reported as failed.
fn api_keys(context: &CheckContext<'_>, report: &mut Report<'_>) -> io::Result<Vec<ApiKey>> {
    let settings = &context.settings.juspay;
    let mut api_keys = Vec::new();
    let file = match &settings.api_key {
        SecretSource::File(path) => Some(("juspay.api_key_file", path)),
        SecretSource::Inline(secret) => {
            let secret = Arc::new(Secret::fixed(secret.clone()));
            api_keys.push(ApiKey { setting: "juspay.api_key", secret });
            None
        }
    };
    let next = settings.api_key_next.as_ref().map(|path| ("juspay.api_key_next_file", path));
    for (key, path) in file.into_iter().chain(next) {
        match Secret::open(path) {
            Ok(secret) => api_keys.push(ApiKey { setting: key, secret: Arc::new(secret) }),
            Err(error) => {
                report.failed(key, &error.to_string(), "write the API key to the file")?;
            }
        }
    }
    Ok(api_keys)
}

fn unknown_customer(form: CustomerIdForm) -> Result<CustomerId, CustomerIdError> {
    CustomerId::parse(match form {
        CustomerIdForm::Merchant => UNKNOWN_CUSTOMER,
        CustomerIdForm::Juspay => UNKNOWN_JUSPAY_CUSTOMER,
    })
}

/// Whether Juspay has accepted the key and this machine's address.
fn is_accepted(call: &InspectedCall) -> bool {
    matches!(call.answer, Ok(_) | Err(JuspayError::CustomerNotFound))
}

/// `any_key_works`: Juspay accepts at least one key over one of the families.
fn report_call(
    context: &CheckContext<'_>,
    (key, family): (&str, IpFamily),
    call: &InspectedCall,
    any_key_works: bool,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let over = match family {
        IpFamily::V4 => " over IPv4",
        IpFamily::V6 => " over IPv6",
        IpFamily::Any => "",
    };
    let address = if context.proxy.is_some() { "the proxy's address" } else { "this address" };
    let error = match &call.answer {
        Ok(_) => {
            let found = format!("Juspay accepts the key and {address}{over}");
            return report.ok(key, &found);
        }
        Err(JuspayError::CustomerNotFound) => {
            let found = format!(
                "Juspay accepts the key and {address}{over} (404 for the test customer, as \
                 expected)"
            );
            return report.ok(key, &found);
        }
        Err(error) => error,
    };
    let found = format!("{error}{over}");
    if any_key_works && matches!(error, JuspayError::RejectedCredentials(_)) {
        let fix = format!("remove the key from {key}; another key works");
        return report.warning(key, &found, &fix);
    }
    report.failed(key, &found, &fix_for(key, error))
}

fn fix_for(key: &str, error: &JuspayError) -> String {
    match error {
        JuspayError::RejectedCredentials(_) => format!(
            "write a key to {key} that is active in Juspay's dashboard for this host; Juspay \
             rejects keys of other merchants than juspay.merchant_id in the same way"
        ),
        JuspayError::RejectedOrigin(_) => "add this machine's public address (or that of \
                                           juspay.egress_proxy, if set) to the merchant's \
                                           allow-list in Juspay's dashboard; if only its IPv4 or \
                                           IPv6 address is listed, set juspay.ip_family"
            .to_owned(),
        JuspayError::Status(400, _) => "check juspay.merchant_id and juspay.api_version".to_owned(),
        JuspayError::Status(404, _) | JuspayError::InvalidResponse(_) => {
            "check juspay.base_url: the server there is not Juspay's API".to_owned()
        }
        JuspayError::TooManyRequests(_) => {
            "wait, and request a higher quota from Juspay".to_owned()
        }
        JuspayError::Timeout => "find what is slow, or raise juspay.deadline".to_owned(),
        JuspayError::Connection(_) => "fix the connection to juspay.base_url".to_owned(),
        JuspayError::Status(..)
        | JuspayError::CustomerNotFound
        | JuspayError::NotCreated(_)
        | JuspayError::BreakerOpen(_)
        | JuspayError::Saturated
        | JuspayError::Aborted => "check Juspay's status page, and try again".to_owned(),
    }
}

/// Warns if the response names another merchant.
fn merchant(
    context: &CheckContext<'_>,
    key: &str,
    call: &InspectedCall,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let own = context.settings.juspay.merchant_id.as_str();
    match &call.seen.merchant {
        Some(theirs) if is_accepted(call) && theirs != own => {
            let found =
                format!("according to Juspay, {key} is a key of merchant {theirs}, not {own}");
            report.warning("juspay.merchant_id", &found, "check juspay.merchant_id")
        }
        _ => Ok(()),
    }
}

fn clock(
    context: &CheckContext<'_>,
    subject: &str,
    call: &InspectedCall,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let Some(date) = call.seen.date else { return Ok(()) };
    let ahead = crate::clock::skew(date, call.sent.wall, call.received);
    report_skew(context, subject, ahead, report)
}

/// Reports how far the other clock is ahead of this machine's.
pub(super) fn report_skew(
    context: &CheckContext<'_>,
    subject: &str,
    ahead: SignedDuration,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let leeway = SignedDuration::try_from(context.settings.auth.leeway).unwrap_or_default();
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    let found = format!("{} {direction} this machine's", format_duration(ahead.abs()));
    let fix = "synchronize this machine's clock (NTP)";
    if ahead.abs() <= MAX_SKEW {
        report.ok(subject, "agrees with this machine's")
    } else if ahead.abs() <= leeway {
        report.warning(subject, &found, fix)
    } else {
        report.failed(subject, &format!("{found}, more than auth.leeway"), fix)
    }
}

/// The fix for a failed call with `--customer`, for [`token_life`].
pub(super) fn fix_for_customer_call(error: &JuspayError) -> String {
    if *error == JuspayError::CustomerNotFound {
        "set --customer to a customer that exists".to_owned()
    } else if *error == InvalidResponse::OtherCustomer.into() {
        "check juspay.customer_id_form: the response has another id for the customer".to_owned()
    } else if MALFORMED.iter().any(|why| *error == (*why).into()) {
        "report the customer's malformed data to Juspay".to_owned()
    } else {
        fix_for("--customer", error)
    }
}
