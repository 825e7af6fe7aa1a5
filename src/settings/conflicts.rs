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

use std::time::Duration;

use super::{
    address::WebAddress, duration, fault::Violation, reader::Reader, server::Listen, value::Items,
};

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
        let [own, delay, deadline] = [(keys[0], grace), (keys[1], delay), (keys[2], deadline)]
            .map(|(key, time)| effective(reader, key, &duration::write(time)));
        let reason = format!(
            "is {own}, but must be longer than server.shutdown_delay ({delay}) plus juspay.deadline \
             ({deadline}), or a late request would be cut off"
        );
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
            let reason = "no API key: neither juspay.api_key_file nor juspay.api_key is set";
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
    at_most(reader, [outage, least], ", so tokens would be valid for less time in an outage");
    longer(reader, [ahead, least], "nothing is refreshed in the background");
    longer(reader, [life, ahead], "every cached response starts a refresh");
}

fn tries(reader: &mut Reader<'_>) {
    let keys = ["juspay.try_timeout", "juspay.deadline"];
    at_most(reader, keys, ", which limits all attempts together");
}

fn in_flight(reader: &mut Reader<'_>) {
    let keys = ["server.max_waiting", "server.max_in_flight"];
    let [waiting, all] = keys.map(|key| reader.lookup(key).number(0..=u64::MAX));
    let (Some(waiting), Some(all)) = (waiting, all) else { return };
    if waiting >= all {
        let [waiting, all] = [(keys[0], waiting), (keys[1], all)]
            .map(|(key, number)| effective(reader, key, &number.to_string()));
        let reason = format!(
            "is {waiting}, but must be less than server.max_in_flight ({all}), or waiting requests \
             leave no room for token verification"
        );
        let fix = "lower it; the default is half of server.max_in_flight";
        reader.conflict(&keys, Violation::new(reason, fix));
    }
}

fn jwks(reader: &mut Reader<'_>) {
    let keys = ["auth.jwks_max_stale", "auth.jwks_refresh"];
    longer(reader, keys, "valid keys are dropped between two fetches");
}

/// Reports `otherwise` unless the first duration is longer than the second.
fn longer(reader: &mut Reader<'_>, keys: [&str; 2], otherwise: &str) {
    let [long, short] = keys;
    let [Some(own), Some(other)] = keys.map(|key| duration(reader, key)) else { return };
    if own <= other {
        let [own, other] = [(long, own), (short, other)]
            .map(|(key, time)| effective(reader, key, &duration::write(time)));
        let reason = format!("is {own}, but must be longer than {short} ({other}), or {otherwise}");
        reader.conflict(&keys, Violation::new(reason, format!("make it longer than {short}")));
    }
}

/// The first must not be longer than the second; `why` says more of the second, or what happens.
fn at_most(reader: &mut Reader<'_>, keys: [&str; 2], why: &str) {
    let [short, long] = keys;
    let [Some(own), Some(other)] = keys.map(|key| duration(reader, key)) else { return };
    if own > other {
        let [own, other] = [(short, own), (long, other)]
            .map(|(key, time)| effective(reader, key, &duration::write(time)));
        let reason = format!("is {own}, longer than {long} ({other}){why}");
        reader.conflict(&keys, Violation::new(reason, "make it at most as long"));
    }
}

/// The value in force, and whether it is a default.
fn effective(reader: &Reader<'_>, key: &str, value: &str) -> String {
    let by_default = if reader.is_default(key) { " by default" } else { "" };
    format!("{value}{by_default}")
}

/// A duration whose range its section has already checked.
fn duration(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.lookup(key).duration(Duration::ZERO..=Duration::MAX)
}
