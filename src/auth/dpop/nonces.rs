//! Nonces (RFC 9449 §8, §9): an HMAC of the time, so the service stores none.
//!
//! Each period of time has one nonce for all clients. It limits the age of a proof; `replays` remembers
//! proofs that were used. The nonces of the previous and the next period are also accepted, because the
//! clock of another replica may be ahead.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::secret_file::Secret;

/// Separates these MACs from others with the same key.
const CONTEXT: &str = "DPoP-Nonce";

/// Makes and checks nonces.
pub(super) struct Nonces {
    key: Arc<Secret>,
    period: Duration,
}

/// The time in which a nonce is accepted: from the start of the previous period to the end of the next.
pub(super) const fn longest_use(period: Duration) -> Duration {
    period.saturating_mul(3)
}

impl Nonces {
    /// Nonces of this process only.
    pub(super) fn random(period: Duration) -> Self {
        Self { key: Arc::new(Secret::random()), period }
    }

    /// Uses this key from now on.
    pub(super) fn use_key(&mut self, key: Arc<Secret>) {
        self.key = key;
    }

    /// Checks a proof's nonce. Returns the current nonce if the client should use another one next.
    /// The error is the nonce to use instead.
    pub(super) fn check(
        &self,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Arc<str>>, Arc<str>> {
        let period = self.period_of(now);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.current().expose_secret().as_bytes());
        let tag = nonce.and_then(|nonce| URL_SAFE_NO_PAD.decode(nonce).ok()).unwrap_or_default();
        let is_of = |period: u64| hmac::verify(&key, message(period).as_bytes(), &tag).is_ok();
        let current =
            || Arc::from(URL_SAFE_NO_PAD.encode(hmac::sign(&key, message(period).as_bytes())));
        if is_of(period) || is_of(period.saturating_add(1)) {
            Ok(None)
        } else if is_of(period.saturating_sub(1)) {
            Ok(Some(current()))
        } else {
            Err(current())
        }
    }

    fn period_of(&self, now: Timestamp) -> u64 {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        seconds.checked_div(self.period.as_secs()).unwrap_or(0)
    }
}

fn message(period: u64) -> String {
    format!("{CONTEXT} {period}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn nonce_is_accepted_in_its_period_and_the_next() {
        let nonces = Nonces::random(PERIOD);
        let nonce = nonces.check(None, at(600)).unwrap_err();
        assert_eq!(nonce.len(), 43, "256 bits in base64url");
        for (second, expected) in [
            (539, None),
            (540, Some(false)),
            (600, Some(false)),
            (659, Some(false)),
            (660, Some(true)),
            (719, Some(true)),
            (720, None),
        ] {
            let found = nonces.check(Some(&nonce), at(second));
            assert_eq!(found.as_ref().ok().map(Option::is_some), expected, "{second}");
            let next = match found {
                Ok(next) => next,
                Err(instead) => Some(instead),
            };
            assert!(next.is_none_or(|next| nonces.check(Some(&next), at(second)) == Ok(None)));
        }
    }

    #[test]
    fn other_nonces_are_rejected_with_the_current_one() {
        let (nonces, others) = (Nonces::random(PERIOD), Nonces::random(PERIOD));
        let current = nonces.check(None, at(600)).unwrap_err();
        let foreign = others.check(None, at(600)).unwrap_err();
        let (padded, doubled) = (format!("{current}="), current.repeat(2));
        for nonce in ["", "AAAA", "%", &foreign, &doubled, &padded] {
            assert_eq!(nonces.check(Some(nonce), at(600)), Err(Arc::clone(&current)), "{nonce}");
        }
    }

    #[test]
    fn replicas_with_one_key_accept_each_others_nonces() {
        let key = Arc::new(Secret::fixed("shared".into()));
        let [mut one, mut other] = [Nonces::random(PERIOD), Nonces::random(PERIOD)];
        one.use_key(Arc::clone(&key));
        other.use_key(key);
        let nonce = one.check(None, at(600)).unwrap_err();
        assert_eq!(other.check(Some(&nonce), at(599)), Ok(None), "its clock is behind");
    }
}
