//! When responses close their connections: during the shutdown, and when most of the allowed connections
//! are open, so that others can be accepted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use prometheus::IntGauge;

use crate::metrics::Metrics;

/// Set when the shutdown begins. From then on, responses close their connections.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// Begins the shutdown.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the open connections.
#[derive(Debug, Clone)]
pub struct Connections {
    /// `http_connections`, which is also the count.
    open: IntGauge,
    /// Three quarters of the maximum.
    many: i64,
}

impl Connections {
    /// The connections that `metrics` counts, at most `max`.
    #[must_use]
    pub fn new(metrics: &Metrics, max: usize) -> Self {
        let many = max.saturating_sub(max.div_ceil(4)).max(1);
        Self {
            open: metrics.http.connections.clone(),
            many: i64::try_from(many).unwrap_or(i64::MAX),
        }
    }

    /// Whether responses should close their connections, so that others can be accepted.
    pub(crate) fn are_many(&self) -> bool {
        self.open.get() > self.many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_is_more_than_three_quarters() {
        for (max, many) in [(1, 2), (2, 2), (4, 4), (100, 76)] {
            let metrics = Metrics::new("", "").unwrap();
            let connections = Connections::new(&metrics, max);
            metrics.http.connections.set(many - 1);
            assert!(!connections.are_many(), "{max}");
            metrics.http.connections.set(many);
            assert!(connections.are_many(), "{max}");
        }
    }
}
