//! Bodies of Juspay's answers, with or without a `Date: …` line before them.

#![no_main]

use juspay_bff::cache::fuzzing::juspay_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| juspay_answer(input));
