//! Remembers accepted proofs, so that each is accepted once (RFC 9449 §11.1).
//!
//! A proof is identified by its key and its `jti`, so one client cannot use up the `jti` of another. An
//! entry stays until both clocks have passed its end. The number of entries is limited, and none is
//! removed early: without room, a proof is rejected. One key may fill only a share of the memory, so one
//! client cannot lock out the others.

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

/// One key may fill one of so many parts of the memory.
const SHARES: usize = 50;

/// Why a proof is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was accepted before.
    Replayed,
    /// Its key has used up its share, at least for this time.
    TooMany(Duration),
    /// The memory is full.
    Full,
}

/// The accepted proofs.
pub(super) struct Replays {
    most: usize,
    most_of_key: usize,
    /// How long after its first use a proof could be used again.
    life: Duration,
    remembered: Mutex<Remembered>,
    count: IntGauge,
}

#[derive(Default)]
struct Remembered {
    seen: HashSet<Sha256>,
    of_key: HashMap<Sha256, usize>,
    /// In the order of their ends on the monotonic clock.
    order: VecDeque<Entry>,
}

struct Entry {
    id: Sha256,
    key: Sha256,
    end: Moment,
}

impl Replays {
    pub(super) fn new(most: usize, life: Duration, count: IntGauge) -> Self {
        let most_of_key = most.div_ceil(SHARES);
        Self { most, most_of_key, life, remembered: Mutex::default(), count }
    }

    /// Accepts the proof of this key and `jti` the first time only.
    pub(super) fn take(&self, key: &Sha256, jti: &str, now: Moment) -> Result<(), Refused> {
        let id = sha256(&[key, jti.as_bytes()].concat());
        let mut remembered = self.remembered();
        remembered.forget_ended(now);
        let taken = remembered.take(id, *key, now.plus(self.life), self.most, self.most_of_key);
        let retry_after = remembered.order.front().map(|first| first.end.remaining(now));
        self.counted(&remembered);
        drop(remembered);
        match taken {
            Err(Refused::TooMany(_)) => Err(Refused::TooMany(retry_after.unwrap_or_default())),
            other => other,
        }
    }

    /// Removes expired entries.
    pub(super) fn sweep(&self, now: Moment) {
        let mut remembered = self.remembered();
        remembered.forget_ended(now);
        self.counted(&remembered);
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, remembered: &Remembered) {
        self.count.set(i64::try_from(remembered.order.len()).unwrap_or(i64::MAX));
    }
}

impl Remembered {
    fn forget_ended(&mut self, now: Moment) {
        let has_ended =
            |entry: &Entry| entry.end.wall < now.wall && entry.end.monotonic < now.monotonic;
        while let Some(entry) = self.order.pop_front_if(|entry| has_ended(entry)) {
            self.seen.remove(&entry.id);
            if let Some(count) = self.of_key.get_mut(&entry.key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_key.remove(&entry.key);
                }
            }
        }
    }

    fn take(
        &mut self,
        id: Sha256,
        key: Sha256,
        end: Moment,
        most: usize,
        most_of_key: usize,
    ) -> Result<(), Refused> {
        if self.seen.contains(&id) {
            return Err(Refused::Replayed);
        }
        let count = self.of_key.get(&key).copied().unwrap_or(0);
        if count >= most_of_key {
            return Err(Refused::TooMany(Duration::ZERO));
        }
        if self.order.len() >= most {
            return Err(Refused::Full);
        }
        self.seen.insert(id);
        self.of_key.insert(key, count.saturating_add(1));
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

    fn replays(most: usize) -> Replays {
        Replays::new(most, LIFE, IntGauge::new("proofs", "proofs").unwrap())
    }

    fn at(wall: i64, monotonic: u64) -> Moment {
        Moment {
            wall: Timestamp::from_second(wall).unwrap(),
            monotonic: Monotonic::new(Duration::from_secs(monotonic)),
        }
    }

    #[test]
    fn proof_is_accepted_once_until_both_clocks_end_it() {
        for (wall, monotonic, is_taken) in [
            (1000, 0, false),
            (1120, 120, false),
            (1121, 121, true),
            (5000, 120, false),
            (1120, 5000, false),
            (0, 5000, false),
        ] {
            let replays = replays(100);
            assert_eq!(replays.take(&[1; 32], "a", at(1000, 0)), Ok(()));
            let again = replays.take(&[1; 32], "a", at(wall, monotonic));
            assert_eq!(again.is_ok(), is_taken, "{wall} {monotonic}");
            assert_eq!(replays.count.get(), 1);
            assert!(is_taken || again == Err(Refused::Replayed));
        }
    }

    #[test]
    fn jti_is_remembered_per_key() {
        let replays = replays(100);
        assert_eq!(replays.take(&[1; 32], "a", at(0, 0)), Ok(()));
        assert_eq!(replays.take(&[2; 32], "a", at(0, 0)), Ok(()));
        assert_eq!(replays.take(&[1; 32], "b", at(0, 0)), Ok(()));
        assert_eq!(replays.take(&[1; 32], "a", at(0, 0)), Err(Refused::Replayed));
        assert_eq!(replays.take(&[2; 32], "a", at(0, 0)), Err(Refused::Replayed));
    }

    #[test]
    fn full_memory_rejects_proofs_until_one_expires() {
        let replays = replays(3);
        for key in 1..=3 {
            assert_eq!(replays.take(&[key; 32], "a", at(i64::from(key), key.into())), Ok(()));
        }
        for second in [3, 121] {
            let (wall, monotonic) = (i64::from(second), u64::try_from(second).unwrap());
            let now = at(wall, monotonic);
            assert_eq!(replays.take(&[4; 32], "a", now), Err(Refused::Full));
            assert_eq!(replays.take(&[1; 32], "a", now), Err(Refused::Replayed), "none gives way");
        }
        assert_eq!(replays.take(&[4; 32], "a", at(122, 122)), Ok(()));
        assert_eq!(replays.take(&[5; 32], "a", at(122, 122)), Err(Refused::Full));
    }

    #[test]
    fn one_key_can_fill_only_its_share() {
        let replays = replays(101);
        for jti in ["a", "b", "c"] {
            assert_eq!(replays.take(&[1; 32], jti, at(0, 0)), Ok(()));
        }
        let refused = replays.take(&[1; 32], "d", at(20, 20));
        assert_eq!(refused, Err(Refused::TooMany(Duration::from_secs(100))));
        assert_eq!(replays.take(&[1; 32], "a", at(20, 20)), Err(Refused::Replayed));
        assert_eq!(replays.take(&[2; 32], "d", at(20, 20)), Ok(()));
        replays.sweep(at(121, 121));
        assert_eq!(replays.count.get(), 1);
        assert_eq!(replays.take(&[1; 32], "d", at(121, 121)), Ok(()));
    }

    #[test]
    fn expired_proofs_are_removed_completely() {
        let replays = replays(100);
        for key in 0..100 {
            assert_eq!(replays.take(&[key; 32], "a", at(0, 0)), Ok(()));
        }
        replays.sweep(at(121, 121));
        let remembered = replays.remembered();
        let left = (remembered.seen.len(), remembered.of_key.len(), remembered.order.len());
        assert_eq!((left, replays.count.get()), ((0, 0, 0), 0));
    }
}
