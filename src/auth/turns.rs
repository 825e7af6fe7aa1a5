//! Whose signature is checked next. A check takes a core some 50 µs: a flood of
//! unknown tokens would hold up everybody. So checks take turns, a turn comes when the worker has
//! hardly anything else to do, and what comes when too many wait is turned away. New callers aren't
//! forgotten over that: how long a worker is busy also tells how many checks it owes them.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::AuthError;
use crate::{
    clock::Clock,
    concurrency::{ConcurrencyLimit, Permit},
};

/// A worker that takes so long for all else that is to be done has a crowd to answer: of hits and
/// refusals, it does some twenty in that time.
const BUSY: Duration = Duration::from_micros(200);

/// Longest time that a check gives way to others: new callers, too, want to be let in. Some 500 a
/// second and core are, however busy it is: a worker that comes back later owes the others' turns.
const PATIENCE: Duration = Duration::from_millis(2);

/// Checks that take turns.
pub(super) struct Turns {
    /// As many checks at a time as there are cores, and those that are owed.
    checks: Semaphore,
    /// Checks that give way no more: their time has come while another one did.
    owed: AtomicUsize,
    /// Those who wait, and those whose turn it is.
    limit: ConcurrencyLimit,
    clock: Arc<dyn Clock>,
}

/// It's this token's turn, until dropped.
#[must_use = "dropped at once, it lets the next one in"]
pub(super) struct Turn<'a> {
    /// None for a check that was owed.
    _check: Option<SemaphorePermit<'a>>,
    _permit: Permit,
}

impl Turns {
    pub(super) fn new(cores: usize, limit: ConcurrencyLimit, clock: Arc<dyn Clock>) -> Self {
        Self { checks: Semaphore::new(cores), owed: AtomicUsize::new(0), limit, clock }
    }

    /// Whether who comes now would be turned away.
    pub(super) fn are_all_taken(&self) -> bool {
        self.limit.is_exhausted()
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> Result<Turn<'_>, AuthError> {
        let permit = self.limit.try_acquire().ok_or(AuthError::Overloaded)?;
        // Never closed.
        let check = self.checks.acquire().await.map_err(|_| AuthError::Overloaded)?;
        if self.is_owed() {
            check.forget();
            return Ok(Turn { _check: None, _permit: permit });
        }
        let gave_way = self.give_way().await;
        self.owe(gave_way);
        Ok(Turn { _check: Some(check), _permit: permit })
    }

    /// Lets the worker do all else that is to be done: once, and again while that is much. Gives how
    /// long that took.
    async fn give_way(&self) -> Duration {
        let start = self.clock.monotonic();
        let mut now = start;
        loop {
            let began = now;
            step_aside().await;
            now = self.clock.monotonic();
            if now.since(began) < BUSY || now.since(start) >= PATIENCE {
                return now.since(start);
            }
        }
    }

    /// One has given way for so long: a turn is due for each `PATIENCE` of it. Those who wait take
    /// theirs all at once, as each hand-over from one to the next would take as long again.
    fn owe(&self, gave_way: Duration) {
        let due = gave_way.as_nanos().checked_div(PATIENCE.as_nanos()).unwrap_or_default();
        let due = usize::try_from(due).unwrap_or(usize::MAX).saturating_sub(1);
        let owed = due.min(self.limit.in_use().saturating_sub(1));
        self.owed.fetch_add(owed, Ordering::Relaxed);
        self.checks.add_permits(owed);
    }

    /// Whether a check is owed; it is this one, then.
    fn is_owed(&self) -> bool {
        let one_less = |owed: usize| owed.checked_sub(1);
        self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
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
    use std::{
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures_util::{
        FutureExt,
        future::{BoxFuture, join_all},
    };
    use jiff::Timestamp;
    use prometheus::IntGauge;

    use super::*;
    use crate::clock::{Monotonic, SystemClock};

    fn turns(cores: usize, most: usize) -> Turns {
        turns_by(SystemClock::shared(), cores, most)
    }

    fn turns_by(clock: Arc<dyn Clock>, cores: usize, most: usize) -> Turns {
        Turns::new(cores, ConcurrencyLimit::new(IntGauge::new("in", "in").unwrap(), most), clock)
    }

    /// A clock that goes on by the same time whenever it is read.
    #[derive(Debug, Default)]
    struct Stepping {
        step: Duration,
        readings: AtomicU32,
    }

    impl Clock for Stepping {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn monotonic(&self) -> Monotonic {
            Monotonic::new(self.step * self.readings.fetch_add(1, Ordering::Relaxed))
        }

        fn sleep_until(&self, _: Monotonic) -> BoxFuture<'static, ()> {
            Box::pin(ready(()))
        }
    }

    #[tokio::test]
    async fn a_busy_worker_does_all_else_first_but_not_for_ever() {
        for (micros, readings) in [(0, 2), (199, 2), (200, 11), (500, 5), (3000, 2)] {
            let clock =
                Arc::new(Stepping { step: Duration::from_micros(micros), ..<_>::default() });
            let turns = turns_by(Arc::<Stepping>::clone(&clock), 1, 1);
            assert!(turns.take().await.is_ok());
            assert_eq!(clock.readings.load(Ordering::Relaxed), readings, "{micros} µs a pass");
        }
    }

    #[tokio::test]
    async fn while_a_worker_is_busy_for_long_a_turn_comes_due_each_two_milliseconds() {
        let step = Duration::from_millis(7);
        let turns = turns_by(Arc::new(Stepping { step, ..<_>::default() }), 1, 9);
        let mut first = pin!(turns.take());
        assert!(first.as_mut().now_or_never().is_none());
        let mut others: Vec<_> = (0..4).map(|_| Box::pin(turns.take())).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        let first = first.await.unwrap();
        // Three were due in 7 ms, one of them was the first one's.
        let taken: Vec<_> = others.iter_mut().filter_map(FutureExt::now_or_never).collect();
        assert_eq!(taken.len(), 2);
        drop(taken);
        let mut rest = others.split_off(2);
        assert!(rest.iter_mut().all(|other| other.now_or_never().is_none()), "none is owed more");
        drop(first);
        assert!(rest.remove(0).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_is_owed_a_turn_who_does_not_wait() {
        let step = Duration::from_millis(100);
        let turns = turns_by(Arc::new(Stepping { step, ..<_>::default() }), 1, 9);
        let first = turns.take().await.unwrap();
        assert!(pin!(turns.take()).now_or_never().is_none());
        drop(first);
        assert!(pin!(turns.take()).now_or_never().is_none(), "it gives way");
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
