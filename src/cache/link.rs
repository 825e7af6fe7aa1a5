//! Links to cached customers: a repeated request finds its customer without a lookup.
//!
//! A link doesn't keep the customer in memory. Each use checks that the customer is still cached, and
//! that its token can be returned without a refresh.

use std::sync::{Arc, Weak};

use super::{CustomerCache, Found, OUTCOME, Source, lifetime::Phase, lookup_span, store::Entry};
use crate::{clock::Moment, traces::Parent};

/// A link to a cached customer.
#[derive(Debug, Clone)]
pub struct CachedLink {
    entry: Weak<Entry>,
}

impl CachedLink {
    pub(super) fn to(entry: &Arc<Entry>) -> Self {
        Self { entry: Arc::downgrade(entry) }
    }
}

impl CustomerCache {
    /// The result for a request that wants the token, if the customer is still cached, and its token
    /// is fresh and not due for a refresh. Counts as a hit, and has the span of a lookup.
    #[must_use]
    pub fn get_linked(&self, link: &CachedLink, now: Moment, trace: &Parent) -> Option<Found> {
        let entry = self.fresh(link, now)?;
        let (shared, ttl) = (&self.shared, entry.lifetime.ttl(now));
        lookup_span(trace).set(OUTCOME, "hit");
        shared.counts.hit.inc();
        let found = Found::with_token(&entry, Source::Hit, None, ttl, now);
        shared.count_hand_out(&entry, &found);
        Some(found)
    }

    /// `None` also while the cache is nearly full: a normal lookup records the use of the entry, and
    /// entries without recorded use are evicted first.
    fn fresh(&self, link: &CachedLink, now: Moment) -> Option<Arc<Entry>> {
        let store = &self.shared.fetcher.store;
        if store.is_nearly_full() {
            return None;
        }
        let entry = link.entry.upgrade()?;
        let is_fresh = store.is_current(&entry)
            && entry.lifetime.phase(now) == Phase::Fresh
            && !self.shared.rules.is_refresh_due(&entry, now);
        is_fresh.then_some(entry)
    }
}
