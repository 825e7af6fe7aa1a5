//! JWK sets.

#![no_main]

use juspay_bff::fuzzing::key_set;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| key_set(input));
