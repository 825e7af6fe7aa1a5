//! The hold on a clock in seconds.

use super::*;
use crate::juspay::{InvalidResponse, window::tests::customer};

const OWN: JuspayError = JuspayError::RejectedCredentials(RejectedBy::Juspay);
const PAGE: JuspayError = JuspayError::RejectedOrigin(RejectedBy::Unknown);

fn at(secs: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(secs))
}

/// A call for the customer with this number that ends at once; an error if it is refused.
fn call(
    hold: &Hold,
    number: u64,
    secs: u64,
    error: Option<&JuspayError>,
) -> Result<Option<HoldChange>, JuspayError> {
    hold.admit(customer(number), at(secs)).map(|pass| pass.finish(at(secs), error))
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
    let hold = rejected([1], &OWN);
    assert_eq!(call(&hold, 2, 29, Some(&OWN)), Ok(Some(HoldChange::Started)));
}

#[test]
fn five_other_rejections_start_the_hold() {
    for number in 2..=5 {
        let hold = rejected(1..number, &PAGE);
        let expected = (number == 5).then_some(HoldChange::Started);
        assert_eq!(call(&hold, number, 29, Some(&PAGE)), Ok(expected), "{number}");
    }
    let hold = rejected(1..5, &PAGE);
    assert_eq!(call(&hold, 5, 1, Some(&OWN)), Ok(Some(HoldChange::Started)), "of both kinds");
}

#[test]
fn one_customer_never_starts_the_hold() {
    for error in [OWN, PAGE] {
        let hold = Hold::default();
        for second in 0..1000 {
            assert_eq!(call(&hold, 1, second, Some(&error)), Ok(None));
        }
    }
}

#[test]
fn rejection_expires_after_thirty_seconds() {
    for (second, change) in [(29, Some(HoldChange::Started)), (30, None)] {
        let hold = rejected([1], &OWN);
        assert_eq!(call(&hold, 2, second, Some(&OWN)), Ok(change), "{second}");
    }
}

#[test]
fn accepted_call_discards_the_evidence() {
    let not_found = JuspayError::CustomerNotFound;
    let no_token = InvalidResponse::NoToken.into();
    for well in [None, Some(&not_found), Some(&no_token)] {
        let hold = rejected([1], &OWN);
        assert_eq!(call(&hold, 3, 1, well), Ok(None));
        assert_eq!(call(&hold, 2, 2, Some(&OWN)), Ok(None), "{well:?}");
        assert!(!is_on(&hold));
    }
    let outage = JuspayError::Timeout;
    let hold = rejected([1], &OWN);
    assert_eq!(call(&hold, 3, 1, Some(&outage)), Ok(None));
    assert_eq!(
        call(&hold, 2, 2, Some(&OWN)),
        Ok(Some(HoldChange::Started)),
        "a timeout says nothing"
    );
}

#[test]
fn rejection_of_a_call_from_before_a_success_is_ignored() {
    let hold = rejected([1], &OWN);
    let slow = hold.admit(customer(2), at(0)).unwrap();
    assert_eq!(call(&hold, 3, 1, None), Ok(None));
    assert_eq!(slow.finish(at(2), Some(&OWN)), None);
    assert_eq!(call(&hold, 4, 3, Some(&OWN)), Ok(None));
}

#[test]
fn other_customer_probes_at_once_and_ends_the_hold() {
    let hold = rejected([1, 2], &OWN);
    let error = hold.admit(customer(1), at(0)).unwrap_err();
    assert_eq!(error.hold(), Some(PROBE_PAUSE), "not one of the rejected");
    assert_eq!(call(&hold, 3, 0, None), Ok(Some(HoldChange::Ended)));
    assert!(!is_on(&hold));
    assert_eq!(call(&hold, 1, 0, Some(&OWN)), Ok(None), "it takes two again");
}

#[test]
fn one_probe_runs_every_five_seconds() {
    let hold = rejected([1, 2], &OWN);
    let probe = hold.admit(customer(3), at(0)).unwrap();
    let refused = hold.admit(customer(4), at(0)).unwrap_err();
    assert_eq!(refused, JuspayError::RejectedCredentials(RejectedBy::Hold(Duration::ZERO)));
    assert_eq!(probe.finish(at(1), Some(&PAGE)), None);
    let refused = hold.admit(customer(4), at(1)).unwrap_err();
    assert_eq!(
        refused,
        JuspayError::RejectedOrigin(RejectedBy::Hold(PROBE_PAUSE)),
        "the last rejection"
    );
    assert!(call(&hold, 4, 5, None).is_err());
    assert_eq!(call(&hold, 4, 6, None), Ok(Some(HoldChange::Ended)));
}

#[test]
fn inconclusive_probe_is_released() {
    let hold = rejected([1, 2], &OWN);
    drop(hold.admit(customer(3), at(0)).unwrap());
    assert_eq!(call(&hold, 4, 0, Some(&JuspayError::Timeout)), Ok(None));
    assert!(is_on(&hold));
    assert!(call(&hold, 5, 0, None).is_ok());
}

#[test]
fn rejected_customers_probe_separately_and_do_not_block_others() {
    let hold = rejected([1, 2], &OWN);
    assert!(call(&hold, 1, 4, None).is_err());
    let rejected = hold.admit(customer(1), at(5)).unwrap();
    assert!(hold.admit(customer(2), at(5)).is_err(), "one at a time");
    let other = hold.admit(customer(3), at(5)).unwrap();
    drop(other);
    assert_eq!(rejected.finish(at(5), Some(&OWN)), None);
    assert!(call(&hold, 2, 9, None).is_err());
    assert_eq!(call(&hold, 2, 10, None), Ok(Some(HoldChange::Ended)));
}

#[test]
fn running_calls_do_not_delay_probes() {
    let hold = Hold::default();
    let [first, second, third] =
        [1, 2, 3].map(|number| hold.admit(customer(number), at(0)).unwrap());
    assert_eq!(first.finish(at(1), Some(&OWN)), None);
    assert_eq!(second.finish(at(1), Some(&OWN)), Some(HoldChange::Started));
    assert_eq!(third.finish(at(1), Some(&OWN)), None);
    assert!(call(&hold, 3, 1, None).is_err(), "rejected, too");
    assert_eq!(call(&hold, 4, 1, None), Ok(Some(HoldChange::Ended)));
}

#[test]
fn changed_key_and_purge_end_the_hold() {
    let hold = rejected([1, 2], &OWN);
    let old = hold.admit(customer(3), at(0)).unwrap();
    hold.note_key_changes(1);
    assert!(!is_on(&hold));
    assert_eq!(old.finish(at(1), Some(&OWN)), None, "that was with the old key");
    assert_eq!(call(&hold, 1, 1, Some(&OWN)), Ok(None));
    hold.note_key_changes(1);
    assert_eq!(call(&hold, 2, 1, Some(&OWN)), Ok(Some(HoldChange::Started)), "no news");
    hold.note_key_changes(0);
    assert!(is_on(&hold), "another worker's count may be older");
    hold.end();
    assert!(!is_on(&hold));
}

#[test]
fn purged_customer_is_not_a_suspect() {
    let hold = rejected([1], &OWN);
    hold.forget(customer(1));
    assert_eq!(call(&hold, 2, 1, Some(&OWN)), Ok(None));
    assert_eq!(call(&hold, 3, 1, Some(&OWN)), Ok(Some(HoldChange::Started)));
    hold.forget(customer(2));
    assert_eq!(call(&hold, 2, 1, None), Ok(Some(HoldChange::Ended)));
}
