//! Single flight: at most one running computation per key, whose outcome all requests share.
//!
//! [`table`] has the code. It is a module of its own so that `model` can compile it a second time with
//! shuttle's mutex and try every order in which threads can take the lock.

mod table;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

// The table takes its mutex from here.
use std::sync::{Mutex, MutexGuard};

pub(crate) use self::table::{Join, Leader, SingleFlight, Waiter};
