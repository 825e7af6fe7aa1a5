//! Tests of the service as its users meet it: over sockets, against the simulator. One file a
//! promise or a theme; the promises of the contract are named by their numbers.

#![expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
#![expect(missing_docs, reason = "a test's name is its documentation")]

mod support;
