//! The hold on a clock in seconds.

use super::*;
use crate::juspay::{InvalidResponse, sliding_window::tests::customer};

const BY_JUSPAY: JuspayError = JuspayError::RejectedCredentials(RejectedBy::Juspay);
const BY_FIREWALL: JuspayError = JuspayError::RejectedOrigin(RejectedBy::Unknown);

fn at(secs: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(secs))
}

/// A call for the customer with this number that ends immediately. Returns an error if the hold rejects it.
fn call(
    hold: &Hold,
    number: u64,
    secs: u64,
    error: Option<&JuspayError>,
) -> Result<Option<HoldChange>, JuspayError> {
    hold.admit(customer(number), at(secs)).map(|permit| permit.finish(at(secs), error))
}

/// Rejects one call for each of these customers, in order.
fn rejected(numbers: impl IntoIterator<Item = u64>, error: &JuspayError) -> Hold {
    let hold = Hold::default();
    for number in numbers {
        assert!(call(&hold, number, 0, Some(error)).is_ok());
    }
    hold
}

fn is_on(hold: &Hold) -> bool {
    matches!(hold.lock().state, HoldState::On { .. })
}

#[test]
fn two_json_rejections_start_the_hold() {
    let hold = rejected([1], &BY_JUSPAY);
    assert_eq!(call(&hold, 2, 29, Some(&BY_JUSPAY)), Ok(Some(HoldChange::Started)));
}

#[test]
fn five_other_rejections_start_the_hold() {
    for number in 2..=5 {
        let hold = rejected(1..number, &BY_FIREWALL);
        let expected = (number == 5).then_some(HoldChange::Started);
        assert_eq!(call(&hold, number, 29, Some(&BY_FIREWALL)), Ok(expected), "{number}");
    }
    let hold = rejected(1..5, &BY_FIREWALL);
    assert_eq!(
        call(&hold, 5, 1, Some(&BY_JUSPAY)),
        Ok(Some(HoldChange::Started)),
        "both kinds count"
    );
}

#[test]
fn one_customer_never_starts_the_hold() {
    for error in [BY_JUSPAY, BY_FIREWALL] {
        let hold = Hold::default();
        for second in 0..1000 {
            assert_eq!(call(&hold, 1, second, Some(&error)), Ok(None));
        }
    }
}

#[test]
fn rejection_expires_after_thirty_seconds() {
    for (second, change) in [(29, Some(HoldChange::Started)), (30, None)] {
        let hold = rejected([1], &BY_JUSPAY);
        assert_eq!(call(&hold, 2, second, Some(&BY_JUSPAY)), Ok(change), "{second}");
    }
}

#[test]
fn accepted_call_discards_the_evidence() {
    let not_found = JuspayError::CustomerNotFound;
    let no_token = InvalidResponse::NoToken.into();
    for accepted in [None, Some(&not_found), Some(&no_token)] {
        let hold = rejected([1], &BY_JUSPAY);
        assert_eq!(call(&hold, 3, 1, accepted), Ok(None));
        assert_eq!(call(&hold, 2, 2, Some(&BY_JUSPAY)), Ok(None), "{accepted:?}");
        assert!(!is_on(&hold));
    }
    let outage = JuspayError::Timeout;
    let hold = rejected([1], &BY_JUSPAY);
    assert_eq!(call(&hold, 3, 1, Some(&outage)), Ok(None));
    assert_eq!(
        call(&hold, 2, 2, Some(&BY_JUSPAY)),
        Ok(Some(HoldChange::Started)),
        "a timeout is no evidence"
    );
}

#[test]
fn rejection_of_a_call_from_before_a_success_is_ignored() {
    let hold = rejected([1], &BY_JUSPAY);
    let slow = hold.admit(customer(2), at(0)).unwrap();
    assert_eq!(call(&hold, 3, 1, None), Ok(None));
    assert_eq!(slow.finish(at(2), Some(&BY_JUSPAY)), None);
    assert_eq!(call(&hold, 4, 3, Some(&BY_JUSPAY)), Ok(None));
}

#[test]
fn other_customer_probes_at_once_and_ends_the_hold() {
    let hold = rejected([1, 2], &BY_JUSPAY);
    let error = hold.admit(customer(1), at(0)).unwrap_err();
    assert_eq!(error.hold(), Some(PROBE_PAUSE), "rejected customers have to wait");
    assert_eq!(call(&hold, 3, 0, None), Ok(Some(HoldChange::Ended)));
    assert!(!is_on(&hold));
    assert_eq!(call(&hold, 1, 0, Some(&BY_JUSPAY)), Ok(None), "two rejections are needed again");
}

