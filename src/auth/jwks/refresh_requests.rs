//! What the next fetch of an issuer's key set is requested for, and what the last fetches have shown.
//! State of bounded size, without I/O.

use std::time::Duration;

use super::CurrentKeySet;
use crate::clock::{Moment, Monotonic};

/// Maximum number of remembered `kid`s, of up to 256 bytes each.
const MAX_KIDS: usize = 64;

/// The requests for a refresh, and the results of recent fetches.
#[derive(Default)]
pub(super) struct RefreshRequests {
    /// When a request last started a fetch.
    pub(super) last_request: Option<Monotonic>,
    pub(super) stage: Stage,
    /// The `kid`s that the next fetch is for.
    kids: Vec<Box<str>>,
    /// Whether the next fetch confirms that the issuer still publishes the current set.
    revalidate: bool,
    /// The `kid`s that a successful fetch was for and did not contain, and when it ended.
    missing: Vec<(Box<str>, Monotonic)>,
    /// The generation that a successful fetch confirmed, and when it ended.
    confirmed: Option<(u64, Monotonic)>,
}

/// Why a request needs a fetch.
#[derive(Debug, Clone, Copy)]
pub(super) enum RefreshReason<'a> {
    /// The key set has no such `kid`, or there is no key set yet.
    Kid(Option<&'a str>),
    /// The current key set rejects a signature. It may be outdated.
    Revalidate,
}

#[derive(Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Idle,
    /// A request needs a fetch, which has not started.
    Requested,
    InFlight,
}

/// A fetch in progress, and what it is for.
pub(super) struct StartedFetch {
    pub(super) started: Moment,
    kids: Vec<Box<str>>,
    revalidate: bool,
}

impl RefreshRequests {
    /// The remaining part of the cool-down.
    pub(super) fn remaining_cooldown(&self, now: Monotonic, cooldown: Duration) -> Duration {
        self.last_request.map_or(Duration::ZERO, |last| cooldown.saturating_sub(now.since(last)))
    }

    /// Whether a successful fetch within the cool-down was for `kid` and did not contain it.
    pub(super) fn is_missing(&self, kid: Option<&str>, now: Monotonic, cooldown: Duration) -> bool {
        self.missing
            .iter()
            .any(|(missing, ended)| Some(&**missing) == kid && now.since(*ended) < cooldown)
    }

    /// Whether a successful fetch within the cool-down confirmed this generation.
    pub(super) fn is_confirmed(&self, generation: u64, now: Monotonic, cooldown: Duration) -> bool {
        self.confirmed.is_some_and(|(confirmed, ended)| {
            confirmed == generation && now.since(ended) < cooldown
        })
    }

    /// Adds a reason for the next fetch.
    pub(super) fn add(&mut self, reason: RefreshReason<'_>) {
        match reason {
            RefreshReason::Kid(Some(kid))
                if self.kids.len() < MAX_KIDS && !self.kids.iter().any(|other| **other == *kid) =>
            {
                self.kids.push(kid.into());
            }
            RefreshReason::Kid(_) => {}
            RefreshReason::Revalidate => self.revalidate = true,
        }
    }

    /// Starts a fetch. It serves all requests so far.
    pub(super) fn begin(&mut self, now: Moment) -> StartedFetch {
        self.stage = Stage::InFlight;
        StartedFetch {
            started: now,
            kids: std::mem::take(&mut self.kids),
            revalidate: std::mem::take(&mut self.revalidate),
        }
    }

