//! How long a real client auth token lives, and whether the cache's settings fit that.

use std::{io, time::Duration};

use super::{
    Patient,
    keys::remedy_for_customer,
    report::{Report, span},
};
use crate::{
    cache::lifetime::{Lifetime, Policy, Report as Reported},
    juspay::{InvalidAnswer, inspection::Asked},
};

const SUBJECT: &str = "token life";

pub(super) fn examine(
    patient: &Patient<'_>,
    asked: &Asked,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let answer = match &asked.answer {
        Ok(answer) => answer,
        Err(error) => {
            return report.failed(SUBJECT, &error.to_string(), &remedy_for_customer(error));
        }
    };
    let auth = match &answer.auth {
        Ok(auth) => auth,
        Err(why) => {
            let fix = "ask Juspay to enable client auth tokens for this merchant; check \
                       juspay.api_version";
            return report.failed(SUBJECT, &why.to_string(), fix);
        }
    };
    let told = Reported {
        expiry: auth.expiry,
        date: answer.date,
        sent: asked.sent,
        received: asked.received,
    };
    let policy = Policy::from(&patient.settings.cache);
    let unbounded = Policy { max_token_life: Duration::MAX, ..policy };
    let lives = [&unbounded, &policy].map(|policy| Lifetime::new(policy, &told, 0.0));
    let [Some(whole), Some(used)] = lives else {
        if let Some(seconds) = told.lost_to_our_clock(&policy) {
            let found = InvalidAnswer::ClockAhead(seconds).to_string();
            return report.failed(SUBJECT, &found, "synchronize this machine's clock (NTP)");
        }
        let found = "shorter than cache.outage_min_remaining: the token could never be returned";
        let fix = "ask Juspay to extend it, or lower cache.outage_min_remaining";
        return report.failed(SUBJECT, found, fix);
    };
    let ttl = used.ttl(asked.sent);
    let found = format!("{}, returned from the cache for {}", span(whole.whole()), span(ttl));
    fits(&policy, &whole, &used, &found, report)
}

fn fits(
    policy: &Policy,
    whole: &Lifetime,
    used: &Lifetime,
    found: &str,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let life = used.whole();
    if used.is_shorter_than_meant(policy) {
        let found = format!(
            "{found}; cache.min_remaining {} is more than a quarter of it, so a quarter is used \
             instead",
            span(policy.min_remaining)
        );
        report.warning(SUBJECT, &found, "lower cache.min_remaining and cache.refresh_ahead")
    } else if policy.refresh_ahead >= life {
        let found = format!(
            "{found}; cache.refresh_ahead {} is longer, so a shorter time is used",
            span(policy.refresh_ahead)
        );
        report.warning(SUBJECT, &found, "lower cache.refresh_ahead")
    } else if whole.whole() > policy.max_token_life {
        let found =
            format!("{found}; cache.max_token_life {} shortens it", span(policy.max_token_life));
        report.warning(SUBJECT, &found, "raise cache.max_token_life if Juspay confirms that life")
    } else {
        report.ok(SUBJECT, &format!("{found}; cache.min_remaining and cache.refresh_ahead fit"))
    }
}
