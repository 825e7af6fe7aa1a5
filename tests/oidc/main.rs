//! Tests of the service with a real OpenID provider in the place of the simulator's issuer:
//! `tests/oidc/run`.
//!
//! `provider` is its process, `app` the merchant's app that its users log in to, `meeting` puts the
//! service beside it. `signed` is about tokens that its keys vouch for, `rotation` about those keys,
//! `opaque` about tokens that it is asked about, `bound` about those that need a proof (DPoP),
//! `logout` about users who log out there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` tells what a test may use of what it stands on")]

mod app;
mod bound;
mod logout;
mod meeting;
mod opaque;
mod provider;
mod rotation;
mod signed;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
