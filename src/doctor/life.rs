//! How long a real client auth token lives, and whether the cache's settings fit that.

use std::{io, time::Duration};

use super::{
    Patient,
    keys::remedy_for_customer,
    report::{Report, span},
};
use crate::{
    cache::lifetime::{Lifetime, LifetimePolicy, ReportedExpiry},
    juspay::{InvalidResponse, inspection::InspectedCall},
};

const SUBJECT: &str = "token life";

pub(super) fn examine(
    patient: &Patient<'_>,
    asked: &InspectedCall,
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
    let told = ReportedExpiry {
        expiry: auth.expiry,
        date: answer.date,
        sent: asked.sent,
        received: asked.received,
    };
    let policy = LifetimePolicy::from(&patient.settings.cache);
    let unbounded = LifetimePolicy { max_token_life: Duration::MAX, ..policy };
    let lives = [&unbounded, &policy].map(|policy| Lifetime::new(policy, &told, 0.0));
    let [Some(whole), Some(used)] = lives else {
        if let Some(seconds) = told.lost_to_clock_skew(&policy) {
            let found = InvalidResponse::ClockAhead(seconds).to_string();
            return report.failed(SUBJECT, &found, "synchronize this machine's clock (NTP)");
        }
        let found = "shorter than cache.outage_min_remaining: the token could never be returned";
        let fix = "ask Juspay to extend it, or lower cache.outage_min_remaining";
        return report.failed(SUBJECT, found, fix);
    };
    let ttl = used.ttl(asked.sent);
    let found = format!("{}, returned from the cache for {}", span(whole.total()), span(ttl));
    fits(&policy, &whole, &used, &found, report)
}

fn fits(
    policy: &LifetimePolicy,
    whole: &Lifetime,
    used: &Lifetime,
    found: &str,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let life = used.total();
    if used.has_reduced_floor(policy) {
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
    } else if whole.total() > policy.max_token_life {
        let found =
            format!("{found}; cache.max_token_life {} shortens it", span(policy.max_token_life));
        report.warning(SUBJECT, &found, "raise cache.max_token_life if Juspay confirms that life")
    } else {
        report.ok(SUBJECT, &format!("{found}; cache.min_remaining and cache.refresh_ahead fit"))
    }
}
