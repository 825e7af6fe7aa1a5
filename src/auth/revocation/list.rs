//! A list of revocations, and the claims of a token that it is compared with.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use crate::{customer::CustomerId, revocation::Target};

/// The claims that an entry may name.
const SUB: &str = "sub";
const JTI: &str = "jti";
const SID: &str = "sid";

/// No generation: revocations start at zero and never reach this number.
const NEVER: u64 = u64::MAX;

/// The claims that revocations match. A claim that is missing, or longer than a revocation entry
/// allows, is `None`, because no entry can name it. No `Debug`: claims are personal data.
pub(in crate::auth) struct RevocationClaims {
    /// Shares its memory with the customer id if both are the same.
    pub(in crate::auth) sub: Option<Arc<str>>,
    pub(in crate::auth) jti: Option<Box<str>>,
    pub(in crate::auth) sid: Option<Box<str>>,
    pub(in crate::auth) iat: Option<Timestamp>,
}

/// The claims and the issuer of a verified token. No `Debug`: claims are personal data.
pub(in crate::auth) struct TokenIdentity {
    /// Index of the issuer.
    pub(in crate::auth) issuer: usize,
    /// Its name in the settings.
    pub(in crate::auth) issuer_name: Arc<str>,
    claims: RevocationClaims,
    /// The latest generation of revocations that does not revoke this token.
    cleared: AtomicU64,
}

/// The index of an issuer, and a claim.
type Key = (usize, &'static str);

/// Entries, by issuer and claim, then by the value of the claim.
#[derive(Default)]
pub(in crate::auth) struct List {
    cuts: HashMap<Key, HashMap<Box<str>, Vec<Cut>>>,
    len: usize,
}

/// Revokes tokens that were issued before a time, until the entry expires. Of two cuts for the same claim
/// value, one that the other covers is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    issued_before: Timestamp,
    expires: Timestamp,
}

/// An entry, with the index of its issuer.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) issuer: usize,
    pub(super) target: Target,
    pub(super) expires: Timestamp,
}

impl TokenIdentity {
    pub(in crate::auth) const fn new(
        issuer: usize,
        issuer_name: Arc<str>,
        claims: RevocationClaims,
    ) -> Self {
        Self { issuer, issuer_name, claims, cleared: AtomicU64::new(NEVER) }
    }

    /// The customer id, sharing its memory with `sub` if both are the same.
    pub(in crate::auth) fn share_with(&self, customer: CustomerId) -> CustomerId {
        match &self.claims.sub {
            Some(sub) => customer.reusing(sub),
            None => customer,
        }
    }

    pub(super) fn is_cleared_at(&self, generation: u64) -> bool {
        self.cleared.load(Ordering::Acquire) == generation
    }

    pub(super) fn clear_at(&self, generation: u64) {
        self.cleared.store(generation, Ordering::Release);
    }
}

impl Cut {
    fn covers(self, other: Self) -> bool {
        self.issued_before >= other.issued_before && self.expires >= other.expires
    }

    /// A token without `iat` is treated as issued before any time.
    fn revokes(self, issued: Option<Timestamp>, now: Timestamp) -> bool {
        now < self.expires && issued.is_none_or(|issued| issued < self.issued_before)
    }
}

impl Item {
    /// The issuer and the claim, the value of the claim, and the cut.
    fn parts(&self) -> (Key, &str, Cut) {
        let (claim, id, issued_before) = match &self.target {
            Target::Subject { sub, issued_before } => (SUB, sub, *issued_before),
            Target::Token(jti) => (JTI, jti, Timestamp::MAX),
            Target::Session(sid) => (SID, sid, Timestamp::MAX),
        };
        ((self.issuer, claim), id, Cut { issued_before, expires: self.expires })
    }
}

impl List {
    /// All entries.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        self.cuts.iter().flat_map(|((issuer, claim), cuts)| {
            cuts.iter().flat_map(move |(id, cuts)| {
                cuts.iter().map(move |cut| {
                    let Cut { issued_before, expires } = *cut;
                    let target = match *claim {
                        SUB => Target::Subject { sub: id.clone(), issued_before },
                        JTI => Target::Token(id.clone()),
                        _ => Target::Session(id.clone()),
                    };
                    Item { issuer: *issuer, target, expires }
                })
            })
        })
    }

    pub(super) fn add(&mut self, item: &Item) {
        if self.covers(item) {
            return;
        }
        let (key, id, cut) = item.parts();
        let cuts = self.cuts.entry(key).or_default().entry(id.into()).or_default();
        let before = cuts.len();
        cuts.retain(|known| !cut.covers(*known));
        let replaced = before.saturating_sub(cuts.len());
        cuts.push(cut);
        self.len = self.len.saturating_add(1).saturating_sub(replaced);
    }

    /// Whether adding it would change nothing.
    pub(super) fn covers(&self, item: &Item) -> bool {
        let (key, id, cut) = item.parts();
        self.cuts_of(key, id).iter().any(|known| known.covers(cut))
    }

    /// Whether adding it would replace another entry.
    pub(super) fn would_replace(&self, item: &Item) -> bool {
        let (key, id, cut) = item.parts();
        self.cuts_of(key, id).iter().any(|known| cut.covers(*known))
    }

    fn cuts_of(&self, key: Key, id: &str) -> &[Cut] {
        let cuts = self.cuts.get(&key).and_then(|ids| ids.get(id));
        cuts.map_or(&[], Vec::as_slice)
    }

    /// Whether it revokes this token.
    pub(in crate::auth) fn revokes(&self, token_identity: &TokenIdentity, now: Timestamp) -> bool {
        let TokenIdentity { issuer, claims, .. } = token_identity;
        let RevocationClaims { sub, jti, sid, iat } = claims;
        let ids = [(SUB, sub.as_deref()), (JTI, jti.as_deref()), (SID, sid.as_deref())];
        ids.into_iter().any(|(claim, id)| {
            let cuts = id.map_or(&[][..], |id| self.cuts_of((*issuer, claim), id));
            cuts.iter().any(|cut| cut.revokes(*iat, now))
        })
    }

    /// Removes expired entries.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let mut len: usize = 0;
        for ids in self.cuts.values_mut() {
            ids.retain(|_, cuts| {
                cuts.retain(|cut| now < cut.expires);
                len = len.saturating_add(cuts.len());
                !cuts.is_empty()
            });
        }
        self.len = len;
    }

    /// The subjects of its entries, with the index of their issuer.
    pub(in crate::auth) fn subjects(&self) -> impl Iterator<Item = (usize, &str)> {
        let subjects = self.cuts.iter().filter(|((_, claim), _)| *claim == SUB);
        subjects.flat_map(|((issuer, _), ids)| ids.keys().map(|sub| (*issuer, &**sub)))
    }

    /// Whether an entry names a token or a session.
    pub(in crate::auth) fn names_tokens_or_sessions(&self) -> bool {
        self.cuts.iter().any(|((_, claim), ids)| *claim != SUB && !ids.is_empty())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The length, for a gauge.
    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.len).unwrap_or(i64::MAX)
    }
}
