//! Customers that a worker has answered lately: found by itself between two look-ups, and asked at
//! each use whether they are still what is known, and may be handed out with nothing else to do.
//!
//! The worker doesn't keep them, it only knows where they are.

use std::sync::{Arc, Weak};

use super::{CustomerCache, Found, Source, lifetime::Phase, store::Entry, store::Slot};
use crate::{clock::Moment, customer::CustomerId};

/// A customer in memory.
#[derive(Debug, Clone)]
pub struct AtHand {
    entry: Weak<Entry>,
    clearings: u64,
}

/// A customer whose token may be handed out at this moment, with nothing else to do.
#[derive(Debug)]
pub struct Ready {
    entry: Arc<Entry>,
    now: Moment,
}

impl CustomerCache {
    /// The customer, when it is in memory.
    #[must_use]
    pub fn at_hand(&self, customer: &CustomerId) -> Option<AtHand> {
        let store = &self.shared.fetcher.store;
        let clearings = store.clearings();
        match store.get(&self.key(customer))? {
            Slot::Customer(entry) => Some(AtHand { entry: Arc::downgrade(&entry), clearings }),
            Slot::NotFound { .. } => None,
        }
    }

    /// The customer, when it is still what is known, and its token is fresh and not handed out too
    /// often.
    #[must_use]
    pub fn ready(&self, at_hand: &AtHand, now: Moment) -> Option<Ready> {
        let entry = at_hand.entry.upgrade()?;
        let is_ready = self.shared.fetcher.store.still_has(&entry, at_hand.clearings)
            && entry.lifetime.phase(now) == Phase::Fresh
            && !self.shared.rules.has_many_uses(&entry, now);
        is_ready.then_some(Ready { entry, now })
    }

    /// The answer to a request for it, with its token; it is counted.
    #[must_use]
    pub fn hand_out(&self, Ready { entry, now }: &Ready) -> Found {
        self.shared.counts.hit.inc();
        self.shared.with_token(entry, Source::Hit, None, entry.lifetime.ttl(*now), *now)
    }
}
