//! The hold after rejections: stops calls with a wrong API key or from a blocked address.
//!
//! Pure: the caller passes the time. A single customer's 401 or 403 does not concern other
//! customers, because a firewall may reject just that one. The hold starts when, within 30 s, two
//! customers got Juspay's own JSON rejection or five got any, and no call in between was accepted.
//! During the hold [`Probes`] decide which calls are made. An accepted call, a changed API key or
//! proxy password, or a purge of all entries ends it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    JuspayError, RejectedBy, probes::ProbeKind, probes::Probes, sliding_window::CustomerHash,
};
use crate::clock::Monotonic;

/// How long a rejection counts as evidence.
const EVIDENCE_LIFETIME: Duration = Duration::from_secs(30);

/// Number of different customers with Juspay's own JSON rejection that starts the hold.
const MIN_JUSPAY_REJECTIONS: usize = 2;

/// Number of different customers with any rejection that starts the hold.
const MIN_REJECTIONS: usize = 5;

/// Pause after a rejected probe. Short, so that operators see the effect of a fix soon.
const PROBE_PAUSE: Duration = Duration::from_secs(5);

/// The hold. Clones share its state.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: HoldState,
    /// Incremented when a hold or its evidence is discarded. Rejections of calls admitted before
    /// are ignored.
    generation: u64,
    /// The highest count of key changes so far.
    changes: u64,
}

#[derive(Debug)]
enum HoldState {
    /// No hold: calls are made. Contains at most one rejection for each customer, and fewer than
    /// [`MIN_REJECTIONS`].
    Off(Vec<Rejection>),
    /// Calls other than probes fail with the last rejection.
    On { probes: Probes, status: Rejected },
}

#[derive(Debug)]
struct Rejection {
    customer: CustomerHash,
    at: Monotonic,
    is_by_juspay: bool,
}

/// What Juspay rejected.
#[derive(Debug, Clone, Copy)]
enum Rejected {
    Credentials,
    Origin,
}

/// Permission for one call. Dropping it without a result releases the probe and counts nothing.
#[derive(Debug)]
#[must_use = "the call's result is needed"]
pub(super) struct HoldPermit {
    hold: Hold,
    generation: u64,
    customer: CustomerHash,
    probe: Option<ProbeKind>,
}

/// How the result of a call changed the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldChange {
    Started,
    Ended,
}

impl Hold {
    /// Admits a call, or returns the rejection that it would get.
    pub(super) fn admit(
        &self,
        customer: CustomerHash,
        now: Monotonic,
    ) -> Result<HoldPermit, JuspayError> {
        let mut inner = self.lock();
        let probe = match &mut inner.state {
            HoldState::Off(_) => None,
            HoldState::On { probes, status } => match probes.admit(customer, now) {
                Ok(probe) => Some(probe),
                Err(wait) => return Err(status.rejection(RejectedBy::Hold(wait))),
            },
        };
        Ok(HoldPermit { hold: self.clone(), generation: inner.generation, customer, probe })
    }

    /// Ends the hold if the API keys or the proxy's credentials have changed.
    pub(super) fn note_changes(&self, changes: u64) {
        let mut inner = self.lock();
        if inner.changes < changes {
            inner.changes = changes;
            inner.end();
        }
    }

    /// Ends the hold and discards all rejections.
    pub(super) fn end(&self) {
        self.lock().end();
    }

    /// Discards the rejections of one customer, which is no longer a suspect.
    pub(super) fn forget(&self, customer: CustomerHash) {
        match &mut self.lock().state {
            HoldState::Off(rejections) => rejections.retain(|it| it.customer != customer),
            HoldState::On { probes, .. } => probes.clear(customer),
        }
    }

    /// No code panics while it holds the lock, so a poisoned lock is safe to use.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self) -> bool {
        let was_on = matches!(self.state, HoldState::On { .. });
        self.state = HoldState::default();
        self.generation = self.generation.wrapping_add(1);
        was_on
    }
}

impl Default for HoldState {
    fn default() -> Self {
        Self::Off(Vec::new())
    }
}

impl Rejected {
    const fn rejection(self, by: RejectedBy) -> JuspayError {
        match self {
            Self::Credentials => JuspayError::RejectedCredentials(by),
            Self::Origin => JuspayError::RejectedOrigin(by),
        }
    }

    /// What was rejected, and what rejected it; `None` for other errors.
    const fn of(error: &JuspayError) -> Option<(Self, RejectedBy)> {
        match error {
            JuspayError::RejectedCredentials(by) => Some((Self::Credentials, *by)),
            JuspayError::RejectedOrigin(by) => Some((Self::Origin, *by)),
            JuspayError::CustomerNotFound
            | JuspayError::NotCreated(_)
            | JuspayError::TooManyRequests(_)
            | JuspayError::Status(..)
            | JuspayError::InvalidResponse(_)
            | JuspayError::Connection(_)
            | JuspayError::Timeout
            | JuspayError::BreakerOpen(_)
            | JuspayError::Saturated
            | JuspayError::Aborted => None,
        }
    }
}

impl HoldPermit {
    /// Records the result of the call. Errors unrelated to key and address, such as timeouts,
    /// change nothing.
    pub(super) fn finish(
        mut self,
        now: Monotonic,
        error: Option<&JuspayError>,
    ) -> Option<HoldChange> {
        let hold = self.hold.clone();
        let mut inner = hold.lock();
        if error.is_none_or(JuspayError::proves_access) {
            self.probe = None;
            return inner.end().then_some(HoldChange::Ended);
        }
        let (status, by) = error.and_then(Rejected::of)?;
        if inner.generation != self.generation {
            return None;
        }
        match &mut inner.state {
            HoldState::Off(rejections) => {
                rejections.retain(|it| {
                    it.customer != self.customer && now.since(it.at) < EVIDENCE_LIFETIME
                });
                let is_by_juspay = by == RejectedBy::Juspay;
                rejections.push(Rejection { customer: self.customer, at: now, is_by_juspay });
                let by_juspay = rejections.iter().filter(|it| it.is_by_juspay).count();
                if by_juspay < MIN_JUSPAY_REJECTIONS && rejections.len() < MIN_REJECTIONS {
                    return None;
                }
                // Another customer may probe at once: the rejections may concern only the rejected
                // customers.
                let suspects = rejections.iter().map(|it| it.customer);
                let probes = Probes::new(suspects, now, now.plus(PROBE_PAUSE));
                inner.state = HoldState::On { probes, status };
                Some(HoldChange::Started)
            }
            HoldState::On { probes, status: last } => {
                *last = status;
                match self.probe.take() {
                    Some(probe) => probes.failed(probe, self.customer, now.plus(PROBE_PAUSE)),
                    // The call was in progress when the hold started.
                    None => probes.suspect(self.customer),
                }
                None
            }
        }
    }
}

impl Drop for HoldPermit {
    fn drop(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        let mut inner = self.hold.lock();
        if inner.generation == self.generation
            && let HoldState::On { probes, .. } = &mut inner.state
        {
            probes.release(probe);
        }
    }
}

#[cfg(test)]
mod tests;
