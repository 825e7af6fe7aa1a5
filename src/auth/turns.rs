//! Whose signature is checked next (design decision 12). A check takes a core some 50 µs: a flood of
//! unknown tokens would hold up everybody. So checks take turns, with room for known callers
//! between any two of them, and what comes when too many wait is turned away.

use std::future::ready;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::AuthError;
use crate::waiting::{Place, WaitingRoom};

/// Checks that take turns.
pub(super) struct Turns {
    /// As many checks at a time as there are cores.
    checks: Semaphore,
    /// Those who wait, and those whose turn it is.
    room: WaitingRoom,
}

/// It's this token's turn, until dropped.
#[must_use = "dropped at once, it lets the next one in"]
pub(super) struct Turn<'a> {
    _check: SemaphorePermit<'a>,
    _place: Place,
}

impl Turns {
    pub(super) fn new(cores: usize, room: WaitingRoom) -> Self {
        Self { checks: Semaphore::new(cores), room }
    }

    /// Whether who comes now would be turned away.
    pub(super) fn are_all_taken(&self) -> bool {
        self.room.is_full()
    }

    /// Waits for a turn. The worker does what else there is to do before it comes.
    pub(super) async fn take(&self) -> Result<Turn<'_>, AuthError> {
        let place = self.room.enter().ok_or(AuthError::Overloaded)?;
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
    use prometheus::IntGauge;

    use super::*;

    fn turns(cores: usize, most: usize) -> Turns {
        Turns::new(cores, WaitingRoom::new(IntGauge::new("in", "in").unwrap(), most))
    }

    #[tokio::test]
    async fn what_comes_when_too_many_wait_is_turned_away() {
        let turns = self::turns(1, 2);
        let first = turns.take().await.unwrap();
        let mut second = pin!(turns.take());
        assert!(!turns.are_all_taken());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(turns.are_all_taken());
        assert!(matches!(turns.take().await, Err(AuthError::Overloaded)));
        drop(first);
        drop(second.await.unwrap());
        assert!(!turns.are_all_taken());
        assert!(turns.take().await.is_ok());
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_place_to_another() {
        let turns = self::turns(1, 2);
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
        let turns = self::turns(1, 2);
        let mut first = pin!(turns.take());
        for _ in 0..3 {
            assert!(first.as_mut().now_or_never().is_none());
        }
        assert!(first.await.is_ok());
    }

    #[tokio::test]
    async fn each_gets_a_turn() {
        let turns = self::turns(2, 10);
        let all = join_all((0..10).map(|_| async { turns.take().await.is_ok() })).await;
        assert_eq!(all, [true; 10]);
    }
}
