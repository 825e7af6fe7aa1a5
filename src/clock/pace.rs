//! Limits the CPU use of work that iterates over everything in memory.

use std::{sync::Arc, time::Duration};

use super::{Clock, Moment};

/// Steps between two pauses. They block other tasks on the same core for about 100 µs.
const PORTION: u32 = 40;

/// The shortest pause: 20,000 steps per second, which take about a tenth of a core with cold
/// caches.
const SHORTEST: Duration = Duration::from_millis(2);

/// The longest pause: 2,000 steps per second, with negligible CPU use.
const LONGEST: Duration = Duration::from_millis(20);

/// Target duration of background work. From 30,000 to 300,000 steps, the pause shrinks from the
/// longest to the shortest.
const LEISURE: Duration = Duration::from_secs(15);

/// Pauses long work after each batch of steps, so that it doesn't block other tasks on the same
/// core.
#[derive(Debug)]
pub struct Pace {
    clock: Arc<dyn Clock>,
    left: u32,
    rest: Duration,
    /// How long the work should take at least.
    time: Duration,
}

impl Pace {
    /// For work whose caller waits for it.
    #[must_use]
    pub fn brisk(clock: Arc<dyn Clock>) -> Self {
        Self { clock, left: PORTION, rest: SHORTEST, time: Duration::ZERO }
    }

    /// For periodic background work.
    #[must_use]
    pub fn leisurely(clock: Arc<dyn Clock>) -> Self {
        Self { time: LEISURE, ..Self::brisk(clock) }
    }

    /// Starts work of about this many steps.
    pub fn begin(&mut self, steps: u64) {
        let portions = u32::try_from(steps).unwrap_or(u32::MAX).checked_div(PORTION);
        let rest = portions.and_then(|portions| self.time.checked_div(portions));
        self.rest = rest.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    }

    /// Pauses if the batch is complete. Call it before each step; it returns the time of the step.
    pub async fn step(&mut self) -> Moment {
        if self.left == 0 {
            self.clock.sleep_until(self.clock.monotonic().plus(self.rest)).await;
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

    const START: &str = "2026-01-01T00:00:00Z";

    #[tokio::test]
    async fn it_rests_after_each_portion() {
        let clock = ManualClock::at(START);
        let mut pace = Pace::brisk(Arc::new(clock.clone()));
        for portion in [PORTION, PORTION - 1, PORTION - 1] {
            for _ in 0..portion {
                assert_eq!(pace.step().now_or_never(), Some(clock.moment()));
            }
            let mut rested = pin!(pace.step());
            assert_eq!(rested.as_mut().now_or_never(), None);
            clock.advance(SHORTEST);
            assert_eq!(rested.now_or_never(), Some(clock.moment()), "the first of the next one");
        }
    }

    #[test]
    fn work_at_leisure_rests_for_longer_the_less_there_is_to_do() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
        let (mut brisk, mut leisurely) =
            (Pace::brisk(Arc::clone(&clock)), Pace::leisurely(Arc::clone(&clock)));
        for (steps, rest) in [
            (0, LONGEST),
            (39, LONGEST),
            (40, LONGEST),
            (30_000, LONGEST),
            (60_000, LONGEST / 2),
            (300_000, SHORTEST),
            (u64::MAX, SHORTEST),
        ] {
            leisurely.begin(steps);
            assert_eq!(leisurely.rest, rest, "{steps}");
        }
        for steps in [1000, 60_000, u64::MAX] {
            brisk.begin(steps);
            assert_eq!(brisk.rest, SHORTEST, "{steps}");
        }
    }
}
