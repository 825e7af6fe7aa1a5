//! Probes: the calls that find out whether Juspay works again, while the breaker or the hold
//! rejects all others.
//!
//! Pure. One probe runs at a time, for a customer whose calls haven't failed. Suspects, which are
//! customers whose calls have failed, have a separate schedule: one of them at a time, and its
//! failure delays only other suspects. So one customer with odd data can't block the others, and
//! recovery works even if the calls of all customers have failed.

use std::{collections::HashSet, time::Duration};

use super::sliding_window::CustomerHash;
use crate::clock::Monotonic;

/// Maximum number of suspects. Further ones probe like customers whose calls haven't failed.
const MAX_SUSPECTS: usize = 8192;

/// The probes of the breaker or the hold.
#[derive(Debug)]
pub(super) struct Probes {
    suspects: HashSet<CustomerHash>,
    others: Schedule,
    suspects_schedule: Schedule,
}

/// When the next probe may start, and whether one is running.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    next_probe: Monotonic,
    is_running: bool,
}

/// The schedule that a probe belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeKind {
    /// A customer whose calls haven't failed.
    Other,
    /// A customer whose calls have failed.
    Suspect,
}

impl Probes {
    pub(super) fn new(
        suspects: impl IntoIterator<Item = CustomerHash>,
        others_next: Monotonic,
        suspects_next: Monotonic,
    ) -> Self {
        Self {
            suspects: suspects.into_iter().take(MAX_SUSPECTS).collect(),
            others: Schedule { next_probe: others_next, is_running: false },
            suspects_schedule: Schedule { next_probe: suspects_next, is_running: false },
        }
    }

    /// Starts a probe, or returns how long to wait: zero while another probe is running.
    pub(super) fn admit(
        &mut self,
        customer: CustomerHash,
        now: Monotonic,
    ) -> Result<ProbeKind, Duration> {
        let is_suspect = self.suspects.contains(&customer);
        let kind = if is_suspect { ProbeKind::Suspect } else { ProbeKind::Other };
        let is_other_running = self.others.is_running;
        let schedule = self.schedule(kind);
        if now < schedule.next_probe {
            return Err(schedule.next_probe.since(now));
        }
        if schedule.is_running || is_other_running {
            return Err(Duration::ZERO);
        }
        schedule.is_running = true;
        Ok(kind)
    }

    /// Records that a probe failed. The next one may start at `next`.
    pub(super) fn failed(&mut self, kind: ProbeKind, customer: CustomerHash, next: Monotonic) {
        self.release(kind);
        self.suspect(customer);
        self.suspects_schedule.next_probe = self.suspects_schedule.next_probe.max(next);
        if kind == ProbeKind::Other {
            self.others.next_probe = self.others.next_probe.max(next);
        }
    }

    /// Records that a probe ended without a result.
    pub(super) fn release(&mut self, kind: ProbeKind) {
        self.schedule(kind).is_running = false;
    }

    /// Delays all probes until `until` and abandons running ones. Returns whether one was running.
    pub(super) fn delay(&mut self, until: Monotonic) -> bool {
        let schedules = [&mut self.others, &mut self.suspects_schedule];
        schedules.into_iter().fold(false, |was_probing, schedule| {
            let was_running = std::mem::take(&mut schedule.is_running);
            schedule.next_probe = schedule.next_probe.max(until);
            was_probing || was_running
        })
    }

    /// Makes the customer a suspect after a failed call, probe or not.
    pub(super) fn suspect(&mut self, customer: CustomerHash) {
        if self.suspects.len() < MAX_SUSPECTS {
            self.suspects.insert(customer);
        }
    }

    /// Removes the customer from the suspects.
    pub(super) fn clear(&mut self, customer: CustomerHash) {
        self.suspects.remove(&customer);
    }

    /// When a customer whose calls haven't failed may probe.
    pub(super) fn next_probe(&self) -> Monotonic {
        self.others.next_probe
    }

    fn schedule(&mut self, kind: ProbeKind) -> &mut Schedule {
        match kind {
            ProbeKind::Other => &mut self.others,
            ProbeKind::Suspect => &mut self.suspects_schedule,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::juspay::sliding_window::tests::customer;

    const FAILING: CustomerHash = customer(1);
    const OTHER: CustomerHash = customer(2);

    fn at(secs: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(secs))
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn probes() -> Probes {
        Probes::new([FAILING], at(5), at(5))
    }

    #[test]
    fn one_probe_runs_at_a_time() {
        let mut probes = probes();
        assert_eq!(probes.admit(OTHER, at(4)), Err(secs(1)));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(ProbeKind::Other));
        assert_eq!(probes.admit(customer(3), at(6)), Err(Duration::ZERO));
        assert_eq!(probes.admit(FAILING, at(6)), Err(Duration::ZERO));
        probes.release(ProbeKind::Other);
        assert_eq!(probes.admit(customer(3), at(6)), Ok(ProbeKind::Other));
    }

    #[test]
    fn suspect_does_not_block_other_customers() {
        let mut probes = probes();
        assert_eq!(probes.admit(FAILING, at(5)), Ok(ProbeKind::Suspect));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(ProbeKind::Other));
        probes.release(ProbeKind::Other);
        probes.failed(ProbeKind::Suspect, FAILING, at(10));
        assert_eq!(probes.admit(FAILING, at(5)), Err(secs(5)));
        assert_eq!(probes.next_probe(), at(5));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(ProbeKind::Other));
    }

    #[test]
    fn customer_with_a_failed_probe_is_a_suspect() {
        let mut probes = probes();
        assert_eq!(probes.admit(OTHER, at(5)), Ok(ProbeKind::Other));
        probes.failed(ProbeKind::Other, OTHER, at(10));
        assert_eq!(probes.admit(customer(3), at(9)), Err(secs(1)));
        assert_eq!(probes.admit(FAILING, at(9)), Err(secs(1)));
        assert_eq!(probes.admit(OTHER, at(10)), Ok(ProbeKind::Suspect));
        assert_eq!(probes.admit(customer(3), at(10)), Ok(ProbeKind::Other));
    }

    #[test]
    fn cleared_customer_is_not_a_suspect() {
        let mut probes = probes();
        probes.clear(FAILING);
        assert_eq!(probes.admit(FAILING, at(5)), Ok(ProbeKind::Other));
    }

    #[test]
    fn delay_never_brings_a_probe_forward() {
        let mut probes = probes();
        assert!(!probes.delay(at(3)));
        assert_eq!(probes.next_probe(), at(5));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(ProbeKind::Other));
        assert!(probes.delay(at(7)), "that one is given up");
        assert_eq!(probes.admit(OTHER, at(5)), Err(secs(2)));
        assert_eq!(probes.admit(FAILING, at(5)), Err(secs(2)));
    }

    #[test]
    fn number_of_suspects_is_limited() {
        let mut probes = Probes::new((0..100_000).map(customer), at(0), at(0));
        (100_000..200_000).for_each(|number| probes.suspect(customer(number)));
        assert_eq!(probes.suspects.len(), MAX_SUSPECTS);
    }
}
