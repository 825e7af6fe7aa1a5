//! `Authorization` headers, one per line, or the two JSON texts of a token, one per line.

#![no_main]

use juspay_bff::fuzzing::bearer_token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| bearer_token(input));
