//! Long work at a walking pace.

use std::{sync::Arc, time::Duration};

use super::{Clock, Moment};

/// Steps between two rests: some 100 µs, which whoever shares the core has to wait.
const PORTION: u32 = 40;

/// A rest. So there are some 20,000 steps a second, which take a few hundredths of a core.
const REST: Duration = Duration::from_millis(2);

/// For work that looks at everything in memory: it rests after each portion, so that it doesn't hold
/// up who shares the core.
#[derive(Debug)]
pub struct Pace {
    clock: Arc<dyn Clock>,
    left: u32,
}

impl Pace {
    /// By that clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, left: PORTION }
    }

    /// To be waited for before each step: gives its moment.
    pub async fn step(&mut self) -> Moment {
        if self.left == 0 {
            self.clock.sleep_until(self.clock.monotonic().plus(REST)).await;
            self.left = PORTION;
        }
        self.left = self.left.saturating_sub(1);
        self.clock.moment()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::manual::ManualClock;

    #[tokio::test]
    async fn it_rests_after_each_portion() {
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let mut pace = Pace::new(Arc::new(clock.clone()));
        for portion in [PORTION, PORTION - 1, PORTION - 1] {
            for _ in 0..portion {
                assert_eq!(pace.step().now_or_never(), Some(clock.moment()));
            }
            let mut rested = pin!(pace.step());
            assert_eq!(rested.as_mut().now_or_never(), None);
            clock.advance(REST);
            assert_eq!(rested.now_or_never(), Some(clock.moment()), "the first of the next one");
        }
    }
}
