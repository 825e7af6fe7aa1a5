//! Which tokens a list revokes, and how many entries it stores.

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn subject(issued_before: i64, expires: i64) -> Item {
    let issued_before = at(issued_before);
    let target = Target::Subject { sub: "alice".into(), issued_before };
    Item { issuer: 0, target, expires: at(expires) }
}

fn token(jti: &str, expires: i64) -> Item {
    Item { issuer: 0, target: Target::Token(jti.into()), expires: at(expires) }
}

fn token_identity(issuer: usize, sub: &str, iat: Option<i64>) -> TokenIdentity {
    let id = |text: &str| Some(Box::from(text));
    let iat = iat.map(at);
    let identity = RevocationClaims { sub: Some(sub.into()), jti: id("j"), sid: id("s"), iat };
    TokenIdentity::new(issuer, "main".into(), identity)
}

fn list(items: impl IntoIterator<Item = Item>) -> List {
    let mut list = List::default();
    for item in items {
        list.add(&item);
    }
    list
}

#[test]
fn subject_entry_revokes_tokens_issued_before() {
    let list = list([subject(100, 1000)]);
    for (token_identity, now, is_revoked) in [
        (token_identity(0, "alice", Some(99)), 500, true),
        (token_identity(0, "alice", Some(100)), 500, false),
        (token_identity(0, "alice", None), 500, true),
        (token_identity(0, "alice", Some(99)), 999, true),
        (token_identity(0, "alice", Some(99)), 1000, false),
        (token_identity(0, "bob", Some(99)), 500, false),
        (token_identity(1, "alice", Some(99)), 500, false),
        (token_identity(0, "j", Some(99)), 500, false),
    ] {
        assert_eq!(list.revokes(&token_identity, at(now)), is_revoked);
    }
}

#[test]
fn jti_and_sid_entries_match_their_own_claims() {
    let session = Item { issuer: 0, target: Target::Session("s".into()), expires: at(10) };
    for (list, is_revoked) in [
        (list([token("j", 10)]), true),
        (list([token("s", 10)]), false),
        (list([session]), true),
        (list([Item { issuer: 0, target: Target::Session("j".into()), expires: at(10) }]), false),
    ] {
        assert_eq!(list.revokes(&token_identity(0, "alice", Some(5)), at(9)), is_revoked);
        assert!(!list.revokes(&token_identity(0, "alice", Some(5)), at(10)));
        assert!(!list.revokes(&token_identity(1, "alice", Some(5)), at(9)));
    }
    let without_claims = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
    let without_claims = TokenIdentity::new(0, "main".into(), without_claims);
    let list = list([token("j", 10), subject(100, 10)]);
    assert!(!list.revokes(&without_claims, at(9)), "a token without jti matches no jti");
}

#[test]
fn entries_for_the_same_subject_are_combined() {
    // Each revokes tokens that the other does not.
    let list = list([subject(100, 1000), subject(200, 500)]);
    assert_eq!(list.len(), 2);
    for (iat, now, is_revoked) in
        [(50, 400, true), (150, 400, true), (50, 700, true), (150, 700, false), (250, 400, false)]
    {
        assert_eq!(
            list.revokes(&token_identity(0, "alice", Some(iat)), at(now)),
            is_revoked,
            "{iat} {now}"
        );
    }
}

#[test]
fn redundant_entries_take_no_room() {
    let mut known = list([subject(100, 1000), subject(200, 500), token("j", 10)]);
    for item in [subject(100, 1000), subject(99, 1000), subject(200, 499), token("j", 9)] {
        assert!(known.covers(&item));
        known.add(&item);
        assert_eq!(known.len(), 3);
    }
    assert!(!known.covers(&subject(101, 1000)) && known.would_replace(&subject(101, 1000)));
    assert!(!known.covers(&token("k", 1)) && !known.would_replace(&token("k", 99)));
    known.add(&subject(200, 1000));
    assert_eq!(known.len(), 2, "one entry covers both");
    known.add(&token("j", 11));
    assert_eq!((known.len(), known.count()), (2, 2));
}

#[test]
fn expired_entries_are_removed() {
    let mut list = list([subject(100, 1000), subject(200, 500), token("j", 10)]);
    list.sweep(at(9));
    assert_eq!(list.len(), 3);
    list.sweep(at(10));
    assert_eq!(list.len(), 2);
    assert!(!list.names_tokens_or_sessions());
    list.sweep(at(500));
    assert_eq!((list.len(), list.subjects().count()), (1, 1));
    list.sweep(at(1000));
    assert!(list.is_empty() && list.subjects().next().is_none());
}

fn any_item() -> impl Strategy<Value = Item> {
    let target = (0..3_u8, 0..8_i64).prop_map(|(kind, moment)| match kind {
        0 => Target::Subject { sub: "alice".into(), issued_before: at(moment) },
        1 => Target::Token("j".into()),
        _ => Target::Session("s".into()),
    });
    (0..2_usize, target, 0..8_i64).prop_map(|(issuer, target, end)| Item {
        issuer,
        target,
        expires: at(end),
    })
}

proptest! {
    #[test]
    fn list_revokes_what_any_of_its_entries_revokes(
        items in prop::collection::vec(any_item(), 0..12),
        swept in 0..8_i64,
        iat in prop::option::of(0..8_i64),
    ) {
        let mut all = List::default();
        let mut alone = Vec::new();
        for item in &items {
            let (before, covered) = (all.len(), all.covers(item));
            let grows = !covered && !all.would_replace(item);
            all.add(item);
            prop_assert!(all.covers(item));
            prop_assert!(all.len() <= before + usize::from(grows), "stores no redundant entry");
            prop_assert!(!covered || all.len() == before);
            let mut one = List::default();
            one.add(item);
            alone.push(one);
        }
        all.sweep(at(swept));
        for (issuer, now) in (0..2).flat_map(|issuer| (swept..9).map(move |now| (issuer, now))) {
            let token_identity = token_identity(issuer, "alice", iat);
            let expected = alone.iter().any(|one| one.revokes(&token_identity, at(now)));
            prop_assert_eq!(all.revokes(&token_identity, at(now)), expected);
        }
    }
}
