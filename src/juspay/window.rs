//! Counts over a time that slides in steps, for the breaker and the retry budget. Pure.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Monotonic;

/// Parts that a window slides by: it forgets a tenth at a time.
const SLICES: u32 = 10;

/// What has happened in a time that ends now.
#[derive(Debug)]
pub(super) struct Window {
    slice: Duration,
    /// The oldest first; each with the moment at which it began.
    slices: VecDeque<(Monotonic, Counts)>,
}

/// What has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) all: u32,
    pub(super) marked: u32,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let slice = length.checked_div(SLICES).unwrap_or_default();
        Self { slice, slices: VecDeque::new() }
    }

    /// Counts one thing, marked or not.
    pub(super) fn count(&mut self, now: Monotonic, is_marked: bool) {
        self.forget(now);
        let is_current =
            self.slices.back().is_some_and(|(start, _)| now.since(*start) < self.slice);
        if !is_current {
            self.slices.push_back((now, Counts::default()));
        }
        if let Some((_, counts)) = self.slices.back_mut() {
            counts.all = counts.all.saturating_add(1);
            counts.marked = counts.marked.saturating_add(u32::from(is_marked));
        }
    }

    /// What the window holds.
    pub(super) fn total(&mut self, now: Monotonic) -> Counts {
        self.forget(now);
        self.slices.iter().fold(Counts::default(), |sum, (_, counts)| Counts {
            all: sum.all.saturating_add(counts.all),
            marked: sum.marked.saturating_add(counts.marked),
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slices.clear();
    }

    fn forget(&mut self, now: Monotonic) {
        let length = self.slice.saturating_mul(SLICES);
        while self.slices.front().is_some_and(|(start, _)| now.since(*start) >= length) {
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(millis))
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_a_tenth_at_a_time() {
        let mut window = Window::new(Duration::from_secs(10));
        window.count(at(500), true);
        window.count(at(1499), false);
        window.count(at(1500), false);
        assert_eq!(window.total(at(10_499)), Counts { all: 3, marked: 1 });
        assert_eq!(window.total(at(10_500)), Counts { all: 1, marked: 0 });
        assert_eq!(window.total(at(11_500)), Counts::default());
    }

    #[test]
    fn however_much_is_counted_the_window_stays_small() {
        let mut window = Window::new(Duration::from_secs(10));
        for millis in 0..100_000 {
            window.count(at(millis), false);
            assert!(window.slices.len() <= 11, "{}", window.slices.len());
        }
        assert_eq!(window.total(at(99_999)).all, 10_000);
        window.clear();
        assert_eq!(window.total(at(99_999)), Counts::default());
    }
}
