//! Whose signature is checked next (design decision 12). A check takes a core some 50 µs: a flood of
//! unknown tokens would hold up everybody. So checks take turns, with room for known callers
//! between any two of them, and what comes when too many wait is turned away.

use std::future::ready;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::AuthError;

/// Tokens that wait for their check at most: some 50 ms of work for one core. A crowd of phones that
/// comes at once is no flood: it has room here.
pub(super) const MOST_WAITING: usize = 1000;

/// Checks that take turns.
pub(super) struct Turns {
    /// As many checks at a time as there are cores.
    checks: Semaphore,
    /// The places of those who wait, and of those whose turn it is.
    places: Semaphore,
}

/// It's this token's turn, until dropped.
#[must_use = "dropped at once, it lets the next one in"]
pub(super) struct Turn<'a> {
    _check: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Turns {
    pub(super) fn new(cores: usize, most_waiting: usize) -> Self {
        let places = cores.saturating_add(most_waiting);
        Self { checks: Semaphore::new(cores), places: Semaphore::new(places) }
    }

    /// Waits for a turn. The worker does what else there is to do before it comes.
    pub(super) async fn take(&self) -> Result<Turn<'_>, AuthError> {
        let place = self.places.try_acquire().map_err(|_| AuthError::Overloaded)?;
        // Never closed.
        let check = self.checks.acquire().await.map_err(|_| AuthError::Overloaded)?;
        step_aside().await;
        Ok(Turn { _check: check, _place: place })
    }
}

/// Lets the worker do what else there is to do, by waiting for a task that does nothing. tokio's
/// `yield_now` wouldn't: actix polls a request's future twice in a row, and it is over at the second
/// poll, whatever else is ready.
async fn step_aside() {
    drop(tokio::spawn(ready(())).await);
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn what_comes_when_too_many_wait_is_turned_away() {
        let turns = Turns::new(1, 1);
        let first = turns.take().await.unwrap();
        let mut second = pin!(turns.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(matches!(turns.take().await, Err(AuthError::Overloaded)));
        drop(first);
        drop(second.await.unwrap());
        assert!(turns.take().await.is_ok());
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_place_to_another() {
        let turns = Turns::new(1, 1);
        let _first = turns.take().await.unwrap();
        {
            let mut second = pin!(turns.take());
            assert!(second.as_mut().now_or_never().is_none());
        }
        let mut third = pin!(turns.take());
        assert!(third.as_mut().now_or_never().is_none());
    }

    #[tokio::test]
    async fn being_polled_again_is_no_turn() {
        let turns = Turns::new(1, 1);
        let mut first = pin!(turns.take());
        for _ in 0..3 {
            assert!(first.as_mut().now_or_never().is_none());
        }
        assert!(first.await.is_ok());
    }

    #[tokio::test]
    async fn each_gets_a_turn() {
        let turns = Turns::new(2, 8);
        let all = join_all((0..10).map(|_| async { turns.take().await.is_ok() })).await;
        assert_eq!(all, [true; 10]);
    }
}
