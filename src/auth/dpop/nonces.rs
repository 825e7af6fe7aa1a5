//! Nonces (RFC 9449 §8, §9): an HMAC of the time, so that nothing has to be kept.
//!
//! Time is cut into periods, and each has one nonce, for everybody: it bounds how old a proof is, and
//! `replays` knows those that were taken. The last period's nonce is taken too, and the next one's:
//! another replica's clock may be ahead.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::secret_file::Secret;

/// Keeps these MACs apart from others by the same key.
const CONTEXT: &str = "DPoP-Nonce";

/// Makes nonces and knows them again.
pub(super) struct Nonces {
    key: Arc<Secret>,
    period: Duration,
}

/// How long after its first use a nonce might be taken: the next period's is, at this one's begin.
pub(super) const fn longest_use(period: Duration) -> Duration {
    period.saturating_mul(3)
}

impl Nonces {
    /// Nonces that no other process knows.
    pub(super) fn random(period: Duration) -> Self {
        Self { key: Arc::new(Secret::random()), period }
    }

    /// From now on nonces are made with this key.
    pub(super) fn use_key(&mut self, key: Arc<Secret>) {
        self.key = key;
    }

    /// Whether a proof may have this nonce now. Gives the one to be used next when it is another;
    /// refuses with the one that is to be used instead.
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
    fn a_nonce_is_taken_in_its_period_and_the_next_one() {
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
    fn others_are_refused_with_the_one_to_be_used() {
        let (nonces, others) = (Nonces::random(PERIOD), Nonces::random(PERIOD));
        let ours = nonces.check(None, at(600)).unwrap_err();
        let foreign = others.check(None, at(600)).unwrap_err();
        let (padded, doubled) = (format!("{ours}="), ours.repeat(2));
        for nonce in ["", "AAAA", "%", &foreign, &doubled, &padded] {
            assert_eq!(nonces.check(Some(nonce), at(600)), Err(Arc::clone(&ours)), "{nonce}");
        }
    }

    #[test]
    fn replicas_with_one_key_know_each_others() {
        let key = Arc::new(Secret::fixed("shared".into()));
        let [mut one, mut other] = [Nonces::random(PERIOD), Nonces::random(PERIOD)];
        one.use_key(Arc::clone(&key));
        other.use_key(key);
        let nonce = one.check(None, at(600)).unwrap_err();
        assert_eq!(other.check(Some(&nonce), at(599)), Ok(None), "its clock is behind");
    }
}