    pub(super) fn remember(
        &mut self,
        fetch: StartedFetch,
        current: &CurrentKeySet,
        now: Monotonic,
        cooldown: Duration,
    ) {
        self.missing.retain(|(_, ended)| now.since(*ended) < cooldown);
        if fetch.revalidate {
            self.confirmed = Some((current.generation, now));
        }
        let missing = fetch.kids.into_iter().filter(|kid| !current.set.may_have_kid(kid));
        self.missing.extend(missing.map(|kid| (kid, now)));
        let surplus = self.missing.len().saturating_sub(MAX_KIDS);
        self.missing.drain(..surplus);
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

    fn add(requests: &mut RefreshRequests, kid: &str) {
        requests.add(RefreshReason::Kid(Some(kid)));
    }

    /// A fetch for these `kid`s, which has returned a set with key `k`.
    fn finished_fetch(kids: &[&str]) -> (StartedFetch, CurrentKeySet) {
        let (keys, _) = KeySet::parse(&set(&[P256.jwk("k")]), &issuer().algorithms).unwrap();
        let kids = kids.iter().map(|kid| Box::from(*kid)).collect();
        let started = moment();
        let current = CurrentKeySet { set: Arc::new(keys), generation: 7, started, fetched: at(0) };
        (StartedFetch { started, kids, revalidate: false }, current)
    }

    fn moment() -> Moment {
        Moment { wall: Timestamp::UNIX_EPOCH, monotonic: at(0) }
    }

    #[test]
    fn requested_kids_are_limited_and_unique() {
        let mut requests = RefreshRequests::default();
        requests.add(RefreshReason::Kid(None));
        requests.add(RefreshReason::Revalidate);
        for n in 0..MAX_KIDS - 1 {
            add(&mut requests, &n.to_string());
            add(&mut requests, "0");
        }
        assert_eq!(requests.kids.len(), MAX_KIDS - 1);
        add(&mut requests, "last");
        add(&mut requests, "too many");
        assert_eq!(requests.kids.len(), MAX_KIDS);
        assert!(requests.kids.contains(&"last".into()));
    }

    #[test]
    fn missing_kids_are_remembered_for_a_cool_down() {
        let mut requests = RefreshRequests::default();
        let (fetch, current) = finished_fetch(&["a", "k"]);
        requests.remember(fetch, &current, at(100), COOLDOWN);
        assert!(requests.is_missing(Some("a"), at(100), COOLDOWN));
        assert!(requests.is_missing(Some("a"), at(109), COOLDOWN));
        assert!(!requests.is_missing(Some("a"), at(110), COOLDOWN));
        assert!(!requests.is_missing(Some("k"), at(100), COOLDOWN), "the set contains it");
        assert!(!requests.is_missing(Some("b"), at(100), COOLDOWN), "no request was for it");
        assert!(!requests.is_missing(None, at(100), COOLDOWN));

        let (fetch, current) = finished_fetch(&["b"]);
        requests.remember(fetch, &current, at(109), COOLDOWN);
        assert_eq!(requests.missing.len(), 2);
        let (fetch, current) = finished_fetch(&[]);
        requests.remember(fetch, &current, at(110), COOLDOWN);
        assert_eq!(requests.missing.len(), 1, "the first has expired");
    }

    #[test]
    fn revalidation_confirms_a_set_for_a_cool_down() {
        let mut requests = RefreshRequests::default();
        let (fetch, current) = finished_fetch(&["k"]);
        requests.remember(fetch, &current, at(100), COOLDOWN);
        assert!(
            !requests.is_confirmed(7, at(100), COOLDOWN),
            "no request has rejected a signature"
        );
        requests.add(RefreshReason::Revalidate);
        let fetch = requests.begin(moment());
        assert!(!requests.begin(moment()).revalidate, "requested once");
        requests.remember(fetch, &current, at(100), COOLDOWN);
        assert!(requests.is_confirmed(7, at(109), COOLDOWN));
        assert!(!requests.is_confirmed(7, at(110), COOLDOWN));
        assert!(!requests.is_confirmed(6, at(109), COOLDOWN));
        let (fetch, current) = finished_fetch(&[]);
        requests.remember(fetch, &current, at(109), COOLDOWN);
        assert!(requests.is_confirmed(7, at(109), COOLDOWN));
    }

    #[test]
    fn the_oldest_missing_kids_are_forgotten_first() {
        let mut requests = RefreshRequests::default();
        let names: Vec<String> = (0..MAX_KIDS).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (fetch, current) = finished_fetch(&names);
        requests.remember(fetch, &current, at(100), COOLDOWN);
        assert!(requests.is_missing(Some("0"), at(100), COOLDOWN));
        let (fetch, current) = finished_fetch(&["new"]);
        requests.remember(fetch, &current, at(101), COOLDOWN);
        assert_eq!(requests.missing.len(), MAX_KIDS);
        assert!(requests.is_missing(Some("new"), at(101), COOLDOWN));
        assert!(requests.is_missing(Some("1"), at(101), COOLDOWN));
        assert!(!requests.is_missing(Some("0"), at(101), COOLDOWN));
    }
}
