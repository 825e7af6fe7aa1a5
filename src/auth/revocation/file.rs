//! Follows `auth.revocations_file`. A file that turns bad keeps the last good list.

#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus::{Gauge, IntCounter};

use crate::{
    clock::Clock,
    metrics::Metrics,
    revocation::{
        Entry,
        file::{self, FileError, RevocationsFile},
    },
    settings,
};

/// The label of `secret_last_reload_success_timestamp_seconds`: the file is polled as secrets are.
const LABEL: &str = "revocations";

/// The labels of `auth_revocation_reloads_total{outcome}`: of a changed list, and of an unusable file.
pub(super) const OUTCOMES: [&str; 2] = ["success", "failure"];

/// The file, and what is counted and logged about it.
pub(super) struct WatchedRevocations {
    file: RevocationsFile,
    /// Whether the last reload failed. Only the first failure is logged.
    is_failing: AtomicBool,
    successes: IntCounter,
    failures: IntCounter,
    last_success: Gauge,
    clock: Arc<dyn Clock>,
}

impl WatchedRevocations {
    /// Reads the file at the start.
    pub(super) fn open(
        path: &Path,
        settings: &settings::Auth,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<(Self, Vec<Entry>), FileError> {
        let reloads = |outcome| metrics.auth.revocation_reloads.with_label_values(&[outcome]);
        let [successes, failures] = OUTCOMES.map(reloads);
        let (most, settings) = (settings.max_revocations, settings.clone());
        let is_known = move |called: &str| settings.issuer_index(called).is_some();
        let (file, entries) = file::open(path, most, is_known)?;
        let watched = Self {
            file,
            is_failing: AtomicBool::default(),
            successes,
            failures,
            last_success: metrics.secret_last_reload_success.with_label_values(&[LABEL]),
            clock: Arc::clone(clock),
        };
        watched.note(Some(&entries));
        Ok((watched, entries))
    }

    /// Reads the file again. Returns its entries if it has changed and can be used.
    pub(super) async fn reload(&self) -> Option<Vec<Entry>> {
        match self.file.reload().await {
            Ok(entries) => {
                self.note(entries.as_deref());
                entries
            }
            Err(error) => {
                self.failures.inc();
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "failed to reload auth.revocations_file; keeping the \
                                            previous list");
                }
                None
            }
        }
    }

    /// Notes that the file can be used. `entries` is `None` if it hasn't changed.
    fn note(&self, entries: Option<&[Entry]>) {
        if let Some(entries) = entries {
            tracing::info!(entries = entries.len(), "auth.revocations_file reloaded");
            self.successes.inc();
        }
        self.is_failing.store(false, Ordering::Relaxed);
        self.last_success.set(self.clock.now().as_duration().as_secs_f64());
    }
}
