//! `Authorization` headers, a line each, or a token's two JSON texts, a line each.

#![no_main]

use juspay_bff::auth::fuzzing::bearer_token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| bearer_token(input));
