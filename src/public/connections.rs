//! Limits idle connections: when most of the allowed ones are open, responses close theirs.

use prometheus::IntGauge;

use crate::metrics::Metrics;

/// The open connections.
#[derive(Debug, Clone)]
pub struct Connections {
    /// The count and the metric are one: `http_connections`.
    open: IntGauge,
    /// Three quarters of all that there may be.
    many: i64,
}

impl Connections {
    /// Those that `metrics` counts, at most `most`.
    #[must_use]
    pub fn new(metrics: &Metrics, most: usize) -> Self {
        let many = most.saturating_sub(most.div_ceil(4)).max(1);
        Self {
            open: metrics.http.connections.clone(),
            many: i64::try_from(many).unwrap_or(i64::MAX),
        }
    }

    /// Whether answers should close theirs, so that others find a place.
    pub(super) fn are_many(&self) -> bool {
        self.open.get() > self.many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_is_more_than_three_quarters() {
        for (most, many) in [(1, 2), (2, 2), (4, 4), (100, 76)] {
            let metrics = Metrics::new("", "").unwrap();
            let connections = Connections::new(&metrics, most);
            metrics.http.connections.set(many - 1);
            assert!(!connections.are_many(), "{most}");
            metrics.http.connections.set(many);
            assert!(connections.are_many(), "{most}");
        }
    }
}
