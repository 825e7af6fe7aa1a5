//! Introspection responses of an issuer.

#![no_main]

use juspay_bff::fuzzing::introspection_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| introspection_answer(input));
