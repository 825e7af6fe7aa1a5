//! What Juspay makes of each API key, over each family of addresses, and of the clock.

use std::{io, sync::Arc};

use jiff::SignedDuration;

use super::{
    DoctorError, Patient, life,
    report::{Report, span},
};
use crate::{
    customer::{CustomerId, CustomerIdError, CustomerIdForm},
    juspay::{
        InvalidResponse, JuspayError,
        inspection::{InspectedCall, ask},
    },
    metrics::Metrics,
    secret_file::Secret,
    settings::{IpFamily, SecretSource},
};

/// Whom Juspay is asked for: nobody. Answered so, key and address are good.
const NOBODY: &str = "juspay-bff-doctor-asks-for-nobody";

/// The same in Juspay's own form.
const NOBODY_OF_JUSPAY: &str = "cst_juspay_bff_doctor_asks_for_nobody";

/// What is wrong with one customer's data.
const MALFORMED: [InvalidResponse; 2] =
    [InvalidResponse::MalformedIdentity, InvalidResponse::MalformedToken];

/// Clocks that differ by less are well set.
const WELL_SET: SignedDuration = SignedDuration::from_secs(5);

/// A key, and the setting that holds it.
struct Slot {
    key: &'static str,
    secret: Arc<Secret>,
}

pub(super) async fn examine(
    patient: &Patient<'_>,
    families: &[IpFamily],
    customer: Option<CustomerId>,
    report: &mut Report<'_>,
) -> Result<(), DoctorError> {
    let slots = slots(patient, report)?;
    if families.is_empty() {
        for slot in &slots {
            let fix = "fix the connection to Juspay first (see above)";
            report.warning(slot.key, "not checked: no connection to Juspay", fix)?;
        }
        return Ok(());
    }
    let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
    let nobody = nobody(patient.settings.juspay.customer_id_form);
    let mut calls = Vec::new();
    for slot in &slots {
        for family in families {
            let Ok(nobody) = nobody.clone() else { continue };
            let asked = patient.ask(slot, *family, nobody, &metrics).await?;
            calls.push((slot.key, *family, asked));
        }
    }
    let works = calls.iter().any(|(_, _, asked)| lets_us_in(asked));
    for (key, family, asked) in &calls {
        told(key, *family, asked, works, report)?;
        merchant(patient, key, asked, report)?;
    }
    if let Some((_, _, asked)) = calls.iter().find(|(_, _, asked)| asked.seen.date.is_some()) {
        clock(patient, "Juspay clock", asked, report)?;
    } else if works {
        let fix = "synchronize this machine's clock (NTP): it decides when tokens expire";
        report.warning(
            "Juspay clock",
            "unknown: Juspay's responses have no usable Date header",
            fix,
        )?;
    }
    let Some(customer) = customer else { return Ok(()) };
    let good = calls.iter().find(|(_, _, asked)| lets_us_in(asked));
    let Some((key, family, _)) = good else { return Ok(()) };
    let Some(slot) = slots.iter().find(|slot| slot.key == *key) else { return Ok(()) };
    let asked = patient.ask(slot, *family, customer, &metrics).await?;
    Ok(life::examine(patient, &asked, report)?)
}

impl Patient<'_> {
    async fn ask(
        &self,
        slot: &Slot,
        family: IpFamily,
        customer: CustomerId,
        metrics: &Arc<Metrics>,
    ) -> Result<InspectedCall, DoctorError> {
        let around = (&self.clock, metrics);
        let secret = Arc::clone(&slot.secret);
        Ok(ask(&self.settings.juspay, family, secret, customer, around).await?)
    }
}

/// Each key that can be read; of the others was told before.
fn slots(patient: &Patient<'_>, report: &mut Report<'_>) -> io::Result<Vec<Slot>> {
    let settings = &patient.settings.juspay;
    let mut slots = Vec::new();
    let file = match &settings.api_key {
        SecretSource::File(path) => Some(("juspay.api_key_file", path)),
        SecretSource::Inline(secret) => {
            let secret = Arc::new(Secret::fixed(secret.clone()));
            slots.push(Slot { key: "juspay.api_key", secret });
            None
        }
    };
    let next = settings.api_key_next.as_ref().map(|path| ("juspay.api_key_next_file", path));
    for (key, path) in file.into_iter().chain(next) {
        match Secret::open(path) {
            Ok(secret) => slots.push(Slot { key, secret: Arc::new(secret) }),
            Err(error) => {
                report.failed(key, &error.to_string(), "write the API key to the file")?;
            }
        }
    }
    Ok(slots)
}

