//! Timeouts in real time. Tests don't depend on real time; a timeout only turns a hang into a
//! failure.

use std::time::Duration;

/// Far longer than any step takes, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The output of `future`, which must complete.
pub async fn with_timeout<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(TIMEOUT, future).await;
    output.unwrap_or_else(|_| panic!("in vain for {TIMEOUT:?}: {what}"))
}

/// Waits for an effect of the service that no response reports.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    with_timeout(what, waiting).await;
}
