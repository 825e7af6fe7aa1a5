//! `auth.dpop.*` and `auth.issuers.NAME.dpop`: proof of possession (RFC 9449).

use std::{path::PathBuf, time::Duration};

use crate::settings::{
    fault::Wrong, reader::Reader, server::is_readable, value::off_optional_or_required,
};

/// `auth.dpop.*`
#[derive(Debug, Clone)]
pub struct Dpop {
    /// `auth.dpop.max_age`: how old a proof may be, or the nonce in it.
    pub max_age: Duration,
    /// `auth.dpop.max_proofs`: how many are remembered, so that none is taken twice.
    pub max_proofs: usize,
    /// `auth.dpop.nonces`: whether proofs must have a nonce of ours.
    pub nonces: bool,
    /// `auth.dpop.nonce_key_file`; without one the key is random at each start.
    pub nonce_key_file: Option<PathBuf>,
}

/// `auth.issuers.NAME.dpop`: which of its tokens are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DpopMode {
    /// None that is bound to a key.
    Off,
    /// Bound ones with their proof, and unbound ones.
    Optional,
    /// None but bound ones with their proof.
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
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        off_optional_or_required(text, [Self::Off, Self::Optional, Self::Required])
    }
}
