//! OpenID providers' configuration documents.

#![no_main]

use juspay_bff::fuzzing::discovery_document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| discovery_document(input));