#[test]
fn one_probe_runs_every_five_seconds() {
    let hold = rejected([1, 2], &BY_JUSPAY);
    let probe = hold.admit(customer(3), at(0)).unwrap();
    let error = hold.admit(customer(4), at(0)).unwrap_err();
    assert_eq!(error, JuspayError::RejectedCredentials(RejectedBy::Hold(Duration::ZERO)));
    assert_eq!(probe.finish(at(1), Some(&BY_FIREWALL)), None);
    let error = hold.admit(customer(4), at(1)).unwrap_err();
    assert_eq!(
        error,
        JuspayError::RejectedOrigin(RejectedBy::Hold(PROBE_PAUSE)),
        "the last rejection"
    );
    assert!(call(&hold, 4, 5, None).is_err());
    assert_eq!(call(&hold, 4, 6, None), Ok(Some(HoldChange::Ended)));
}

#[test]
fn inconclusive_probe_is_released() {
    let hold = rejected([1, 2], &BY_JUSPAY);
    drop(hold.admit(customer(3), at(0)).unwrap());
    assert_eq!(call(&hold, 4, 0, Some(&JuspayError::Timeout)), Ok(None));
    assert!(is_on(&hold));
    assert!(call(&hold, 5, 0, None).is_ok());
}

#[test]
fn rejected_customers_probe_separately_and_do_not_block_others() {
    let hold = rejected([1, 2], &BY_JUSPAY);
    assert!(call(&hold, 1, 4, None).is_err());
    let rejected = hold.admit(customer(1), at(5)).unwrap();
    assert!(hold.admit(customer(2), at(5)).is_err(), "one rejected customer at a time");
    let other = hold.admit(customer(3), at(5)).unwrap();
    drop(other);
    assert_eq!(rejected.finish(at(5), Some(&BY_JUSPAY)), None);
    assert!(call(&hold, 2, 9, None).is_err());
    assert_eq!(call(&hold, 2, 10, None), Ok(Some(HoldChange::Ended)));
}

#[test]
fn running_calls_do_not_delay_probes() {
    let hold = Hold::default();
    let [first, second, third] =
        [1, 2, 3].map(|number| hold.admit(customer(number), at(0)).unwrap());
    assert_eq!(first.finish(at(1), Some(&BY_JUSPAY)), None);
    assert_eq!(second.finish(at(1), Some(&BY_JUSPAY)), Some(HoldChange::Started));
    assert_eq!(third.finish(at(1), Some(&BY_JUSPAY)), None);
    assert!(call(&hold, 3, 1, None).is_err(), "this customer was rejected too");
    assert_eq!(call(&hold, 4, 1, None), Ok(Some(HoldChange::Ended)));
}

#[test]
fn changed_key_and_purge_end_the_hold() {
    let hold = rejected([1, 2], &BY_JUSPAY);
    let old = hold.admit(customer(3), at(0)).unwrap();
    hold.note_changes(1);
    assert!(!is_on(&hold));
    assert_eq!(old.finish(at(1), Some(&BY_JUSPAY)), None, "the call had the old key");
    assert_eq!(call(&hold, 1, 1, Some(&BY_JUSPAY)), Ok(None));
    hold.note_changes(1);
    assert_eq!(
        call(&hold, 2, 1, Some(&BY_JUSPAY)),
        Ok(Some(HoldChange::Started)),
        "the count did not change"
    );
    hold.note_changes(0);
    assert!(is_on(&hold), "another worker's count may be older");
    hold.end();
    assert!(!is_on(&hold));
}

#[test]
fn purged_customer_is_not_a_suspect() {
    let hold = rejected([1], &BY_JUSPAY);
    hold.forget(customer(1));
    assert_eq!(call(&hold, 2, 1, Some(&BY_JUSPAY)), Ok(None));
    assert_eq!(call(&hold, 3, 1, Some(&BY_JUSPAY)), Ok(Some(HoldChange::Started)));
    hold.forget(customer(2));
    assert_eq!(call(&hold, 2, 1, None), Ok(Some(HoldChange::Ended)));
}
