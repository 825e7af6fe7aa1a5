//! Bytes of a connection; the first two say how they come.

#![no_main]

use juspay_bff::server::fuzzing::pipelining_guard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pipelining_guard(input));
