//! What is encrypted: a line of JSON about the customer and the token's life, then the body of responses.
//! An entry is read strictly, and only for the customer it names (promise P1).
//!
//! A token's life on this replica is the smaller of two readings: what the sealed expiry leaves on this
//! replica's wall clock, and what the server's time to live leaves, counted from the moment the look-up
//! was sent. The fetching replica's expiry is conservative, so a wrong wall clock of any one replica or
//! of the server does not lengthen a token's life (promise P3).

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Moment, Monotonic, later, until},
    customer::{CustomerId, CustomerJson},
    shared::{Content, LEASE_TIME, SharedLife},
};

/// A value that the server stores this much later than it was sent still expires in time: after the time
/// of a lease, storing is refused.
const STORING_TIME: Duration = LEASE_TIME;

/// Longest life of a token.
const MAX_LIFE: Duration = Duration::from_hours(24);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'t> {
    customer: Cow<'t, str>,
    /// The rest is absent if the customer doesn't exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenHead>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenHead {
    /// The expiry on the fetching replica's wall clock, in milliseconds.
    end: i64,
    /// Milliseconds.
    total: u64,
    /// Milliseconds.
    lead: u64,
    /// The length of the body before the token.
    split: usize,
}

/// An entry to be stored.
pub(super) struct Encoded {
    /// `c` or `n`, as in `look_up.lua`.
    pub(super) kind: &'static str,
    pub(super) plain: Zeroizing<Vec<u8>>,
    pub(super) ttl: Duration,
    pub(super) normal_floor: Duration,
    pub(super) age: Duration,
}

/// Encodes what was fetched with a lease that began at `since`. `None` if its life is over.
pub(super) fn encode(
    customer: &CustomerId,
    content: &Content,
    since: Monotonic,
    now: Moment,
) -> Option<Encoded> {
    let (head, body, kind, ttl, normal_floor, born) = match content {
        Content::Customer { json, life, normal_floor } => {
            let head = TokenHead {
                end: life.end.wall.as_millisecond(),
                total: millis(life.total),
                lead: millis(life.refresh_lead),
                split: json.split(),
            };
            let ttl = life.end.remaining(now).saturating_sub(STORING_TIME);
            (Some(head), json.with_token(), "c", ttl, *normal_floor, life.born)
        }
        Content::NotFound { ttl } => (None, Bytes::new(), "n", *ttl, Duration::ZERO, since),
    };
    let head = Head { customer: customer.as_str().into(), token: head };
    let head = Zeroizing::new(serde_json::to_vec(&head).ok()?);
    // With room for the tag, so that encrypting leaves no copy.
    let capacity = head.len().saturating_add(body.len()).saturating_add(64);
    let mut plain = Zeroizing::new(Vec::with_capacity(capacity));
    plain.extend_from_slice(&head);
    plain.push(b'\n');
    plain.extend_from_slice(&body);
    let age = now.monotonic.since(born);
    (!ttl.is_zero()).then_some(Encoded { kind, plain, ttl, normal_floor, age })
}

/// A value as it arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When the look-up was sent.
    pub(super) sent: Moment,
    /// The server's time to live.
    pub(super) left: Duration,
    /// The age on the server's clock.
    pub(super) age: Duration,
    /// `cache.max_token_life`
    pub(super) max_life: Duration,
}

/// A decoded entry.
#[derive(Debug)]
pub(super) enum Decoded {
    Customer(CustomerJson, SharedLife),
    NotFound,
    /// Its life is over.
    Expired,
}

/// Decodes an entry; `None` if it is malformed, or about another customer.
pub(super) fn decode(customer: &CustomerId, plain: &[u8], arrival: &Arrival) -> Option<Decoded> {
    let end_of_head = plain.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = plain.split_at_checked(end_of_head)?;
    let body = body.get(1..)?;
    let head: Head<'_> = serde_json::from_slice(head).ok()?;
    if head.customer != customer.as_str() {
        return None;
    }
    let Some(token) = head.token else {
        return body.is_empty().then_some(Decoded::NotFound);
    };
    let end = Timestamp::from_millisecond(token.end).ok()?;
    let [total, refresh_lead] = [token.total, token.lead].map(Duration::from_millis);
    if total > MAX_LIFE || refresh_lead > total {
        return None;
    }
    let json = CustomerJson::from_parts(Bytes::copy_from_slice(body), token.split)?;
    Some(match life(end, total, refresh_lead, arrival) {
        Some(life) => Decoded::Customer(json, life),
        None => Decoded::Expired,
    })
}

