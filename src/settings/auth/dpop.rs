//! `auth.dpop.*` and `auth.issuers.NAME.dpop`: proof of possession (RFC 9449).

use std::{path::PathBuf, time::Duration};

use crate::settings::{
    fault::Violation, reader::Reader, server::is_readable, value::off_optional_or_required,
};

/// `auth.dpop.*`
#[derive(Debug, Clone)]
pub struct Dpop {
    /// `auth.dpop.max_age`: the maximum age of a proof, and of the nonce in it.
    pub max_age: Duration,
    /// `auth.dpop.max_proofs`: how many proofs are stored to detect replays.
    pub max_proofs: usize,
    /// `auth.dpop.nonces`: whether proofs must contain a nonce that this service issued.
    pub nonces: bool,
    /// `auth.dpop.nonce_key_file`; if unset, a random key is generated at each start.
    pub nonce_key_file: Option<PathBuf>,
}

/// `auth.issuers.NAME.dpop`: which of its tokens are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DpopMode {
    /// Rejects tokens that are bound to a key.
    Off,
    /// Accepts bound tokens with a valid proof, and unbound tokens.
    Optional,
    /// Accepts only bound tokens with a valid proof.
    Required,
}

impl Dpop {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let max_age = reader
            .at("auth.dpop.max_age")
            .duration(Duration::from_secs(1)..=Duration::from_mins(10));
        let max_proofs = reader.at("auth.dpop.max_proofs").number(100..=10_000_000);
        let nonces = reader.at("auth.dpop.nonces").boolean();
        let nonce_key_file = reader.at("auth.dpop.nonce_key_file").file(is_readable);
        Some(Self {
            max_age: max_age?,
            max_proofs: usize::try_from(max_proofs?).ok()?,
            nonces: nonces?,
            nonce_key_file,
        })
    }
}

impl DpopMode {
    pub(super) fn parse(text: &str) -> Result<Self, Violation> {
        off_optional_or_required(text, [Self::Off, Self::Optional, Self::Required])
    }
}
