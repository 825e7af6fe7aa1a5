//! A list of revocations, and the claims of a token that it is compared with.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use crate::{customer::CustomerId, revocation::Target};

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

/// Entries, found by issuer and by what they name.
#[derive(Default)]
pub(in crate::auth) struct List {
    issuers: BTreeMap<usize, IssuerList>,
    len: usize,
}

/// The entries of one issuer, by what they name.
#[derive(Default)]
struct IssuerList {
    subjects: Cuts,
    tokens: Cuts,
    sessions: Cuts,
}

type Cuts = HashMap<Box<str>, Vec<Cut>>;

/// Revokes tokens issued before a moment, until the entry expires. Of two cuts with the same name,
/// one that the other covers is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    issued_before: Timestamp,
    expires: Timestamp,
}

/// An entry whose issuer is known by its index.
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

    /// A token without `iat` counts as issued before everything.
    fn revokes(self, issued: Option<Timestamp>, now: Timestamp) -> bool {
        now < self.expires && issued.is_none_or(|issued| issued < self.issued_before)
    }
}

impl Item {
    fn id(&self) -> &str {
        match &self.target {
            Target::Subject { sub: id, .. } | Target::Token(id) | Target::Session(id) => id,
        }
    }

    fn cut(&self) -> Cut {
        let issued_before = match self.target {
            Target::Subject { issued_before, .. } => issued_before,
            Target::Token(_) | Target::Session(_) => Timestamp::MAX,
        };
        Cut { issued_before, expires: self.expires }
    }
}

impl IssuerList {
    const fn of(&self, target: &Target) -> &Cuts {
        match target {
            Target::Subject { .. } => &self.subjects,
            Target::Token(_) => &self.tokens,
            Target::Session(_) => &self.sessions,
        }
    }

    const fn of_mut(&mut self, target: &Target) -> &mut Cuts {
        match target {
            Target::Subject { .. } => &mut self.subjects,
            Target::Token(_) => &mut self.tokens,
            Target::Session(_) => &mut self.sessions,
        }
    }

    fn all_mut(&mut self) -> [&mut Cuts; 3] {
        [&mut self.subjects, &mut self.tokens, &mut self.sessions]
    }
}

impl List {
    pub(super) fn add(&mut self, item: &Item) {
        if self.covers(item) {
            return;
        }
        let cut = item.cut();
        let cuts = self.issuers.entry(item.issuer).or_default().of_mut(&item.target);
        let cuts = cuts.entry(item.id().into()).or_default();
        let before = cuts.len();
        cuts.retain(|known| !cut.covers(*known));
        let replaced = before.saturating_sub(cuts.len());
        cuts.push(cut);
        self.len = self.len.saturating_add(1).saturating_sub(replaced);
    }

    /// Whether adding it would change nothing.
    pub(super) fn covers(&self, item: &Item) -> bool {
        self.same_name(item).iter().any(|known| known.covers(item.cut()))
    }

    /// Whether another entry would leave the list for it.
    pub(super) fn would_replace(&self, item: &Item) -> bool {
        self.same_name(item).iter().any(|known| item.cut().covers(*known))
    }

    fn same_name(&self, item: &Item) -> &[Cut] {
        let named = self.issuers.get(&item.issuer);
        let cuts = named.and_then(|named| named.of(&item.target).get(item.id()));
        cuts.map_or(&[], Vec::as_slice)
    }

    /// Whether it revokes this token.
    pub(in crate::auth) fn revokes(&self, token_identity: &TokenIdentity, now: Timestamp) -> bool {
        let TokenIdentity { issuer, claims, .. } = token_identity;
        let Some(named) = self.issuers.get(issuer) else { return false };
        let is_revoked = |cuts: &Cuts, id: Option<&str>| {
            let cuts = id.and_then(|id| cuts.get(id));
            cuts.is_some_and(|cuts| cuts.iter().any(|cut| cut.revokes(claims.iat, now)))
        };
        is_revoked(&named.subjects, claims.sub.as_deref())
            || is_revoked(&named.tokens, claims.jti.as_deref())
            || is_revoked(&named.sessions, claims.sid.as_deref())
    }

    /// Removes expired entries.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let mut len: usize = 0;
        for cuts in self.issuers.values_mut().flat_map(IssuerList::all_mut) {
            cuts.retain(|_, cuts| {
                cuts.retain(|cut| now < cut.expires);
                len = len.saturating_add(cuts.len());
                !cuts.is_empty()
            });
        }
        self.len = len;
    }

    /// The subjects that it names, with the index of their issuer.
    pub(in crate::auth) fn subjects(&self) -> impl Iterator<Item = (usize, &str)> {
        let issuers = self.issuers.iter();
        issuers.flat_map(|(issuer, named)| named.subjects.keys().map(|sub| (*issuer, &**sub)))
    }

    /// Whether it names anything but subjects.
    pub(in crate::auth) fn names_tokens_or_sessions(&self) -> bool {
        self.issuers.values().any(|named| !named.tokens.is_empty() || !named.sessions.is_empty())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Its length, for a gauge.
    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.len).unwrap_or(i64::MAX)
    }
}
