//! Settings files that override valid settings.

#![no_main]

use juspay_bff::fuzzing::settings_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| settings_file(input));
