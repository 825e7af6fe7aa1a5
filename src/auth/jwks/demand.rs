//! What requests have asked of an issuer's key set. Pure bookkeeping, bounded in size.

use std::time::Duration;

use super::KeySet;
use crate::clock::Monotonic;

/// Most `kid`s that are remembered as asked for; one has 256 bytes at most.
const MAX_ASKED: usize = 64;

/// What requests have asked for.
#[derive(Default)]
pub(super) struct Demand {
    /// When a request last caused a fetch.
    pub(super) caused: Option<Monotonic>,
    pub(super) stage: Stage,
    /// The `kid`s that the next fetch is asked for.
    pub(super) wanted: Vec<Box<str>>,
    /// The `kid`s that a successful fetch was asked for and lacked, and when it ended.
    lacking: Vec<(Box<str>, Monotonic)>,
}

#[derive(Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Idle,
    /// A request has asked for a fetch that hasn't begun.
    Asked,
    InFlight,
}

/// A fetch under way.
pub(super) struct Flight {
    pub(super) wanted: Vec<Box<str>>,
}

impl Demand {
    /// How much of the cool-down is left.
    pub(super) fn rest(&self, now: Monotonic, cooldown: Duration) -> Duration {
        self.caused.map_or(Duration::ZERO, |caused| cooldown.saturating_sub(now.since(caused)))
    }

    /// Whether a successful fetch of the last cool-down was asked for `kid` and lacked it.
    pub(super) fn lacks(&self, kid: Option<&str>, now: Monotonic, cooldown: Duration) -> bool {
        self.lacking
            .iter()
            .any(|(lacking, ended)| Some(&**lacking) == kid && now.since(*ended) < cooldown)
    }

    pub(super) fn want(&mut self, kid: Option<&str>) {
        if let Some(kid) = kid
            && self.wanted.len() < MAX_ASKED
            && !self.wanted.iter().any(|wanted| **wanted == *kid)
        {
            self.wanted.push(kid.into());
        }
    }

    pub(super) fn remember(
        &mut self,
        flight: Flight,
        set: &KeySet,
        now: Monotonic,
        cooldown: Duration,
    ) {
        self.lacking.retain(|(_, ended)| now.since(*ended) < cooldown);
        let lacking = flight.wanted.into_iter().filter(|kid| !set.knows(kid));
        self.lacking.extend(lacking.map(|kid| (kid, now)));
        let surplus = self.lacking.len().saturating_sub(MAX_ASKED);
        self.lacking.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{P256, issuer, set};

    const COOLDOWN: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn without(kids: &[&str]) -> (Flight, KeySet) {
        let (keys, _) = KeySet::parse(&set(&[P256.jwk("k")]), &issuer().algorithms).unwrap();
        (Flight { wanted: kids.iter().map(|kid| Box::from(*kid)).collect() }, keys)
    }

    #[test]
    fn only_so_many_kids_are_asked_for_and_none_twice() {
        let mut demand = Demand::default();
        demand.want(None);
        for n in 0..MAX_ASKED - 1 {
            demand.want(Some(&n.to_string()));
            demand.want(Some("0"));
        }
        assert_eq!(demand.wanted.len(), MAX_ASKED - 1);
        demand.want(Some("last"));
        demand.want(Some("too many"));
        assert_eq!(demand.wanted.len(), MAX_ASKED);
        assert!(demand.wanted.contains(&"last".into()));
    }

    #[test]
    fn lacking_kids_are_remembered_for_a_cool_down() {
        let mut demand = Demand::default();
        let (flight, keys) = without(&["a", "k"]);
        demand.remember(flight, &keys, at(100), COOLDOWN);
        assert!(demand.lacks(Some("a"), at(100), COOLDOWN));
        assert!(demand.lacks(Some("a"), at(109), COOLDOWN));
        assert!(!demand.lacks(Some("a"), at(110), COOLDOWN));
        assert!(!demand.lacks(Some("k"), at(100), COOLDOWN), "the set has it");
        assert!(!demand.lacks(Some("b"), at(100), COOLDOWN), "nobody has asked");
        assert!(!demand.lacks(None, at(100), COOLDOWN));

        let (flight, keys) = without(&["b"]);
        demand.remember(flight, &keys, at(109), COOLDOWN);
        assert_eq!(demand.lacking.len(), 2);
        let (flight, keys) = without(&[]);
        demand.remember(flight, &keys, at(110), COOLDOWN);
        assert_eq!(demand.lacking.len(), 1, "the first has had its time");
    }

    #[test]
    fn the_oldest_lacking_kids_are_forgotten_first() {
        let mut demand = Demand::default();
        let names: Vec<String> = (0..MAX_ASKED).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (flight, keys) = without(&names);
        demand.remember(flight, &keys, at(100), COOLDOWN);
        assert!(demand.lacks(Some("0"), at(100), COOLDOWN));
        let (flight, keys) = without(&["new"]);
        demand.remember(flight, &keys, at(101), COOLDOWN);
        assert_eq!(demand.lacking.len(), MAX_ASKED);
        assert!(demand.lacks(Some("new"), at(101), COOLDOWN));
        assert!(demand.lacks(Some("1"), at(101), COOLDOWN));
        assert!(!demand.lacks(Some("0"), at(101), COOLDOWN));
    }
}
