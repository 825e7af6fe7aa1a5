//! Races between the steps of a verification.

use std::{sync::Arc, time::Duration};

use super::{Authenticator, Finding};
use crate::{
    auth::{
        Caller,
        error::Reason,
        revocation::{RevocationClaims, TokenIdentity},
        testing::{clock, issuer, settings},
    },
    clock::{Clock as _, later, manual::ManualClock},
    concurrency::Limits,
    customer::CustomerId,
    metrics::Metrics,
    revocation::{Entry, Target},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn token_that_is_revoked_between_its_check_and_its_caching_is_rejected() {
    let (clock, metrics) = (clock(), Arc::new(Metrics::new("0", "0").unwrap()));
    let mut settings = settings();
    settings.issuers.insert("main".into(), issuer());
    let (auth, _) = Authenticator::with_sources(
        &settings,
        SECOND,
        &Limits::new(&metrics, 1, 1),
        Arc::<ManualClock>::clone(&clock),
        metrics,
        |_, _| None,
        None,
    )
    .unwrap();
    let claims = RevocationClaims { sub: None, jti: Some("j1".into()), sid: None, iat: None };
    let identity = TokenIdentity::new(0, "main".into(), claims);
    assert_eq!(auth.revocations.check(&identity), Ok(()));
    let (now, end) = (clock.moment(), later(clock.now(), SECOND));
    let target = Target::Token("j1".into());
    let entry = Entry { issuer: "main".into(), target, expires: end };
    assert_eq!(auth.revoke(entry), Ok(vec![]), "the token is not cached yet");
    let caller = Caller::new(CustomerId::parse("alice").unwrap(), identity, None, None, None);
    let finding = Finding { caller, signed: None, end };
    let cached = auth.cache([7; 32], finding, now);
    assert_eq!(cached.unwrap_err(), Reason::Revoked.into());
}
