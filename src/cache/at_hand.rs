//! Links to cached customers: a second request finds the customer without a lookup.
//!
//! A link keeps nothing in memory. Each use checks that the customer is still cached and that its
//! token may be returned without anything else to do.

use std::sync::{Arc, Weak};

use super::{CustomerCache, Found, Source, lifetime::Phase, store::Entry, store::Slot};
use crate::{clock::Moment, customer::CustomerId};

/// A link to a cached customer.
#[derive(Debug, Clone)]
pub struct AtHand {
    entry: Weak<Entry>,
}

/// A customer whose token may be returned at this moment, with nothing else to do.
#[derive(Debug)]
pub struct Ready {
    entry: Arc<Entry>,
    now: Moment,
}

impl CustomerCache {
    /// A link to the customer, if it is cached.
    #[must_use]
    pub fn at_hand(&self, customer: &CustomerId) -> Option<AtHand> {
        match self.shared.fetcher.store.get(&self.key(customer))? {
            Slot::Customer(entry) => Some(AtHand { entry: Arc::downgrade(&entry) }),
            Slot::NotFound { .. } => None,
        }
    }

    /// The customer, if it is still cached, and its token is fresh and was not returned too often.
    #[must_use]
    pub fn ready(&self, at_hand: &AtHand, now: Moment) -> Option<Ready> {
        let entry = at_hand.entry.upgrade()?;
        let is_ready = self.shared.fetcher.store.is_current(&entry)
            && entry.lifetime.phase(now) == Phase::Fresh
            && !self.shared.rules.has_many_uses(&entry, now);
        is_ready.then_some(Ready { entry, now })
    }

    /// The result for a request, with the token. Counts as a hit.
    #[must_use]
    pub fn hand_out(&self, Ready { entry, now }: &Ready) -> Found {
        self.shared.counts.hit.inc();
        self.shared.with_token(entry, Source::Hit, None, entry.lifetime.ttl(*now), *now)
    }
}
