//! Requests that wait for Juspay or for signing keys: counted, and bounded, so that they always
//! leave room for those that needn't wait (`server.max_waiting`).

use prometheus::IntGauge;

/// Where requests wait. Clones are the same room.
#[derive(Debug, Clone)]
pub struct WaitingRoom {
    /// The count and the metric are one: `http_requests_waiting`.
    inside: IntGauge,
    most: i64,
}

/// A place in the room, until dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct Place(IntGauge);

impl WaitingRoom {
    /// A room for `most` at a time.
    #[must_use]
    pub fn new(inside: IntGauge, most: usize) -> Self {
        Self { inside, most: i64::try_from(most).unwrap_or(i64::MAX) }
    }

    /// The same room for those who leave half of it to the others.
    #[must_use]
    pub fn half(&self) -> Self {
        Self { inside: self.inside.clone(), most: self.most.div_euclid(2).max(1) }
    }

    /// A place, if there is one.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        self.inside.inc();
        let place = Place(self.inside.clone());
        (self.inside.get() <= self.most).then_some(place)
    }
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
        let (first, _second) = (room.enter().unwrap(), room.enter().unwrap());
        assert!(room.enter().is_none());
        assert_eq!(gauge.get(), 2, "who was turned away isn't inside");
        drop(first);
        assert!(room.enter().is_some());
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