/// The life of a token that arrived, on this replica's clocks; `None` if it is over.
fn life(
    end: Timestamp,
    total: Duration,
    refresh_lead: Duration,
    arrival: &Arrival,
) -> Option<SharedLife> {
    let Arrival { sent, left, age, max_life } = *arrival;
    let remaining = until(end, sent.wall).min(left).min(max_life.saturating_sub(age));
    let born = sent.monotonic.since(Monotonic::new(Duration::ZERO)).saturating_sub(age);
    // The sealed expiry itself, so that equal clocks agree on it, unless another reading is shorter.
    let wall = later(sent.wall, remaining);
    let end = Moment { wall, monotonic: sent.monotonic.plus(remaining) };
    let life = SharedLife { born: Monotonic::new(born), end, total, refresh_lead };
    (!remaining.is_zero()).then_some(life)
}

/// Whole milliseconds, rounded down.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = r#"{"id":"cst_1","juspay":{"client_auth_token":"tkn_1"}}"#;

    fn customer(id: &str) -> CustomerId {
        CustomerId::parse(id).unwrap()
    }

    fn json() -> CustomerJson {
        CustomerJson::from_parts(Bytes::from_static(BODY.as_bytes()), 13).unwrap()
    }

    fn at(wall_offset: i64, seconds: u64) -> Moment {
        let wall = Timestamp::from_second(1_800_000_000 + wall_offset).unwrap();
        let start = Monotonic::new(Duration::from_secs(5000));
        Moment { wall, monotonic: start }.plus(Duration::from_secs(seconds))
    }

    fn content(fetched: Moment, life: u64) -> Content {
        let end = fetched.plus(Duration::from_secs(life));
        let total = Duration::from_secs(life);
        let refresh_lead = Duration::from_secs(100);
        let life = SharedLife { born: fetched.monotonic, end, total, refresh_lead };
        Content::Customer { json: json(), life, normal_floor: Duration::from_secs(120) }
    }

    fn arrival(sent: Moment, left: Duration, age: Duration) -> Arrival {
        Arrival { sent, left, age, max_life: Duration::from_mins(15) }
    }

    #[test]
    fn entry_is_read_for_its_customer_only() {
        let now = at(0, 1);
        let encoded =
            encode(&customer("alice"), &content(at(0, 0), 900), now.monotonic, now).unwrap();
        assert_eq!((encoded.kind, encoded.age), ("c", Duration::from_secs(1)));
        assert_eq!(encoded.ttl, Duration::from_millis(897_500));
        let arrival = arrival(at(0, 11), Duration::from_secs(887), Duration::from_secs(11));
        let decoded = decode(&customer("alice"), &encoded.plain, &arrival).unwrap();
        let Decoded::Customer(json, life) = decoded else { panic!("{decoded:?}") };
        assert_eq!(json.with_token(), BODY);
        assert_eq!(json.without_token(), r#"{"id":"cst_1"}"#);
        assert_eq!(life.born, at(0, 0).monotonic);
        assert_eq!(life.end.remaining(at(0, 11)), Duration::from_secs(887));
        assert_eq!((life.total.as_secs(), life.refresh_lead.as_secs()), (900, 100));
        assert!(decode(&customer("bob"), &encoded.plain, &arrival).is_none());
    }

    #[test]
    fn missing_customers_are_shared_too() {
        let ttl = Duration::from_secs(2);
        let content = Content::NotFound { ttl };
        let encoded = encode(&customer("alice"), &content, at(0, 0).monotonic, at(0, 0)).unwrap();
        assert_eq!((encoded.kind, encoded.ttl), ("n", ttl));
        let arrival = arrival(at(0, 1), Duration::from_secs(1), Duration::from_secs(1));
        let decoded = decode(&customer("alice"), &encoded.plain, &arrival);
        assert!(matches!(decoded, Some(Decoded::NotFound)));
        assert!(decode(&customer("bob"), &encoded.plain, &arrival).is_none());
    }

    #[test]
    fn malformed_entries_are_rejected() {
        let arrival = arrival(at(0, 0), Duration::from_secs(9), Duration::ZERO);
        let token = r#""end":1800000900000,"total":900000,"lead":1000,"split":1"#;
        let whole = format!("{{\"customer\":\"alice\",\"token\":{{{token}}}}}\n{{}}");
        assert!(decode(&customer("alice"), whole.as_bytes(), &arrival).is_some());
        for (part, instead) in [
            ("\n", ""),
            ("\"customer\":", "\"x\":1,\"customer\":"),
            ("\"end\":", "\"x\":1,\"end\":"),
            ("900000,", "900000000,"),
            ("\"lead\":1000", "\"lead\":900001"),
            ("\"split\":1", "\"split\":2"),
            ("\"split\":1", "\"split\":0"),
            ("\"split\":1", "\"split\":-1"),
            ("\n{}", "\n[]"),
            ("\n{}", "\n"),
            ("1800000900000", "99999999999999999"),
        ] {
            let text = whole.replacen(part, instead, 1);
            assert_ne!(text, whole);
            assert!(decode(&customer("alice"), text.as_bytes(), &arrival).is_none(), "{text}");
        }
        let not_found = b"{\"customer\":\"alice\"}\nx";
        assert!(decode(&customer("alice"), not_found, &arrival).is_none());
    }

    #[test]
    fn ended_lives_are_neither_stored_nor_returned() {
        let content = content(at(0, 0), 100);
        let encode =
            |seconds| encode(&customer("alice"), &content, at(0, 0).monotonic, at(0, seconds));
        assert!(encode(99).is_none() && encode(98).is_some());
        let encoded = encode(0).unwrap();
        for arrival in [
            arrival(at(0, 100), Duration::from_secs(5), Duration::from_secs(99)),
            arrival(at(0, 50), Duration::ZERO, Duration::from_secs(50)),
            arrival(at(0, 50), Duration::from_secs(50), Duration::from_mins(15)),
        ] {
            let decoded = decode(&customer("alice"), &encoded.plain, &arrival);
            assert!(matches!(decoded, Some(Decoded::Expired)), "{arrival:?}");
        }
    }

    proptest! {
        // Promise P3 with wrong wall clocks of up to a minute. True time passes as the monotonic clocks
        // and the server's time to live do.
        #[test]
        fn p3_wrong_clocks_never_lengthen_a_life(
            writer in -60_i64..=60,
            reader in -60_i64..=60,
            life_seconds in 35_u64..=900,
            stored_after in 0_u64..=5,
            delay in 0_u64..=1,
            passed in 0_u64..=900,
        ) {
            // The fetching replica determined the life on monotonic time; its wall clock is off.
            let content = content(at(writer, 0), life_seconds);
            let stored = at(writer, stored_after);
            let encoded = encode(&customer("alice"), &content, stored.monotonic, stored).unwrap();
            // The server stores it later than it was sent, and counts from then on.
            let stored_at = stored_after + delay;
            let left = encoded.ttl.saturating_sub(Duration::from_secs(passed));
            let true_age = Duration::from_secs(stored_at + passed);
            let age = encoded.age + Duration::from_secs(passed);
            let sent = at(reader, stored_at + passed);
            let decoded = decode(&customer("alice"), &encoded.plain, &arrival(sent, left, age));
            let true_left = Duration::from_secs(life_seconds).saturating_sub(true_age);
            if let Some(Decoded::Customer(_, life)) = decoded {
                prop_assert!(life.end.remaining(sent) <= true_left);
                // The life ends on the replica's clocks no later than in truth, whatever they show.
                let set_back = Moment { wall: sent.wall - SignedDuration::from_secs(60), ..sent };
                prop_assert!(life.end.remaining(set_back) <= true_left);
            }
        }

        #[test]
        fn p3_wrong_server_clock_is_caught_by_the_sealed_expiry(
            left in 0_u64..=2000, age in 0_u64..=900, passed in 0_u64..=900,
        ) {
            let content = content(at(0, 0), 900);
            let encoded = encode(&customer("a"), &content, at(0, 0).monotonic, at(0, 0)).unwrap();
            let (left, age) = (Duration::from_secs(left), Duration::from_secs(age));
            let sent = at(0, passed);
            let decoded = decode(&customer("a"), &encoded.plain, &arrival(sent, left, age));
            if let Some(Decoded::Customer(_, life)) = decoded {
                prop_assert!(life.end.remaining(sent) <= Duration::from_secs(900 - passed));
            }
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let arrival = arrival(at(0, 0), Duration::from_secs(9), Duration::ZERO);
            prop_assert!(decode(&customer("alice"), &bytes, &arrival).is_none());
        }
    }
}
