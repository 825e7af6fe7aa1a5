//! The API keys: the one in use, and the one that replaces it if Juspay rejects it.
//!
//! During a rotation either key or both may be valid. Juspay's 401 shows which one is not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use prometheus::IntGaugeVec;
use secrecy::SecretString;

use crate::secret_file::Secret;

/// Names of the slots in metrics and logs.
const NAMES: [&str; 2] = ["api_key", "api_key_next"];

/// One or two keys, shared by all workers.
#[derive(Debug)]
pub struct ApiKeys {
    keys: Vec<Arc<Secret>>,
    in_use: AtomicUsize,
    /// How often a 401 from Juspay has changed the key in use.
    switches: AtomicU64,
    gauge: IntGaugeVec,
}

/// The position of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

impl ApiKeys {
    /// Starts with the first key. `gauge` is `upstream_key_slot{slot}`.
    #[must_use]
    pub fn new(first: Arc<Secret>, next: Option<Arc<Secret>>, gauge: IntGaugeVec) -> Self {
        let keys = std::iter::once(first).chain(next).collect();
        let keys =
            Self { keys, in_use: AtomicUsize::new(0), switches: AtomicU64::default(), gauge };
        keys.update_gauge();
        keys
    }

    pub(super) fn in_use(&self) -> Slot {
        Slot(self.in_use.load(Ordering::Relaxed))
    }

    /// The other slot, if there are two.
    pub(super) fn other(&self, slot: Slot) -> Option<Slot> {
        let other = usize::from(slot == Slot(0));
        (other < self.keys.len()).then_some(Slot(other))
    }

    pub(super) fn secret(&self, slot: Slot) -> Option<Arc<SecretString>> {
        self.keys.get(slot.0).map(|key| key.current())
    }

    /// Counts changes of the keys: of a file's content, or of the key in use.
    pub(super) fn changes(&self) -> u64 {
        let switches = self.switches.load(Ordering::Relaxed);
        self.keys.iter().fold(switches, |sum, key| sum.wrapping_add(key.changes()))
    }

    /// Uses this key for later calls.
    pub(super) fn switch_to(&self, slot: Slot) {
        if self.in_use.swap(slot.0, Ordering::Relaxed) != slot.0 {
            self.switches.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                slot = slot.name(),
                "switched API keys; Juspay rejected the previous one"
            );
            self.update_gauge();
        }
    }

    fn update_gauge(&self) {
        for (slot, name) in NAMES.iter().enumerate().take(self.keys.len()) {
            let in_use = i64::from(self.in_use() == Slot(slot));
            self.gauge.with_label_values(&[name]).set(in_use);
        }
    }
}

impl Slot {
    pub(super) fn name(self) -> &'static str {
        NAMES.get(self.0).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;
    use secrecy::ExposeSecret;

    use super::*;

    fn keys(texts: &[&str]) -> ApiKeys {
        let gauge = IntGaugeVec::new(Opts::new("g", "g"), &["slot"]).unwrap();
        let mut secrets = texts.iter().map(|text| Arc::new(Secret::fixed((*text).into())));
        ApiKeys::new(secrets.next().unwrap(), secrets.next(), gauge)
    }

    #[test]
    fn single_key_has_no_alternative() {
        let keys = keys(&["one"]);
        assert_eq!(keys.other(keys.in_use()), None);
        assert_eq!(keys.gauge.with_label_values(&["api_key"]).get(), 1);
    }

    #[test]
    fn two_keys_alternate() {
        let keys = keys(&["one", "two"]);
        let gauges = || NAMES.map(|name| keys.gauge.with_label_values(&[name]).get());
        let text = |slot| keys.secret(slot).unwrap().expose_secret().to_owned();
        assert_eq!((gauges(), text(keys.in_use())), ([1, 0], "one".to_owned()));
        let next = keys.other(keys.in_use()).unwrap();
        keys.switch_to(next);
        assert_eq!((gauges(), text(keys.in_use())), ([0, 1], "two".to_owned()));
        assert_eq!(keys.changes(), 1);
        assert_eq!(keys.in_use().name(), "api_key_next");
        assert_eq!(keys.other(next).map(Slot::name), Some("api_key"));
    }
}
