//! Tells the connections of a listener that it has closed: idle ones end then (promise P8).

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Whether a listener has closed.
#[derive(Debug, Clone, Default)]
pub(super) struct Closing(watch::Sender<bool>);

/// A connection's view of it.
pub(super) struct Ending {
    closing: Closing,
    /// Made when it is first waited for.
    wait: Option<BoxFuture<'static, ()>>,
}

impl Closing {
    pub(super) fn begin(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) async fn begun(&self) {
        let mut closing = self.0.subscribe();
        // The sender is ours.
        drop(closing.wait_for(|has_begun| *has_begun).await);
    }

    pub(super) fn ending(&self) -> Ending {
        Ending { closing: self.clone(), wait: None }
    }
}

impl Ending {
    /// Completes when the listener has closed, at once after that.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.closing.has_begun() {
            return Poll::Ready(());
        }
        let closing = &self.closing;
        let wait = self.wait.get_or_insert_with(|| {
            let closing = closing.clone();
            Box::pin(async move { closing.begun().await })
        });
        Pin::new(wait).poll(context)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.closing.fmt(f)
    }
}
