//! Revocation files.

#![no_main]

use juspay_bff::fuzzing::revocations_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| revocations_file(input));
