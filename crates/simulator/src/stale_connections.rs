//! Connections that fail on their next request, as if the peer or a firewall had dropped them while
//! idle. New connections work.

use std::sync::{Mutex, PoisonError};

use super::{fault::Fault, http::Request};

/// Which connections are stale, and how they fail.
#[derive(Debug, Default)]
pub(super) struct StaleConnections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The highest number of a connection that has sent a request.
    newest: u64,
    /// Connections up to this number fail with this fault.
    stale: Option<(u64, Fault)>,
}

impl StaleConnections {
    /// Makes every connection that has sent a request fail on its next one.
    pub(super) fn begin(&self, fault: Fault) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stale = Some((state.newest, fault));
    }

    /// No connection is stale any more.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stale = None;
    }

    /// The fault of the request's connection, if it is stale.
    pub(super) fn fault(&self, request: &Request) -> Option<Fault> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.newest = state.newest.max(request.connection);
        let (newest, fault) = state.stale.as_ref()?;
        let is_stale = request.connection <= *newest && !request.is_first;
        is_stale.then(|| fault.clone())
    }
}
