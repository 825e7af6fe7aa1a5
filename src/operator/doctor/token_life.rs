//! Checks how long a real client auth token lives, and whether the cache's settings suit it.

use std::{io, time::Duration};

use super::{
    CheckContext,
    keys::fix_for_customer_call,
    report::{Report, format_duration},
};
use crate::{
    cache::lifetime::{Lifetime, LifetimePolicy, ReportedExpiry},
    juspay::{InvalidResponse, inspection::InspectedCall},
};

const SUBJECT: &str = "token life";

pub(super) fn check(
    context: &CheckContext<'_>,
    call: &InspectedCall,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let answer = match &call.answer {
        Ok(answer) => answer,
        Err(error) => {
            return report.failed(SUBJECT, &error.to_string(), &fix_for_customer_call(error));
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
    let reported = ReportedExpiry {
        expiry: auth.expiry,
        date: answer.date,
        sent: call.sent,
        received: call.received,
    };
    let policy = LifetimePolicy::from(&context.settings.cache);
    let uncapped = LifetimePolicy { max_token_life: Duration::MAX, ..policy };
    let lives = [&uncapped, &policy].map(|policy| Lifetime::new(policy, &reported, 0.0));
    let [Some(total), Some(used)] = lives else {
        if let Some(seconds) = reported.lost_to_clock_skew(&policy) {
            let found = InvalidResponse::ClockAhead(seconds).to_string();
            return report.failed(SUBJECT, &found, "synchronize this machine's clock (NTP)");
        }
        let found = "shorter than cache.outage_min_remaining: the token could never be returned";
        let fix = "ask Juspay to extend it, or lower cache.outage_min_remaining";
        return report.failed(SUBJECT, found, fix);
    };
    let ttl = used.ttl(call.sent);
    let found = format!(
        "{}, returned from the cache for {}",
        format_duration(total.total()),
        format_duration(ttl)
    );
    compare_with_settings(&policy, &total, &used, &found, report)
}

fn compare_with_settings(
    policy: &LifetimePolicy,
    total: &Lifetime,
    used: &Lifetime,
    found: &str,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let life = used.total();
    if used.has_reduced_floor(policy) {
        let found = format!(
            "{found}; cache.min_remaining {} is more than a quarter of it, so a quarter is used \
             instead",
            format_duration(policy.min_remaining)
        );
        report.warning(SUBJECT, &found, "lower cache.min_remaining and cache.refresh_ahead")
    } else if policy.refresh_ahead >= life {
        let found = format!(
            "{found}; cache.refresh_ahead {} is longer, so a shorter time is used",
            format_duration(policy.refresh_ahead)
        );
        report.warning(SUBJECT, &found, "lower cache.refresh_ahead")
    } else if total.total() > policy.max_token_life {
        let found = format!(
            "{found}; cache.max_token_life {} shortens it",
            format_duration(policy.max_token_life)
        );
        report.warning(SUBJECT, &found, "raise cache.max_token_life if Juspay confirms that life")
    } else {
        report.ok(SUBJECT, &format!("{found}; cache.min_remaining and cache.refresh_ahead fit"))
    }
}