fn nobody(form: CustomerIdForm) -> Result<CustomerId, CustomerIdError> {
    CustomerId::parse(match form {
        CustomerIdForm::Merchant => NOBODY,
        CustomerIdForm::Juspay => NOBODY_OF_JUSPAY,
    })
}

/// Whether Juspay has taken key and address.
fn lets_us_in(asked: &InspectedCall) -> bool {
    matches!(asked.answer, Ok(_) | Err(JuspayError::CustomerNotFound))
}

/// `works`: some key does, over some family.
fn told(
    key: &str,
    family: IpFamily,
    asked: &InspectedCall,
    works: bool,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let over = match family {
        IpFamily::V4 => " over IPv4",
        IpFamily::V6 => " over IPv6",
        IpFamily::Any => "",
    };
    let error = match &asked.answer {
        Ok(_) => {
            let found = format!("Juspay accepts the key and this address{over}");
            return report.ok(key, &found);
        }
        Err(JuspayError::CustomerNotFound) => {
            let found = format!(
                "Juspay accepts the key and this address{over} (404 for the test customer, as \
                 expected)"
            );
            return report.ok(key, &found);
        }
        Err(error) => error,
    };
    let found = format!("{error}{over}");
    if works && matches!(error, JuspayError::RejectedCredentials(_)) {
        let fix = format!("remove the key from {key}; another key works");
        return report.warning(key, &found, &fix);
    }
    report.failed(key, &found, &remedy(key, error))
}

fn remedy(key: &str, error: &JuspayError) -> String {
    match error {
        JuspayError::RejectedCredentials(_) => format!(
            "write a key to {key} that is active in Juspay's dashboard for this host; Juspay \
             rejects keys of other merchants than juspay.merchant_id in the same way"
        ),
        JuspayError::RejectedOrigin(_) => "add this machine's public address to the merchant's \
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
        | JuspayError::BreakerOpen(_)
        | JuspayError::Saturated
        | JuspayError::Aborted => "check Juspay's status page, and try again".to_owned(),
    }
}

/// What the answer says about whose key it is.
fn merchant(
    patient: &Patient<'_>,
    key: &str,
    asked: &InspectedCall,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let ours = patient.settings.juspay.merchant_id.as_str();
    match &asked.seen.merchant {
        Some(theirs) if lets_us_in(asked) && theirs != ours => {
            let found =
                format!("according to Juspay, {key} is a key of merchant {theirs}, not {ours}");
            report.warning("juspay.merchant_id", &found, "check juspay.merchant_id")
        }
        _ => Ok(()),
    }
}

fn clock(
    patient: &Patient<'_>,
    subject: &str,
    asked: &InspectedCall,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let Some(date) = asked.seen.date else { return Ok(()) };
    let ahead = crate::clock::skew(date, asked.sent.wall, asked.received);
    skew(patient, subject, ahead, report)
}

/// Tells how far somebody's clock is ahead of ours.
pub(super) fn skew(
    patient: &Patient<'_>,
    subject: &str,
    ahead: SignedDuration,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let leeway = SignedDuration::try_from(patient.settings.auth.leeway).unwrap_or_default();
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    let found = format!("{} {direction} this machine's", span(ahead.abs()));
    let fix = "synchronize this machine's clock (NTP)";
    if ahead.abs() <= WELL_SET {
        report.ok(subject, "agrees with this machine's")
    } else if ahead.abs() <= leeway {
        report.warning(subject, &found, fix)
    } else {
        report.failed(subject, &format!("{found}, more than auth.leeway"), fix)
    }
}

/// For [`life`]: what to do about an answer that isn't one.
pub(super) fn remedy_for_customer(error: &JuspayError) -> String {
    if *error == JuspayError::CustomerNotFound {
        "set --customer to a customer that exists".to_owned()
    } else if *error == InvalidResponse::OtherCustomer.into() {
        "check juspay.customer_id_form: the response has another id for the customer".to_owned()
    } else if MALFORMED.iter().any(|why| *error == (*why).into()) {
        "report the customer's malformed data to Juspay".to_owned()
    } else {
        remedy("--customer", error)
    }
}
