//! Requests that can't be answered at once: counted, and bounded (`server.max_in_flight`).
//!
//! Those that can be are answered, however many others wait: to refuse a hit costs as much as to
//! serve it.

use prometheus::IntGauge;

/// Where requests wait, each in one room at a time; together they hold `server.max_in_flight`.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// For Juspay, or for signing keys (`server.max_waiting`).
    pub upstream: WaitingRoom,
    /// For the check of a token that isn't known.
    pub verification: WaitingRoom,
}

/// Where requests wait. Clones are the same room.
#[derive(Debug, Clone)]
pub struct WaitingRoom {
    /// The count and the metric are one.
    inside: IntGauge,
    most: i64,
    /// The other room, and how many both may hold.
    beside: Option<(IntGauge, i64)>,
}

/// A place in the room, until dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct Place(IntGauge);

impl Rooms {
    /// Rooms that are counted by these gauges.
    #[must_use]
    pub fn new(
        upstream: &IntGauge,
        verification: &IntGauge,
        max_in_flight: usize,
        max_waiting: usize,
    ) -> Self {
        let together = bound(max_in_flight);
        let room = |inside: &IntGauge, beside: &IntGauge, most| WaitingRoom {
            inside: inside.clone(),
            most,
            beside: Some((beside.clone(), together)),
        };
        Self {
            upstream: room(upstream, verification, bound(max_waiting)),
            verification: room(verification, upstream, together),
        }
    }
}

impl WaitingRoom {
    /// A room by itself, for `most` at a time.
    #[must_use]
    pub fn new(inside: IntGauge, most: usize) -> Self {
        Self { inside, most: bound(most), beside: None }
    }

    /// The same room for those who leave half of it to the others.
    #[must_use]
    pub fn half(&self) -> Self {
        Self { most: self.most.div_euclid(2).max(1), ..self.clone() }
    }

    /// A place, if there is one.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        self.inside.inc();
        let place = Place(self.inside.clone());
        self.holds(self.inside.get()).then_some(place)
    }

    /// How many are in it.
    #[must_use]
    pub fn inside(&self) -> usize {
        usize::try_from(self.inside.get()).unwrap_or_default()
    }

    /// Whether who comes now would find no place.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.holds(self.inside.get().saturating_add(1))
    }

    fn holds(&self, inside: i64) -> bool {
        let beside = self.beside.as_ref();
        inside <= self.most
            && beside.is_none_or(|(beside, both)| inside.saturating_add(beside.get()) <= *both)
    }
}

fn bound(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_holds_so_many_and_no_more() {
        let gauge = IntGauge::new("waiting", "waiting").unwrap();
        let room = WaitingRoom::new(gauge.clone(), 2);
        let first = room.enter().unwrap();
        assert!(!room.is_full());
        let _second = room.enter().unwrap();
        assert!(room.is_full() && room.enter().is_none());
        assert_eq!(gauge.get(), 2, "who was turned away isn't inside");
        drop(first);
        assert!(!room.is_full());
        assert!(room.enter().is_some());
    }

    #[test]
    fn two_rooms_have_a_bound_for_both() {
        let gauge = |name| IntGauge::new(name, name).unwrap();
        let rooms = Rooms::new(&gauge("u"), &gauge("v"), 3, 2);
        let waiting = [rooms.upstream.enter().unwrap(), rooms.upstream.enter().unwrap()];
        assert!(rooms.upstream.is_full() && !rooms.verification.is_full());
        let verifying = rooms.verification.enter().unwrap();
        assert!(rooms.verification.is_full() && rooms.verification.enter().is_none());
        drop((verifying, waiting));
        let _verifying: Vec<_> = (0..3).map(|_| rooms.verification.enter().unwrap()).collect();
        assert!(rooms.verification.is_full() && rooms.upstream.is_full());
    }

    #[test]
    fn some_leave_half_of_the_room_to_the_others() {
        let gauge = IntGauge::new("waiting", "waiting").unwrap();
        let room = WaitingRoom::new(gauge, 4);
        let half = room.half();
        let _inside = (half.enter().unwrap(), half.enter().unwrap());
        assert!(half.enter().is_none());
        let _others = (room.enter().unwrap(), room.enter().unwrap());
        assert!(room.enter().is_none());
        let smallest = WaitingRoom::new(IntGauge::new("waiting", "waiting").unwrap(), 1);
        assert!(smallest.half().enter().is_some());
    }
}
