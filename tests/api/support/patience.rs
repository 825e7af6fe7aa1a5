//! Real time, of which tests need none: it only turns a hang into a failure.

use std::time::Duration;

/// Far longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// What comes of `future`, which must end.
pub async fn within_reason<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("in vain for {PATIENCE:?}: {what}"))
}

/// Waits for what the service does behind its answers.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    within_reason(what, waiting).await;
}
