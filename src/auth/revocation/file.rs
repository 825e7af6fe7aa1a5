//! Follows `auth.revocations_file`: content is compared, as Kubernetes swaps a symlink and watches
//! miss it. A file that turns bad keeps the last good list.

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use prometheus::{Gauge, IntCounter};

use super::{List, Revocations};
use crate::{
    auth::digest::{Sha256, sha256},
    metrics::Metrics,
    regular_file::Content,
    revocation::file::{self, FileError},
};

/// The label of `secret_last_reload_success_timestamp_seconds`: the file is looked at as secrets are.
const LABEL: &str = "revocations";

/// The labels of `auth_revocation_reloads_total{outcome}`: of a changed list, and of an unusable file.
pub(super) const OUTCOMES: [&str; 2] = ["success", "failure"];

/// Follows the file.
pub(super) struct Follower {
    path: PathBuf,
    seen: Mutex<Seen>,
    successes: IntCounter,
    failures: IntCounter,
    last_success: Gauge,
}

#[derive(Default)]
struct Seen {
    /// What the list in use was read from.
    digest: Option<Sha256>,
    /// The last look found nothing usable; told once, not at each look.
    is_failing: bool,
}

impl Follower {
    pub(super) fn new(path: &Path, metrics: &Metrics) -> Self {
        let reloads = |outcome| metrics.auth.revocation_reloads.with_label_values(&[outcome]);
        let [successes, failures] = OUTCOMES.map(reloads);
        Self {
            path: path.to_owned(),
            seen: Mutex::default(),
            successes,
            failures,
            last_success: metrics.secret_last_reload_success.with_label_values(&[LABEL]),
        }
    }

    /// Looks at the file at the start.
    pub(super) fn open(&self, revocations: &Revocations) -> Result<List, FileError> {
        let read = file::read(&self.path, revocations.settings.max_revocations);
        self.note(read, revocations)
    }

    /// Looks at the file, and takes its list up when it has changed. Gives what is new by it.
    pub(super) async fn look(&self, revocations: &Revocations) -> Result<List, FileError> {
        let read = file::reread(&self.path, revocations.settings.max_revocations).await;
        self.note(read, revocations)
    }

    fn note(
        &self,
        read: Result<Content, FileError>,
        revocations: &Revocations,
    ) -> Result<List, FileError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = read.and_then(|bytes| self.take_up(&bytes, &mut seen, revocations));
        match &looked {
            Ok(_) => {
                seen.is_failing = false;
                let now = revocations.clock.now().as_duration().as_secs_f64();
                self.last_success.set(now);
            }
            Err(error) => {
                self.failures.inc();
                if !seen.is_failing {
                    tracing::warn!(%error, "failed to reload auth.revocations_file; keeping the \
                                            previous list");
                }
                seen.is_failing = true;
            }
        }
        looked
    }

    fn take_up(
        &self,
        bytes: &[u8],
        seen: &mut Seen,
        revocations: &Revocations,
    ) -> Result<List, FileError> {
        let settings = &revocations.settings;
        let digest = sha256(bytes);
        if seen.digest == Some(digest) {
            return Ok(List::default());
        }
        let is_known = |called: &str| settings.issuer_index(called).is_some();
        let entries = file::parse(bytes, settings.max_revocations, is_known)?;
        tracing::info!(entries = entries.len(), "auth.revocations_file reloaded");
        let added = revocations.replace(entries);
        seen.digest = Some(digest);
        self.successes.inc();
        Ok(added)
    }
}
