//! Limits the CPU use of work that iterates over everything in memory.

use std::{sync::Arc, time::Duration};

use super::{Clock, Moment};

/// Steps between two pauses. They block other tasks on the same core for about 100 µs.
const BATCH: u32 = 40;

/// The shortest pause: 20,000 steps per second, which take about a tenth of a core with cold
/// caches.
const MIN_PAUSE: Duration = Duration::from_millis(2);

/// The longest pause: 2,000 steps per second, with negligible CPU use.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Target duration of background work. From 30,000 to 300,000 steps, the pause shrinks from the
/// longest to the shortest.
const BACKGROUND_DURATION: Duration = Duration::from_secs(15);

/// Pauses long work after each batch of steps, so that it doesn't block other tasks on the same
/// core.
#[derive(Debug)]
pub struct Throttle {
    clock: Arc<dyn Clock>,
    steps_left: u32,
    pause: Duration,
}

impl Throttle {
    /// For periodic background work.
    #[must_use]
    pub fn background(clock: Arc<dyn Clock>) -> Self {
        Self { clock, steps_left: BATCH, pause: MIN_PAUSE }
    }

    /// Starts work of about this many steps.
    pub fn start(&mut self, steps: u64) {
        let batches = u32::try_from(steps).unwrap_or(u32::MAX).checked_div(BATCH);
        let pause = batches.and_then(|batches| BACKGROUND_DURATION.checked_div(batches));
        self.pause = pause.unwrap_or(MAX_PAUSE).clamp(MIN_PAUSE, MAX_PAUSE);
    }

    /// Pauses if the batch is complete. Call it before each step; it returns the time of the step.
    pub async fn tick(&mut self) -> Moment {
        if self.steps_left == 0 {
            self.clock.sleep_until(self.clock.monotonic().plus(self.pause)).await;
            self.steps_left = BATCH;
        }
        self.steps_left -= 1;
        self.clock.moment()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::manual::ManualClock;

    const START: &str = "2026-01-01T00:00:00Z";

    #[tokio::test]
    async fn pauses_after_each_batch() {
        let clock = ManualClock::at(START);
        let mut pace = Throttle::background(Arc::new(clock.clone()));
        for portion in [BATCH, BATCH - 1, BATCH - 1] {
            for _ in 0..portion {
                assert_eq!(pace.tick().now_or_never(), Some(clock.moment()));
            }
            let mut rested = pin!(pace.tick());
            assert_eq!(rested.as_mut().now_or_never(), None);
            clock.advance(MIN_PAUSE);
            assert_eq!(rested.now_or_never(), Some(clock.moment()), "the first of the next one");
        }
    }

    #[test]
    fn background_work_pauses_longer_for_fewer_steps() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
        let mut background = Throttle::background(clock);
        for (steps, pause) in [
            (0, MAX_PAUSE),
            (39, MAX_PAUSE),
            (40, MAX_PAUSE),
            (30_000, MAX_PAUSE),
            (60_000, MAX_PAUSE / 2),
            (300_000, MIN_PAUSE),
            (u64::MAX, MIN_PAUSE),
        ] {
            background.start(steps);
            assert_eq!(background.pause, pause, "{steps}");
        }
    }
}
