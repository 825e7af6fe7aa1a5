//! Bytes of a connection; the first two say how they come.

#![no_main]

use juspay_bff::application::fuzzing::request_gate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| request_gate(input));
