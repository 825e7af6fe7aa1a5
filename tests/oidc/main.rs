//! Tests of the service with tokens of real issuers instead of the simulator's: `tests/oidc/run`.
//!
//! npm's `oidc-provider` (`provider`, its process; `app`, a merchant's app with a user; `fixture`,
//! the service next to it): `signed` tests access tokens that its keys sign, `rotation` these keys,
//! `opaque` introspection, `bound` DPoP, `logout` back-channel logout, and `recipes` tokens of the
//! shapes in `docs/identity-providers.md`. `glewlwyd` (its process is `glewlwyd_server`) and
//! `simplejwt` are two more issuers, each with cryptography of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` marks what tests may use of their support files")]

mod app;
mod bound;
mod fixture;
mod glewlwyd;
mod glewlwyd_server;
mod logout;
mod opaque;
mod provider;
mod recipes;
mod rotation;
mod signed;
mod simplejwt;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
