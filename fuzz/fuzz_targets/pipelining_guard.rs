//! Bytes of a connection. The first two determine how they are split into reads.

#![no_main]

use juspay_bff::fuzzing::pipelining_guard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pipelining_guard(input));
