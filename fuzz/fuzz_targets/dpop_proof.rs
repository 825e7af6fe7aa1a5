//! DPoP proofs, or the two JSON texts of a proof, one per line.

#![no_main]

use juspay_bff::fuzzing::dpop_proof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dpop_proof(input));
