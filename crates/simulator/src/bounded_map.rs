//! A map that drops its oldest entry when it is full.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// At most `capacity` entries, in order of insertion.
#[derive(Debug)]
pub(super) struct BoundedMap<K, V> {
    capacity: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V> BoundedMap<K, V> {
    /// An empty map with this capacity.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// The value of `key`, inserted if missing. Also returns the entry that was dropped.
    pub(super) fn get_or_insert_with(
        &mut self,
        key: &K,
        make: impl FnOnce() -> V,
    ) -> (&mut V, Option<V>) {
        let mut forgotten = None;
        if !self.entries.contains_key(key) {
            if self.entries.len() >= self.capacity {
                forgotten = self.order.pop_front().and_then(|oldest| self.entries.remove(&oldest));
            }
            self.order.push_back(key.clone());
        }
        (self.entries.entry(key.clone()).or_insert_with(make), forgotten)
    }

    /// The value of `key`.
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// The mutable value of `key`.
    pub(super) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_map_drops_the_oldest_entry() {
        let mut map = BoundedMap::new(2);
        assert_eq!(map.get_or_insert_with(&"a", || 1), (&mut 1, None));
        assert_eq!(map.get_or_insert_with(&"b", || 2), (&mut 2, None));
        assert_eq!(map.get_or_insert_with(&"a", || 9), (&mut 1, None), "it is there");
        assert_eq!(map.get_or_insert_with(&"c", || 3), (&mut 3, Some(1)));
        assert_eq!((map.get("a"), map.get("b"), map.iter().count()), (None, Some(&2), 2));
        *map.get_mut("b").unwrap() = 4;
        assert_eq!(map.get("b"), Some(&4));
        map.clear();
        assert_eq!(map.iter().count(), 0);
        assert_eq!(map.get_or_insert_with(&"d", || 5), (&mut 5, None));
    }
}
