//! What must hold for the life of a token whatever Juspay answers. For the fuzz targets and the
//! tests only: no program has this in it.

#![expect(clippy::expect_used, reason = "what can't be is a finding")]

use std::time::Duration;

use jiff::Timestamp;

use super::lifetime::{Lifetime, Phase, Policy, Report};
use crate::{
    clock::{Moment, Monotonic, until},
    juspay,
};

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// The defaults of `cache.*`.
const POLICY: Policy = Policy {
    min_remaining: Duration::from_mins(2),
    refresh_ahead: Duration::from_mins(5),
    outage_min_remaining: Duration::from_secs(30),
    max_token_life: Duration::from_mins(15),
};

/// Takes the body of Juspay's answer, which may have a first line with the `Date` of its head, and
/// panics where a promise is broken.
pub fn juspay_answer(input: &[u8]) {
    let (date, body) = parts(input).unwrap_or((None, input));
    let Some(auth) = juspay::fuzzing::answer(body) else { return };
    let sent = Moment {
        wall: Timestamp::from_second(NOW).expect("a time"),
        monotonic: Monotonic::new(Duration::from_hours(1)),
    };
    let received = sent.plus(Duration::from_secs(1)).wall;
    let report = Report { expiry: auth.expiry, date, sent, received };
    for jitter in [0.0, 1.0] {
        check(&report, jitter);
    }
}

fn parts(input: &[u8]) -> Option<(Option<Timestamp>, &[u8])> {
    let line = input.iter().position(|byte| *byte == b'\n')?;
    let (line, body) = input.split_at_checked(line)?;
    let date = std::str::from_utf8(line.strip_prefix(b"Date: ")?).ok()?;
    Some((juspay::fuzzing::date(date), body))
}

fn check(report: &Report, jitter: f64) {
    let reported = until(report.expiry, report.date.unwrap_or(report.received));
    let Some(life) = Lifetime::new(&POLICY, report, jitter) else {
        assert!(reported < Duration::from_secs(36), "a token that is good for {reported:?}");
        return;
    };
    let whole = life.whole();
    assert!(whole <= POLICY.max_token_life && whole <= reported, "a life of {whole:?}");
    assert_eq!(life.remaining(report.sent), whole);
    assert_eq!(life.expiry(), report.sent.plus(whole).wall);
    assert!(life.phase(report.sent) != Phase::Dead, "dead on arrival");
    let last = report.sent.plus(whole.saturating_sub(POLICY.outage_min_remaining));
    assert!(life.phase(last.plus(Duration::from_nanos(1))) == Phase::Dead, "below the floor");
    assert!(life.ttl(report.sent) <= life.outage_ttl(report.sent));
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn every_kept_answer_is_dealt_with_as_promised() {
        crate::corpus::replay("juspay_answer", juspay_answer);
    }

    /// Members of an answer, right ones and wrong ones.
    const MEMBERS: [&str; 22] = [
        r#""object_reference_id":"alice""#,
        r#""object_reference_id":"alice""#,
        r#""object_reference_id":"bob""#,
        r#""object_reference_id":null"#,
        r#""object_reference_id":["alice"]"#,
        r#""customer_id":"alice""#,
        r#""customer_id":"bob""#,
        r#""id":"cst_1""#,
        r#""id":7"#,
        r#""first_name":"A\u0000\"é""#,
        r#""last_name":{"a":1}"#,
        r#""mobile_number":1e3"#,
        r#""date_created":"2016-08-02T08:07:52+0000""#,
        r#""last_updated":"-009999-01-02T01:59:33Z""#,
        r#""gstin":"29ABCDE1234F1Z5""#,
        r#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"2026-01-01T00:15:00Z"}"#,
        r#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"2026-01-01T00:00:37.5Z"}"#,
        r#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"9999-12-30T22:00:00Z"}"#,
        r#""juspay":{"client_auth_token":"","client_auth_token_expiry":"2026-01-01T00:15:00Z"}"#,
        r#""juspay":null"#,
        r#""error_code":"object_not_found""#,
        r#""error_info":{"code":"RESOURCE_NOT_FOUND"}"#,
    ];

    proptest! {
        #[test]
        fn whatever_juspay_answers_it_is_dealt_with_as_promised(
            date in select(&["", "Date: Thu, 01 Jan 2026 00:00:00 GMT\n", "Date: x\n"][..]),
            members in vec(select(&MEMBERS[..]), 0..8),
        ) {
            juspay_answer(format!("{date}{{{}}}", members.join(",")).as_bytes());
        }
    }
}
