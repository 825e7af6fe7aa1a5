//! Checks combinations of settings. Each section checks its keys one by one.
//!
//! The checks read keys independently of the sections, so a fault in one key hides no conflict of
//! others. A key with a fault of its own is treated as unset, except for addresses that would be
//! exposed.

mod claims;
mod gateway;
mod introspection;
mod issuers;
mod tls;

use std::{cmp::Ordering, time::Duration};

use super::{address::WebAddress, fault::Violation, reader::Reader, server::Listen, value::Items};

/// Reports every conflict.
pub(super) fn check(reader: &mut Reader<'_>) {
    listeners(reader);
    tls::check(reader);
    shutdown(reader);
    plain_http(reader);
    collector(reader);
    api_key(reader);
    cache(reader);
    tries(reader);
    in_flight(reader);
    jwks(reader);
    issuers::check(reader);
    claims::check(reader);
    introspection::check(reader);
    gateway::check(reader);
}

fn listeners(reader: &mut Reader<'_>) {
    let keys = ["server.listen", "server.admin_listen"];
    let [public, admin] = keys.map(|key| {
        reader.lookup(key).list(Items::AtLeastOneOrText, Listen::parse).unwrap_or_default()
    });
    let all: Vec<&Listen> = public.iter().chain(&admin).collect();
    let clash =
        (1..).zip(&all).any(|(next, one)| all.iter().skip(next).any(|b| one.conflicts_with(b)));
    if clash {
        let reason = "two listeners, of this setting and of server.admin_listen, have the same \
                      address";
        let fix = "give each listener its own address or port";
        reader.conflict(&keys, Violation::new(reason, fix));
    }
}

fn shutdown(reader: &mut Reader<'_>) {
    let keys = ["server.shutdown_grace", "server.shutdown_delay", "juspay.deadline"];
    let [Some(grace), Some(delay), Some(deadline)] = keys.map(|key| duration(reader, key)) else {
        return;
    };
    if delay.saturating_add(deadline) >= grace {
        let reason = "is not longer than server.shutdown_delay and juspay.deadline together, so a \
                      late request would be cut off";
        let fix = "raise it, or lower one of the two";
        reader.conflict(&keys, Violation::new(reason, fix));
    }
}

fn plain_http(reader: &mut Reader<'_>) {
    let key = "juspay.base_url";
    if is_exposed(reader, key) && reader.lookup("juspay.allow_plain_http").boolean() == Some(false)
    {
        let reason = "the API key would cross the network in plain http";
        let fix = "use https, or set juspay.allow_plain_http = true if the network to Juspay is \
                   private";
        reader.conflict(&[key], Violation::new(reason, fix));
    }
}

fn collector(reader: &mut Reader<'_>) {
    let keys = ["traces.endpoint", "traces.headers_file"];
    if is_exposed(reader, keys[0]) && reader.is_set(keys[1]) {
        let reason = "the headers in traces.headers_file would cross the network in plain http";
        let fix = "use https, or a collector on loopback, such as a sidecar";
        reader.conflict(&keys, Violation::new(reason, fix));
    }
}

/// Whether an address is plain http to another host, even if it is otherwise invalid.
fn is_exposed(reader: &Reader<'_>, key: &str) -> bool {
    reader.raw_text(key).and_then(WebAddress::read).is_some_and(|address| address.exposed())
}

fn api_key(reader: &mut Reader<'_>) {
    let keys = ["juspay.api_key_file", "juspay.api_key"];
    let violation = match keys.map(|key| reader.is_set(key)) {
        [true, true] => Violation::new(
            "juspay.api_key is set too, and only one of the two may be set",
            "remove one of them; the key in the file is safer",
        ),
        [false, false] => {
            let reason = "is missing, and so is juspay.api_key";
            let fix = "set it to the path of a file that contains the API key";
            return reader.missing(&keys, Violation::new(reason, fix));
        }
        [true, false] | [false, true] => return,
    };
    reader.conflict(&keys, violation);
}

/// The lower bounds and upper bound of a token's lifetime must be in order.
fn cache(reader: &mut Reader<'_>) {
    let (outage, least) = ("cache.outage_min_remaining", "cache.min_remaining");
    let (ahead, life) = ("cache.refresh_ahead", "cache.max_token_life");
    if compare(reader, outage, least) == Some(Ordering::Greater) {
        let reason = "is longer than cache.min_remaining, so tokens would be valid for less time \
                      in an outage";
        let fix = "make it at most as long";
        reader.conflict(&[outage, least], Violation::new(reason, fix));
    }
    longer(reader, [ahead, least], "nothing would be refreshed ahead");
    longer(reader, [life, ahead], "every cached response would start a refresh");
}

fn tries(reader: &mut Reader<'_>) {
    let keys = ["juspay.try_timeout", "juspay.deadline"];
    if compare(reader, keys[0], keys[1]) == Some(Ordering::Greater) {
        let reason = "is longer than juspay.deadline, which limits all attempts together";
        reader.conflict(&keys, Violation::new(reason, "make it at most as long"));
    }
}

fn in_flight(reader: &mut Reader<'_>) {
    let keys = ["server.max_waiting", "server.max_in_flight"];
    let [waiting, all] = keys.map(|key| reader.lookup(key).number(0..=u64::MAX));
    if matches!((waiting, all), (Some(waiting), Some(all)) if waiting >= all) {
        let reason = "is not less than server.max_in_flight, so waiting requests would leave no \
                      room for token verification";
        reader.conflict(
            &keys,
            Violation::new(reason, "lower it; the default is half of server.max_in_flight"),
        );
    }
}

fn jwks(reader: &mut Reader<'_>) {
    let keys = ["auth.jwks_max_stale", "auth.jwks_refresh"];
    longer(reader, keys, "valid keys would be dropped between two fetches");
}

/// Reports `otherwise` unless the first duration is longer than the second.
fn longer(reader: &mut Reader<'_>, keys: [&str; 2], otherwise: &str) {
    let [long, short] = keys;
    if matches!(compare(reader, long, short), Some(Ordering::Less | Ordering::Equal)) {
        let reason = format!("is not longer than {short}, so {otherwise}");
        reader.conflict(&keys, Violation::new(reason, format!("make it longer than {short}")));
    }
}

fn compare(reader: &mut Reader<'_>, one: &str, other: &str) -> Option<Ordering> {
    Some(duration(reader, one)?.cmp(&duration(reader, other)?))
}

/// A duration whose range its section has already checked.
fn duration(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.lookup(key).duration(Duration::ZERO..=Duration::MAX)
}
