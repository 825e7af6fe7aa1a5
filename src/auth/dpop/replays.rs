//! Remembers accepted proofs, so that each is accepted once (RFC 9449 §11.1).
//!
//! A proof is identified by its key and its `jti`, so one client cannot use up the `jti` of another. An
//! entry stays until both clocks have passed its end. The number of entries is limited, and none is
//! removed early: without room, a proof is rejected. One key may fill only a share of the memory, so one
//! client cannot block the others.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus::IntGauge;

use crate::{
    auth::digest::{Sha256, sha256},
    clock::Moment,
};

/// The number of parts that the memory is divided into. One key may fill one of them.
const SHARES: usize = 50;

/// Why a proof is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplayError {
    /// It was accepted before.
    Replayed,
    /// Its key has used up its share. Contains the time until an entry expires.
    TooMany(Duration),
    /// The memory is full.
    Full,
}

/// The accepted proofs.
pub(super) struct Replays {
    max: usize,
    max_per_key: usize,
    /// How long after its first use a proof could be used again.
    life: Duration,
    remembered: Mutex<Remembered>,
    count: IntGauge,
}

#[derive(Default)]
struct Remembered {
    ids: HashSet<Sha256>,
    per_key: HashMap<Sha256, usize>,
    /// In the order of their ends on the monotonic clock.
    order: VecDeque<Entry>,
}

struct Entry {
    id: Sha256,
    key: Sha256,
    end: Moment,
}

impl Replays {
    pub(super) fn new(max: usize, life: Duration, count: IntGauge) -> Self {
        let max_per_key = max.div_ceil(SHARES);
        Self { max, max_per_key, life, remembered: Mutex::default(), count }
    }

    /// Remembers the proof with this key and `jti`. Rejects it if it is remembered.
    pub(super) fn insert(&self, key: &Sha256, jti: &str, now: Moment) -> Result<(), ReplayError> {
        let id = sha256(&[key, jti.as_bytes()].concat());
        let mut remembered = self.remembered();
        remembered.remove_expired(now);
        let inserted = remembered.insert(id, *key, now.plus(self.life), self.max, self.max_per_key);
        let retry_after = remembered.order.front().map(|first| first.end.remaining(now));
        self.update_gauge(&remembered);
        drop(remembered);
        match inserted {
            Err(ReplayError::TooMany(_)) => {
                Err(ReplayError::TooMany(retry_after.unwrap_or_default()))
            }
            other => other,
        }
    }

    /// Removes expired entries.
    pub(super) fn sweep(&self, now: Moment) {
        let mut remembered = self.remembered();
        remembered.remove_expired(now);
        self.update_gauge(&remembered);
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_gauge(&self, remembered: &Remembered) {
        self.count.set(i64::try_from(remembered.order.len()).unwrap_or(i64::MAX));
    }
}

impl Remembered {
    fn remove_expired(&mut self, now: Moment) {
        let has_expired =
            |entry: &Entry| entry.end.wall < now.wall && entry.end.monotonic < now.monotonic;
        while let Some(entry) = self.order.pop_front_if(|entry| has_expired(entry)) {
            self.ids.remove(&entry.id);
            if let Some(count) = self.per_key.get_mut(&entry.key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.per_key.remove(&entry.key);
                }
            }
        }
    }

