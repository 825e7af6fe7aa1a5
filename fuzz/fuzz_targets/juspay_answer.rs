//! Bodies of Juspay's responses, optionally after a `Date: …` line.

#![no_main]

use juspay_bff::fuzzing::juspay_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| juspay_answer(input));
