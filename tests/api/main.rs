//! Tests of the service as its users meet it: over sockets, against the simulator. One file a
//! promise or a theme; the promises of the contract are named by their numbers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::unchecked_time_subtraction,
    unreachable_pub,
    reason = "a test that panics fails, as it should"
)]

mod customer;
mod secrets;
mod shutdown;
mod support;
