//! Key files of an issuer: JWK sets, or public keys and certificates in PEM.

#![no_main]

use juspay_bff::fuzzing::key_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| key_file(input));
