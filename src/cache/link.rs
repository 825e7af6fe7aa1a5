//! Links to cached customers: a repeated request finds its customer without a lookup.
//!
//! A link doesn't keep the customer in memory. Each use checks that the customer is still cached, and
//! that its token can be returned without a refresh.

use std::sync::{Arc, Weak};

use super::{
    CustomerCache, Found, OUTCOME, Source,
    lifetime::Phase,
    lookup_span,
    store::{Entry, Slot},
};
use crate::{clock::Moment, customer::CustomerId, traces::Parent};

/// A link to a cached customer.
#[derive(Debug, Clone)]
pub struct CachedLink {
    entry: Weak<Entry>,
}

/// A cached customer whose token is fresh at this moment.
#[derive(Debug)]
pub struct FreshEntry {
    entry: Arc<Entry>,
    now: Moment,
}

impl CustomerCache {
    /// A link to the customer, if it is cached.
    #[must_use]
    pub fn link(&self, customer: &CustomerId) -> Option<CachedLink> {
        match self.shared.fetcher.store.get(&self.key(customer))? {
            Slot::Customer(entry) => Some(CachedLink { entry: Arc::downgrade(&entry) }),
            Slot::NotFound { .. } => None,
        }
    }

    /// The customer, if it is still cached, and its token is fresh and was not returned too often.
    ///
    /// `None` also while the cache is nearly full: a normal lookup records the use of the entry, and
    /// entries without recorded use are evicted first.
    #[must_use]
    pub fn fresh(&self, link: &CachedLink, now: Moment) -> Option<FreshEntry> {
        let store = &self.shared.fetcher.store;
        if store.is_nearly_full() {
            return None;
        }
        let entry = link.entry.upgrade()?;
        let is_fresh = store.is_current(&entry)
            && entry.lifetime.phase(now) == Phase::Fresh
            && !self.shared.rules.has_many_uses(&entry, now);
        is_fresh.then_some(FreshEntry { entry, now })
    }

    /// The result for a request, with the token. Counts as a hit, and has the span of a lookup.
    #[must_use]
    pub fn hand_out(&self, FreshEntry { entry, now }: &FreshEntry, trace: &Parent) -> Found {
        lookup_span(trace).set(OUTCOME, "hit");
        self.shared.counts.hit.inc();
        self.shared.with_token(entry, Source::Hit, None, entry.lifetime.ttl(*now), *now)
    }
}
