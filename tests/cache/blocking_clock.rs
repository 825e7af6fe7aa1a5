//! A clock that runs code of the test when a lookup reads it.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use juspay_bff::{
    cache::CustomerCache,
    clock::{Clock, Moment, Monotonic, manual::ManualClock},
};

use super::world::{World, default_settings, limits};

/// A manual clock that runs code of the test when it is read.
pub(super) struct BlockingClock {
    clock: ManualClock,
    /// Run at the next reading of both clocks.
    at_moment: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Whether reading the wall clock alone panics.
    is_broken: Mutex<bool>,
}

impl BlockingClock {
    pub(super) fn new(world: &World) -> Arc<Self> {
        let clock = world.clock.clone();
        Arc::new(Self { clock, at_moment: Mutex::default(), is_broken: Mutex::default() })
    }

    pub(super) fn cache(self: &Arc<Self>, world: &World) -> CustomerCache {
        let metrics = Arc::clone(&world.metrics);
        let settings = default_settings();
        let limits = limits(&settings, &metrics);
        CustomerCache::new(&settings, &limits, None, Arc::<Self>::clone(self), metrics)
    }

    pub(super) fn block_at_moment(&self, at_moment: impl FnOnce() + Send + 'static) {
        *self.at_moment.lock().unwrap() = Some(Box::new(at_moment));
    }

    pub(super) fn set_broken(&self, is_broken: bool) {
        *self.is_broken.lock().unwrap() = is_broken;
    }
}

impl fmt::Debug for BlockingClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingClock")
    }
}

impl Clock for BlockingClock {
    fn now(&self) -> Timestamp {
        let is_broken = *self.is_broken.lock().unwrap();
        assert!(!is_broken, "on purpose");
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn moment(&self) -> Moment {
        let at_moment = self.at_moment.lock().unwrap().take();
        if let Some(run) = at_moment {
            run();
        }
        self.clock.moment()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(deadline)
    }
}
