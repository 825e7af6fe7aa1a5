//! Probes: the calls that find out whether Juspay works again, while the breaker or the hold
//! refuses all others.
//!
//! Pure. One probe runs at a time, for a customer whose calls haven't failed. Suspects, which are
//! customers whose calls have failed, have a separate schedule: one of them at a time, and its
//! failure delays only other suspects. So one customer with odd data can't block the others, and
//! recovery works even if the calls of all customers have failed.

use std::{collections::HashSet, time::Duration};

use super::window::CustomerHash;
use crate::clock::Monotonic;

/// Maximum number of suspects. Further ones probe like customers whose calls haven't failed.
const MAX_SUSPECTS: usize = 8192;

/// The probes of the breaker or the hold.
#[derive(Debug)]
pub(super) struct Probes {
    suspects: HashSet<CustomerHash>,
    others_turn: Turn,
    suspects_turn: Turn,
}

/// When the next probe may start, and whether one is running.
#[derive(Debug, Clone, Copy)]
struct Turn {
    from: Monotonic,
    is_taken: bool,
}

/// The schedule that a probe belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prober {
    /// A customer whose calls haven't failed.
    Other,
    /// A customer whose calls have failed.
    Suspect,
}

impl Probes {
    pub(super) fn new(
        suspects: impl IntoIterator<Item = CustomerHash>,
        others_from: Monotonic,
        suspects_from: Monotonic,
    ) -> Self {
        Self {
            suspects: suspects.into_iter().take(MAX_SUSPECTS).collect(),
            others_turn: Turn { from: others_from, is_taken: false },
            suspects_turn: Turn { from: suspects_from, is_taken: false },
        }
    }

    /// Starts a probe, or returns how long to wait: zero while another probe is running.
    pub(super) fn admit(
        &mut self,
        customer: CustomerHash,
        now: Monotonic,
    ) -> Result<Prober, Duration> {
        let is_suspect = self.suspects.contains(&customer);
        let prober = if is_suspect { Prober::Suspect } else { Prober::Other };
        let is_other_under_way = self.others_turn.is_taken;
        let turn = self.turn(prober);
        if now < turn.from {
            return Err(turn.from.since(now));
        }
        if turn.is_taken || is_other_under_way {
            return Err(Duration::ZERO);
        }
        turn.is_taken = true;
        Ok(prober)
    }

    /// Records that a probe failed. The next one may start at `next`.
    pub(super) fn failed(&mut self, prober: Prober, customer: CustomerHash, next: Monotonic) {
        self.give_back(prober);
        self.suspect(customer);
        self.suspects_turn.from = self.suspects_turn.from.max(next);
        if prober == Prober::Other {
            self.others_turn.from = self.others_turn.from.max(next);
        }
    }

    /// Records that a probe ended without a result.
    pub(super) fn give_back(&mut self, prober: Prober) {
        self.turn(prober).is_taken = false;
    }

    /// Delays all probes until `until` and abandons running ones. Returns whether one was running.
    pub(super) fn put_off(&mut self, until: Monotonic) -> bool {
        let turns = [&mut self.others_turn, &mut self.suspects_turn];
        turns.into_iter().fold(false, |was_probing, turn| {
            let was_taken = std::mem::take(&mut turn.is_taken);
            turn.from = turn.from.max(until);
            was_probing || was_taken
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
    pub(super) fn from(&self) -> Monotonic {
        self.others_turn.from
    }

    fn turn(&mut self, prober: Prober) -> &mut Turn {
        match prober {
            Prober::Other => &mut self.others_turn,
            Prober::Suspect => &mut self.suspects_turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::juspay::window::tests::customer;

    const ODD: CustomerHash = customer(1);
    const OTHER: CustomerHash = customer(2);

    fn at(secs: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(secs))
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn probes() -> Probes {
        Probes::new([ODD], at(5), at(5))
    }

    #[test]
    fn one_probe_runs_at_a_time() {
        let mut probes = probes();
        assert_eq!(probes.admit(OTHER, at(4)), Err(secs(1)));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(Prober::Other));
        assert_eq!(probes.admit(customer(3), at(6)), Err(Duration::ZERO));
        assert_eq!(probes.admit(ODD, at(6)), Err(Duration::ZERO));
        probes.give_back(Prober::Other);
        assert_eq!(probes.admit(customer(3), at(6)), Ok(Prober::Other));
    }

    #[test]
    fn a_suspect_keeps_no_other_customer_waiting() {
        let mut probes = probes();
        assert_eq!(probes.admit(ODD, at(5)), Ok(Prober::Suspect));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(Prober::Other));
        probes.give_back(Prober::Other);
        probes.failed(Prober::Suspect, ODD, at(10));
        assert_eq!(probes.admit(ODD, at(5)), Err(secs(5)));
        assert_eq!(probes.from(), at(5));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(Prober::Other));
    }

    #[test]
    fn a_customer_whose_probe_failed_is_a_suspect() {
        let mut probes = probes();
        assert_eq!(probes.admit(OTHER, at(5)), Ok(Prober::Other));
        probes.failed(Prober::Other, OTHER, at(10));
        assert_eq!(probes.admit(customer(3), at(9)), Err(secs(1)));
        assert_eq!(probes.admit(ODD, at(9)), Err(secs(1)));
        assert_eq!(probes.admit(OTHER, at(10)), Ok(Prober::Suspect));
        assert_eq!(probes.admit(customer(3), at(10)), Ok(Prober::Other));
    }

    #[test]
    fn a_cleared_customer_is_no_suspect() {
        let mut probes = probes();
        probes.clear(ODD);
        assert_eq!(probes.admit(ODD, at(5)), Ok(Prober::Other));
    }

    #[test]
    fn putting_off_never_brings_a_probe_forward() {
        let mut probes = probes();
        assert!(!probes.put_off(at(3)));
        assert_eq!(probes.from(), at(5));
        assert_eq!(probes.admit(OTHER, at(5)), Ok(Prober::Other));
        assert!(probes.put_off(at(7)), "that one is given up");
        assert_eq!(probes.admit(OTHER, at(5)), Err(secs(2)));
        assert_eq!(probes.admit(ODD, at(5)), Err(secs(2)));
    }

    #[test]
    fn the_number_of_suspects_is_bounded() {
        let mut probes = Probes::new((0..100_000).map(customer), at(0), at(0));
        (100_000..200_000).for_each(|number| probes.suspect(customer(number)));
        assert_eq!(probes.suspects.len(), MAX_SUSPECTS);
    }
}
