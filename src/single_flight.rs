//! Single flight: at most one running computation per key, whose outcome all requests share.
//!
//! The code is in [`table`], a separate module, so that `model` can compile it a second time with
//! shuttle's mutex and test many orders in which threads lock it.

mod table;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

// `table` imports its mutex from here.
use std::sync::{Mutex, MutexGuard};

pub(crate) use self::table::{Join, Leader, SingleFlight, Waiter};
