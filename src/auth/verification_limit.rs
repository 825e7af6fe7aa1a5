//! Limits concurrent signature checks, so that a flood of unknown tokens does not slow known
//! callers. Excess requests are rejected with 503.
//!
//! A check takes 30 to 300 µs on a worker's thread. Each worker runs a few checks, then handles all
//! other requests that are ready. A plain semaphore is not enough: each finished check admits the
//! next one, so the waiting checks of a worker would run back to back. A pool of threads would need
//! an owned copy of each token.

use std::{future::ready, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::AuthError;
use crate::concurrency::{Limit, Permit};

/// Checks that a worker runs before it handles other requests again. They delay these requests by
/// up to 1.2 ms (4 × 300 µs); `make forgeries` measures the delay. With fewer, new callers would
/// wait long for a worker that is busy with a thousand requests.
const CHECKS_PER_PASS: usize = 4;

thread_local! {
    /// One for each worker: the checks of other workers delay none of its requests.
    static CHECKS: Arc<Semaphore> = Arc::new(Semaphore::new(CHECKS_PER_PASS));
}

/// A limit on running and waiting signature checks.
pub(super) struct VerificationLimit(Limit);

/// Permits one signature check until dropped.
#[must_use = "dropped at once, it limits nothing"]
pub(super) struct VerificationPermit {
    _check: OwnedSemaphorePermit,
    _permit: Permit,
}

impl VerificationLimit {
    pub(super) const fn new(limit: Limit) -> Self {
        Self(limit)
    }

    /// Whether another check would be rejected.
    pub(super) fn is_exhausted(&self) -> bool {
        self.0.is_exhausted()
    }

    /// Waits until the check may run.
    pub(super) async fn acquire(&self) -> Result<VerificationPermit, AuthError> {
        let permit = self.0.try_acquire().ok_or(AuthError::Overloaded)?;
        let check = CHECKS.with(Arc::clone).acquire_owned().await;
        // Never an error: the semaphore is not closed.
        let check = check.map_err(|_| AuthError::Overloaded)?;
        yield_to_other_tasks().await;
        Ok(VerificationPermit { _check: check, _permit: permit })
    }
}

/// Lets the worker handle everything that is ready, by waiting for an empty task. tokio's
/// `yield_now` is ready at the second poll, and actix polls a new request's future twice in a row.
async fn yield_to_other_tasks() {
    drop(tokio::spawn(ready(())).await);
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, pin::pin, rc::Rc};

    use futures_util::{FutureExt, future::join_all};
    use prometheus::IntGauge;
    use tokio::task::{spawn_local, yield_now};

    use super::{super::testing::locally, *};

    fn limit(max: usize) -> VerificationLimit {
        VerificationLimit::new(Limit::new(&IntGauge::new("in", "in").unwrap(), max))
    }

    /// Takes all permits that allow a check to run.
    async fn running(limit: &VerificationLimit) -> Vec<VerificationPermit> {
        let running = join_all((0..CHECKS_PER_PASS).map(|_| limit.acquire())).await;
        running.into_iter().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn a_few_checks_run_between_other_requests() {
        locally(async {
            let limit = Rc::new(limit(100));
            let counts = Rc::new(RefCell::new(vec![0]));
            let other = spawn_local({
                let counts = Rc::clone(&counts);
                async move {
                    loop {
                        // Ready again when the worker has read from its connections.
                        yield_now().await;
                        counts.borrow_mut().push(0);
                    }
                }
            });
            let checks = (0..100).map(|_| {
                let (limit, counts) = (Rc::clone(&limit), Rc::clone(&counts));
                spawn_local(async move {
                    let _permit = limit.acquire().await.unwrap();
                    *counts.borrow_mut().last_mut().unwrap() += 1;
                })
            });
            assert!(join_all(checks).await.iter().all(Result::is_ok));
            other.abort();
            let counts = counts.borrow();
            assert!(counts.iter().all(|checks| *checks <= CHECKS_PER_PASS), "{counts:?}");
            let full = counts.iter().filter(|checks| **checks == CHECKS_PER_PASS).count();
            assert_eq!(full, 100 / CHECKS_PER_PASS, "busy workers make progress: {counts:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn excess_checks_are_rejected() {
        let limit = limit(CHECKS_PER_PASS + 1);
        let running = running(&limit).await;
        let mut waiting = pin!(limit.acquire());
        assert!(!limit.is_exhausted());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(limit.is_exhausted());
        assert!(matches!(limit.acquire().await, Err(AuthError::Overloaded)));
        drop(running);
        drop(waiting.await.unwrap());
        assert!(!limit.is_exhausted());
        assert!(limit.acquire().await.is_ok());
    }

    #[tokio::test]
    async fn cancelled_check_frees_its_permit() {
        let limit = limit(CHECKS_PER_PASS + 1);
        let _running = running(&limit).await;
        {
            let mut waiting = pin!(limit.acquire());
            assert!(waiting.as_mut().now_or_never().is_none());
            assert!(limit.is_exhausted());
        }
        let mut next = pin!(limit.acquire());
        assert!(next.as_mut().now_or_never().is_none());
    }

    #[tokio::test]
    async fn repeated_polls_do_not_skip_other_tasks() {
        let limit = limit(2);
        let mut check = pin!(limit.acquire());
        for _ in 0..3 {
            assert!(check.as_mut().now_or_never().is_none());
        }
        assert!(check.await.is_ok());
    }

    #[tokio::test]
    async fn every_waiting_check_runs() {
        let limit = limit(10);
        let all = join_all((0..10).map(|_| async { limit.acquire().await.is_ok() })).await;
        assert_eq!(all, [true; 10]);
    }
}
