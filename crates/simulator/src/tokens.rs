//! The client auth tokens that the simulator issued, with their expiry and remaining uses.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use super::bounded_map::BoundedMap;

/// Maximum number of tokens. A new one replaces the oldest.
const CAPACITY: usize = 1_000_000;

/// All tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    minted: AtomicU64,
    /// Has a random key in each process. Simulated tokens needn't be secret, only unique.
    hashes: RandomState,
    live: Mutex<BoundedMap<String, Life>>,
}

#[derive(Debug, Clone, Copy)]
struct Life {
    end: Timestamp,
    uses_left: u32,
}

/// Why a token can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Never issued, or dropped.
    Unknown,
    /// Past its end.
    Expired,
    /// No uses left.
    UsedUp,
}

impl Tokens {
    /// No tokens.
    pub(super) fn new() -> Self {
        Self {
            minted: AtomicU64::new(0),
            hashes: RandomState::new(),
            live: Mutex::new(BoundedMap::new(CAPACITY)),
        }
    }

    /// Issues a unique token: `tkn_` and 32 lower-case hex digits.
    pub(super) fn mint(&self, end: Timestamp, uses_left: u32) -> String {
        let number = self.minted.fetch_add(1, Ordering::Relaxed);
        let half = |which: u8| self.hashes.hash_one((number, which));
        let token = format!("tkn_{:016x}{:016x}", half(0), half(1));
        let mut tokens = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get_or_insert_with(&token, || Life { end, uses_left });
        token
    }

    /// Uses a token once and returns its remaining uses.
    pub(super) fn spend(&self, token: &str, now: Timestamp) -> Result<u32, Unusable> {
        let mut tokens = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let life = tokens.get_mut(token).ok_or(Unusable::Unknown)?;
        if now >= life.end {
            return Err(Unusable::Expired);
        }
        life.uses_left = life.uses_left.checked_sub(1).ok_or(Unusable::UsedUp)?;
        Ok(life.uses_left)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;
    use clock::later;

    #[test]
    fn tokens_are_unique_and_look_like_juspays() {
        let tokens = Tokens::new();
        let minted: HashSet<_> = (0..1000).map(|_| tokens.mint(Timestamp::UNIX_EPOCH, 1)).collect();
        assert_eq!(minted.len(), 1000);
        for token in minted {
            let digits = token.strip_prefix("tkn_").unwrap();
            assert!(
                digits.len() == 32
                    && digits
                        .bytes()
                        .all(|digit| { digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit) })
            );
        }
    }

    #[test]
    fn token_ends_by_expiry_or_uses() {
        let tokens = Tokens::new();
        let now = Timestamp::UNIX_EPOCH;
        let end = later(now, Duration::from_secs(10));
        let token = tokens.mint(end, 2);
        assert_eq!(tokens.spend(&token, now), Ok(1));
        assert_eq!(tokens.spend(&token, end), Err(Unusable::Expired));
        assert_eq!(tokens.spend(&token, later(now, Duration::from_millis(9_999))), Ok(0));
        assert_eq!(tokens.spend(&token, now), Err(Unusable::UsedUp));
        assert_eq!(tokens.spend("tkn_", now), Err(Unusable::Unknown));
    }
}
