//! The number of cached tokens. `tests/auth` tests how long a token stays cached.

use futures_util::FutureExt as _;

use super::*;
use crate::{
    auth::revocation::{RevocationClaims, TokenIdentity},
    clock::{Clock as _, Monotonic, manual::ManualClock},
    customer::CustomerId,
};

fn token_identity() -> TokenIdentity {
    let identity = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
    TokenIdentity::new(0, "main".into(), identity)
}

fn finding(life: Duration) -> Finding {
    Finding {
        caller: Caller::new(
            CustomerId::parse("alice").unwrap(),
            token_identity(),
            None,
            None,
            None,
        ),
        signed: None,
        end: crate::clock::later(Timestamp::UNIX_EPOCH, life),
    }
}

fn now() -> Moment {
    Moment { wall: Timestamp::UNIX_EPOCH, monotonic: Monotonic::new(Duration::from_secs(7)) }
}

#[test]
fn cache_holds_at_most_its_capacity() {
    let tokens = TokenCache::new(3);
    for digest in 0..20 {
        let finding = finding(Duration::from_mins(5));
        tokens.insert([digest; 32], finding, now());
    }
    assert_eq!(tokens.len(), 3);
}

#[test]
fn expired_tokens_are_removed() {
    let tokens = TokenCache::new(3);
    let clock = ManualClock::at("1970-01-01T00:00:00Z");
    let mut throttle = Throttle::background(Arc::new(clock.clone()));
    for (digest, seconds) in [(1, 330), (2, 430)] {
        let finding = finding(Duration::from_secs(seconds));
        tokens.insert([digest; 32], finding, clock.moment());
    }
    assert_eq!(tokens.sweep(&mut throttle).now_or_never(), Some(()));
    assert_eq!(tokens.len(), 2);
    clock.advance(Duration::from_secs(350));
    assert_eq!(tokens.sweep(&mut throttle).now_or_never(), Some(()));
    assert_eq!(tokens.len(), 1);
}
