//! Properties of a token's lifetime for any response of Juspay. Compiled for fuzz targets and tests
//! only.

#![expect(clippy::expect_used, reason = "a panic is a finding")]

use std::time::Duration;

use jiff::Timestamp;

use super::lifetime::{Lifetime, LifetimePolicy, Phase, ReportedExpiry};
use crate::{
    clock::{Moment, Monotonic, until},
    juspay,
};

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// The defaults of `cache.*`.
const POLICY: LifetimePolicy = LifetimePolicy {
    min_remaining: Duration::from_mins(2),
    refresh_ahead: Duration::from_mins(5),
    outage_min_remaining: Duration::from_secs(30),
    max_token_life: Duration::from_mins(15),
};

/// Parses a response body and panics if a promise is broken. A first line may have the `Date` header.
pub fn juspay_answer(input: &[u8]) {
    let (date, body) = parts(input).unwrap_or((None, input));
    let Some(auth) = juspay::fuzzing::response(body) else { return };
    let sent = Moment {
        wall: Timestamp::from_second(NOW).expect("a time"),
        monotonic: Monotonic::new(Duration::from_hours(1)),
    };
    let received = sent.plus(Duration::from_secs(1)).wall;
    let report = ReportedExpiry { expiry: auth.expiry, date, sent, received };
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

fn check(report: &ReportedExpiry, jitter: f64) {
    let by_this_clock = until(report.expiry, report.received);
    let by_juspays_clock = report.date.map(|date| until(report.expiry, date));
    let reported = by_juspays_clock.unwrap_or(by_this_clock).min(by_this_clock);
    let Some(life) = Lifetime::new(&POLICY, report, jitter) else {
        assert!(
            reported < Duration::from_secs(36),
            "a token that is valid for {reported:?} is rejected"
        );
        return;
    };
    let whole = life.total();
    assert!(whole <= POLICY.max_token_life && whole <= reported, "a life of {whole:?}");
    assert_eq!(life.remaining(report.sent), whole);
    assert_eq!(life.expiry(), report.sent.plus(whole).wall);
    assert!(life.phase(report.sent) != Phase::Expired, "expired when it arrives");
    let last = report.sent.plus(whole.saturating_sub(POLICY.outage_min_remaining));
    assert!(life.phase(last.plus(Duration::from_nanos(1))) == Phase::Expired, "below the floor");
    assert!(life.ttl(report.sent) <= life.outage_ttl(report.sent));
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::*,
        sample::{Index, select},
    };

    use super::*;

    #[test]
    fn corpus_responses_keep_the_promises() {
        crate::corpus::replay("juspay_answer", juspay_answer);
    }

    /// Members of a response, valid and invalid ones.
    const MEMBERS: [&[u8]; 39] = [
        br#""object_reference_id":"alice""#,
        br#""object_reference_id":"alice""#,
        br#""object_reference_id":"bob""#,
        br#""object_reference_id":null"#,
        br#""object_reference_id":["alice"]"#,
        br#""customer_id":"alice""#,
        br#""customer_id":"bob""#,
        br#""id":"cst_1""#,
        br#""id":7"#,
        br#""first_name":"A\u0000\"\u00e9""#,
        br#""last_name":{"a":1}"#,
        br#""mobile_number":1e3"#,
        br#""date_created":"2016-08-02T08:07:52+0000""#,
        br#""last_updated":"-009999-01-02T01:59:33Z""#,
        br#""gstin":"29ABCDE1234F1Z5""#,
        br#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"2026-01-01T00:15:00Z"}"#,
        br#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"2026-01-01T00:00:37.5Z"}"#,
        br#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"9999-12-30T22:00:00Z"}"#,
        br#""juspay":{"client_auth_token":"","client_auth_token_expiry":"2026-01-01T00:15:00Z"}"#,
        br#""juspay":null"#,
        br#""error_code":"object_not_found""#,
        br#""error_info":{"code":"RESOURCE_NOT_FOUND"}"#,
        br#""juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"9999-12-31T23:59:59Z"}"#,
        br#""juspay":{"client_auth_token":"tkn","client_auth_token":"t","client_auth_token_expiry":1}"#,
        br#""juspay":{"client_auth_token":"tkn\ud800","client_auth_token_expiry":"2026-01-01T00:15:00Z"}"#,
        b"\"juspay\":{\"client_auth_token\":\"tkn\xff\",\"client_auth_token_expiry\":\"2026-01-01T00:15:00Z\"}",
        b"\"juspay\":{\"client_auth_token\":\"tkn\",\"client_auth_token_expiry\":\"2026-01-01T00:15:00Z\",\"a\":\"\xff\"}",
        b"\"object_reference_id\":\"alice\xff\"",
        br#""object_reference_id":"alice\ud800""#,
        br#""\u0069d":"cst_1""#,
        b"\"customer_id\":\"\n\"",
        b"\"first_name\":\"Andr\xe9\"",
        br#""first_name":"\ud800\q""#,
        b"\"last_name\":\"a\0b\nc\"",
        br#""mobile_number":1e999"#,
        br#""email_address":true"#,
        br#""date_created":"9999-12-31T23:59:59Z""#,
        b"\"\xff\":[[[[{\"a\":\"\x01\\ud800\"}]]]]",
        br#""gstin":1e999"#,
    ];

    const VALID: &[u8] = br#"{"object_reference_id":"alice","id":"cst_1","first_name":"A","mobile_number":1,"a":[1],"juspay":{"client_auth_token":"tkn","client_auth_token_expiry":"2026-01-01T00:15:00Z"}}"#;

    const INSERTED: [&[u8]; 14] = [
        b"\xff",
        b"\0",
        b"\n",
        b"\"",
        b"\\",
        b"\\ud800",
        b"\\u0069",
        b"{",
        b"}",
        b"[",
        b",",
        b":",
        b"e999",
        b"\xef\xbb\xbf",
    ];

    proptest! {
        #[test]
        fn any_response_keeps_the_promises(
            date in select(&[
                "",
                "Date: Thu, 01 Jan 2026 00:00:00 GMT\n",
                "Date: Wed, 31 Dec 2025 23:45:00 GMT\n",
                "Date: Thu, 01 Jan 2026 00:20:00 GMT\n",
                "Date: x\n",
            ][..]),
            members in vec(select(&MEMBERS[..]), 0..8),
        ) {
            let body = [date.as_bytes(), b"{", &members.join(&b','), b"}"].concat();
            juspay_answer(&body);
        }

        #[test]
        fn damaged_responses_keep_the_promises(
            inserted in vec((any::<Index>(), select(&INSERTED[..])), 0..5),
            end in any::<Index>(),
            is_cut in prop::bool::weighted(0.2),
        ) {
            let mut body = VALID.to_vec();
            for (at, bytes) in inserted {
                let at = at.index(body.len());
                body.splice(at..at, bytes.iter().copied());
            }
            if is_cut {
                body.truncate(end.index(body.len()));
            }
            juspay_answer(&body);
        }
    }
}
