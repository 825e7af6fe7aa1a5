//! What a worker finds by itself for a moment, bounded in time and number.

use std::{collections::HashMap, hash::Hash, time::Duration};

use crate::clock::Monotonic;

/// How long it is found at most. Then the shared caches are asked again, which see by it that the entry
/// is in use.
const FOR: Duration = Duration::from_secs(1);

/// The shortest part of it. What was looked up together, in a crowd, isn't to be so again and again.
const SHORTEST: f64 = 0.75;

/// Most that are kept: as many are looked up again in a few milliseconds.
const MOST: usize = 32_768;

/// Between two looks for those that aren't found any more.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What was looked up lately.
pub(super) struct Remembered<K, V> {
    found: HashMap<K, (Monotonic, V)>,
    next_sweep: Option<Monotonic>,
}

impl<K: Eq + Hash, V> Remembered<K, V> {
    pub(super) fn get(&self, key: &K, now: Monotonic) -> Option<&V> {
        let (until, value) = self.found.get(key)?;
        (now < *until).then_some(value)
    }

    pub(super) fn put(&mut self, key: K, value: V, now: Monotonic) {
        if self.next_sweep.is_none_or(|next| next <= now) {
            self.found.retain(|_, (until, _)| now < *until);
            self.next_sweep = Some(now.plus(SWEEP_EVERY));
        }
        if self.found.len() >= MOST {
            self.found.clear();
        }
        let until = now.plus(FOR.mul_f64(rand::random_range(SHORTEST..=1.0)));
        self.found.insert(key, (until, value));
    }
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { found: HashMap::new(), next_sweep: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(milliseconds))
    }

    #[test]
    fn it_is_found_for_a_second_at_most() {
        let mut remembered = Remembered::default();
        remembered.put('a', 1, at(0));
        assert_eq!(remembered.get(&'a', at(749)), Some(&1));
        assert_eq!(remembered.get(&'a', at(1000)), None);
        assert_eq!(remembered.get(&'b', at(0)), None);
        remembered.put('a', 2, at(1000));
        assert_eq!(remembered.get(&'a', at(1749)), Some(&2));
    }

    #[test]
    fn what_was_looked_up_together_is_not_looked_up_again_together() {
        let mut remembered = Remembered::default();
        for number in 0..1000 {
            remembered.put(number, (), at(0));
        }
        let found = |time| (0..1000).filter(|n| remembered.get(n, at(time)).is_some()).count();
        assert_eq!([749, 1000].map(found), [1000, 0]);
        assert!((300..700).contains(&found(875)), "half of them after seven eighths");
    }

    #[test]
    fn what_is_not_found_any_more_leaves_memory_at_the_next_sweep() {
        let mut remembered = Remembered::default();
        remembered.put('a', (), at(0));
        remembered.put('b', (), at(4000));
        assert_eq!(remembered.found.len(), 2, "none is due yet");
        remembered.put('c', (), at(4999));
        assert_eq!(remembered.found.len(), 3);
        remembered.put('d', (), at(5000));
        assert_eq!(remembered.found.len(), 2, "the second of b is over at that very moment");
        remembered.put('e', (), at(9999));
        assert_eq!(remembered.found.len(), 3, "the next is five seconds later");
        remembered.put('f', (), at(10_000));
        assert_eq!(remembered.found.len(), 2);
    }

    #[test]
    fn it_never_holds_more_than_most() {
        let mut remembered = Remembered::default();
        for number in 0..MOST {
            remembered.put(number, (), at(0));
        }
        assert_eq!(remembered.found.len(), MOST);
        remembered.put(MOST, (), at(0));
        assert_eq!(remembered.found.len(), 1);
        assert!(remembered.get(&MOST, at(0)).is_some());
    }
}