    fn insert(
        &mut self,
        id: Sha256,
        key: Sha256,
        end: Moment,
        max: usize,
        max_per_key: usize,
    ) -> Result<(), ReplayError> {
        if self.ids.contains(&id) {
            return Err(ReplayError::Replayed);
        }
        let count = self.per_key.get(&key).copied().unwrap_or(0);
        if count >= max_per_key {
            return Err(ReplayError::TooMany(Duration::ZERO));
        }
        if self.order.len() >= max {
            return Err(ReplayError::Full);
        }
        self.ids.insert(id);
        self.per_key.insert(key, count.saturating_add(1));
        self.order.push_back(Entry { id, key, end });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::Monotonic;

    const LIFE: Duration = Duration::from_secs(120);

    fn replays(max: usize) -> Replays {
        Replays::new(max, LIFE, IntGauge::new("proofs", "proofs").unwrap())
    }

    fn at(wall: i64, monotonic: u64) -> Moment {
        Moment {
            wall: Timestamp::from_second(wall).unwrap(),
            monotonic: Monotonic::new(Duration::from_secs(monotonic)),
        }
    }

    #[test]
    fn proof_is_accepted_once_until_both_clocks_end_it() {
        for (wall, monotonic, is_accepted) in [
            (1000, 0, false),
            (1120, 120, false),
            (1121, 121, true),
            (5000, 120, false),
            (1120, 5000, false),
            (0, 5000, false),
        ] {
            let replays = replays(100);
            assert_eq!(replays.insert(&[1; 32], "a", at(1000, 0)), Ok(()));
            let again = replays.insert(&[1; 32], "a", at(wall, monotonic));
            assert_eq!(again.is_ok(), is_accepted, "{wall} {monotonic}");
            assert_eq!(replays.count.get(), 1);
            assert!(is_accepted || again == Err(ReplayError::Replayed));
        }
    }

    #[test]
    fn jti_is_remembered_per_key() {
        let replays = replays(100);
        assert_eq!(replays.insert(&[1; 32], "a", at(0, 0)), Ok(()));
        assert_eq!(replays.insert(&[2; 32], "a", at(0, 0)), Ok(()));
        assert_eq!(replays.insert(&[1; 32], "b", at(0, 0)), Ok(()));
        assert_eq!(replays.insert(&[1; 32], "a", at(0, 0)), Err(ReplayError::Replayed));
        assert_eq!(replays.insert(&[2; 32], "a", at(0, 0)), Err(ReplayError::Replayed));
    }

    #[test]
    fn full_memory_rejects_proofs_until_one_expires() {
        let replays = replays(3);
        for key in 1..=3 {
            assert_eq!(replays.insert(&[key; 32], "a", at(i64::from(key), key.into())), Ok(()));
        }
        for second in [3, 121] {
            let (wall, monotonic) = (i64::from(second), u64::try_from(second).unwrap());
            let now = at(wall, monotonic);
            assert_eq!(replays.insert(&[4; 32], "a", now), Err(ReplayError::Full));
            assert_eq!(
                replays.insert(&[1; 32], "a", now),
                Err(ReplayError::Replayed),
                "none is removed early"
            );
        }
        assert_eq!(replays.insert(&[4; 32], "a", at(122, 122)), Ok(()));
        assert_eq!(replays.insert(&[5; 32], "a", at(122, 122)), Err(ReplayError::Full));
    }

    #[test]
    fn one_key_can_fill_only_its_share() {
        let replays = replays(101);
        for jti in ["a", "b", "c"] {
            assert_eq!(replays.insert(&[1; 32], jti, at(0, 0)), Ok(()));
        }
        let rejected = replays.insert(&[1; 32], "d", at(20, 20));
        assert_eq!(rejected, Err(ReplayError::TooMany(Duration::from_secs(100))));
        assert_eq!(replays.insert(&[1; 32], "a", at(20, 20)), Err(ReplayError::Replayed));
        assert_eq!(replays.insert(&[2; 32], "d", at(20, 20)), Ok(()));
        replays.sweep(at(121, 121));
        assert_eq!(replays.count.get(), 1);
        assert_eq!(replays.insert(&[1; 32], "d", at(121, 121)), Ok(()));
    }

    #[test]
    fn expired_proofs_are_removed_completely() {
        let replays = replays(100);
        for key in 0..100 {
            assert_eq!(replays.insert(&[key; 32], "a", at(0, 0)), Ok(()));
        }
        replays.sweep(at(121, 121));
        let remembered = replays.remembered();
        let lengths = (remembered.ids.len(), remembered.per_key.len(), remembered.order.len());
        assert_eq!((lengths, replays.count.get()), ((0, 0, 0), 0));
    }
}
