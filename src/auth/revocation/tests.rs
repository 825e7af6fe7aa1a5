//! The list of used logout tokens. `tests/auth` tests revocations.

use std::time::Duration;

use super::*;
use crate::auth::testing::{START, clock, settings};

/// A logout whose entry replaces the one before, so only the list of used logout tokens fills up.
fn logout(jti: &str, end: i64) -> Logout {
    let issued_before = Timestamp::from_second(START).unwrap();
    let target = Target::Subject { sub: "alice".into(), issued_before };
    Logout { target, jti: jti.into(), end: Timestamp::from_second(START + end).unwrap() }
}

#[test]
fn logout_token_is_accepted_once_until_it_expires() {
    let clock = clock();
    let metrics = Metrics::new("", "").unwrap();
    let settings = settings();
    let most = settings.max_revocations;
    let shared: Arc<dyn Clock> = Arc::<crate::clock::manual::ManualClock>::clone(&clock);
    let revocations = Revocations::new(&settings, shared, &metrics).unwrap();
    let log_out = |jti: &str, end| revocations.log_out(0, logout(jti, end)).map(drop);
    let kept = || revocations.read().logouts.len();

    assert_eq!(log_out("0", 60), Ok(()));
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(log_out("0", 60), Err(LogoutError::Replayed));
    clock.advance(Duration::from_millis(1));
    // Expired: the check of `exp` rejects it, so it need not be remembered.
    assert_eq!(log_out("0", 120), Ok(()));

    for number in 1..most {
        assert_eq!(log_out(&number.to_string(), 180), Ok(()));
    }
    assert_eq!(kept(), most);
    assert_eq!(log_out("more", 180), Err(RevokeError::Full.into()), "none has expired");
    clock.advance(Duration::from_secs(60));
    assert_eq!(log_out("more", 180), Ok(()), "replaces the expired one");
    assert_eq!(kept(), most);

    clock.advance(Duration::from_millis(59_999));
    revocations.sweep();
    assert_eq!(kept(), most);
    clock.advance(Duration::from_millis(1));
    revocations.sweep();
    assert_eq!(kept(), 0);
}
