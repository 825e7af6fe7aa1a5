//! Limits idle connections: when most of the allowed ones are open, responses close theirs.

use prometheus::IntGauge;

use crate::metrics::Metrics;

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
    pub(super) fn are_many(&self) -> bool {
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
