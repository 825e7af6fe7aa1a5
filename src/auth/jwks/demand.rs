//! What requests have asked of an issuer's key set. Pure bookkeeping, bounded in size.

use std::time::Duration;

use super::Current;
use crate::clock::{Moment, Monotonic};

/// Most `kid`s that are remembered as asked for; one has 256 bytes at most.
const MAX_ASKED: usize = 64;

/// What requests have asked for.
#[derive(Default)]
pub(super) struct Demand {
    /// When a request last caused a fetch.
    pub(super) caused: Option<Monotonic>,
    pub(super) stage: Stage,
    /// The `kid`s that the next fetch is asked for.
    wanted: Vec<Box<str>>,
    /// Whether the next fetch is to tell if the set in use still is the issuer's.
    doubted: bool,
    /// The `kid`s that a successful fetch was asked for and lacked, and when it ended.
    lacking: Vec<(Box<str>, Monotonic)>,
    /// The generation that was in use after a successful fetch that was to tell, and when it ended.
    confirmed: Option<(u64, Monotonic)>,
}

/// What a request wants to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    /// Which set has this `kid`, or simply which set there is.
    Kid(Option<&'a str>),
    /// Whether the set in use still is the issuer's: it can't prove a token.
    Doubt,
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
    pub(super) begun: Moment,
    wanted: Vec<Box<str>>,
    doubted: bool,
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

    /// Whether a successful fetch of the last cool-down was to tell, and this generation was in use
    /// after it.
    pub(super) fn confirms(&self, generation: u64, now: Monotonic, cooldown: Duration) -> bool {
        self.confirmed.is_some_and(|(confirmed, ended)| {
            confirmed == generation && now.since(ended) < cooldown
        })
    }

    /// Notes what the next fetch is for.
    pub(super) fn want(&mut self, question: Question<'_>) {
        match question {
            Question::Kid(Some(kid))
                if self.wanted.len() < MAX_ASKED
                    && !self.wanted.iter().any(|wanted| **wanted == *kid) =>
            {
                self.wanted.push(kid.into());
            }
            Question::Kid(_) => {}
            Question::Doubt => self.doubted = true,
        }
    }

    /// A fetch begins; it is for all that has been asked till now.
    pub(super) fn begin(&mut self, now: Moment) -> Flight {
        self.stage = Stage::InFlight;
        Flight {
            begun: now,
            wanted: std::mem::take(&mut self.wanted),
            doubted: std::mem::take(&mut self.doubted),
        }
    }

    pub(super) fn remember(
        &mut self,
        flight: Flight,
        current: &Current,
        now: Monotonic,
        cooldown: Duration,
    ) {
        self.lacking.retain(|(_, ended)| now.since(*ended) < cooldown);
        if flight.doubted {
            self.confirmed = Some((current.generation, now));
        }
        let lacking = flight.wanted.into_iter().filter(|kid| !current.set.knows(kid));
        self.lacking.extend(lacking.map(|kid| (kid, now)));
        let surplus = self.lacking.len().saturating_sub(MAX_ASKED);
        self.lacking.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::auth::{
        jwks::KeySet,
        testing::{P256, issuer, set},
    };

    const COOLDOWN: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn want(demand: &mut Demand, kid: &str) {
        demand.want(Question::Kid(Some(kid)));
    }

    /// A fetch for these that has brought a set with key `k`.
    fn fetch(kids: &[&str]) -> (Flight, Current) {
        let (keys, _) = KeySet::parse(&set(&[P256.jwk("k")]), &issuer().algorithms).unwrap();
        let wanted = kids.iter().map(|kid| Box::from(*kid)).collect();
        let begun = moment();
        let current = Current { set: Arc::new(keys), generation: 7, begun, fetched: at(0) };
        (Flight { begun, wanted, doubted: false }, current)
    }

    fn moment() -> Moment {
        Moment { wall: Timestamp::UNIX_EPOCH, monotonic: at(0) }
    }

    #[test]
    fn only_so_many_kids_are_asked_for_and_none_twice() {
        let mut demand = Demand::default();
        demand.want(Question::Kid(None));
        demand.want(Question::Doubt);
        for n in 0..MAX_ASKED - 1 {
            want(&mut demand, &n.to_string());
            want(&mut demand, "0");
        }
        assert_eq!(demand.wanted.len(), MAX_ASKED - 1);
        want(&mut demand, "last");
        want(&mut demand, "too many");
        assert_eq!(demand.wanted.len(), MAX_ASKED);
        assert!(demand.wanted.contains(&"last".into()));
    }

    #[test]
    fn lacking_kids_are_remembered_for_a_cool_down() {
        let mut demand = Demand::default();
        let (flight, current) = fetch(&["a", "k"]);
        demand.remember(flight, &current, at(100), COOLDOWN);
        assert!(demand.lacks(Some("a"), at(100), COOLDOWN));
        assert!(demand.lacks(Some("a"), at(109), COOLDOWN));
        assert!(!demand.lacks(Some("a"), at(110), COOLDOWN));
        assert!(!demand.lacks(Some("k"), at(100), COOLDOWN), "the set has it");
        assert!(!demand.lacks(Some("b"), at(100), COOLDOWN), "nobody has asked");
        assert!(!demand.lacks(None, at(100), COOLDOWN));

        let (flight, current) = fetch(&["b"]);
        demand.remember(flight, &current, at(109), COOLDOWN);
        assert_eq!(demand.lacking.len(), 2);
        let (flight, current) = fetch(&[]);
        demand.remember(flight, &current, at(110), COOLDOWN);
        assert_eq!(demand.lacking.len(), 1, "the first has had its time");
    }

    #[test]
    fn a_set_is_confirmed_for_a_cool_down_by_a_fetch_that_was_to_tell() {
        let mut demand = Demand::default();
        let (flight, current) = fetch(&["k"]);
        demand.remember(flight, &current, at(100), COOLDOWN);
        assert!(!demand.confirms(7, at(100), COOLDOWN), "nobody has doubted");
        demand.want(Question::Doubt);
        let flight = demand.begin(moment());
        assert!(!demand.begin(moment()).doubted, "asked once");
        demand.remember(flight, &current, at(100), COOLDOWN);
        assert!(demand.confirms(7, at(109), COOLDOWN));
        assert!(!demand.confirms(7, at(110), COOLDOWN));
        assert!(!demand.confirms(6, at(109), COOLDOWN));
        let (flight, current) = fetch(&[]);
        demand.remember(flight, &current, at(109), COOLDOWN);
        assert!(demand.confirms(7, at(109), COOLDOWN));
    }

    #[test]
    fn the_oldest_lacking_kids_are_forgotten_first() {
        let mut demand = Demand::default();
        let names: Vec<String> = (0..MAX_ASKED).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (flight, current) = fetch(&names);
        demand.remember(flight, &current, at(100), COOLDOWN);
        assert!(demand.lacks(Some("0"), at(100), COOLDOWN));
        let (flight, current) = fetch(&["new"]);
        demand.remember(flight, &current, at(101), COOLDOWN);
        assert_eq!(demand.lacking.len(), MAX_ASKED);
        assert!(demand.lacks(Some("new"), at(101), COOLDOWN));
        assert!(demand.lacks(Some("1"), at(101), COOLDOWN));
        assert!(!demand.lacks(Some("0"), at(101), COOLDOWN));
    }
}
