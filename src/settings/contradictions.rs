//! What each key may be is settled in its section; here is what keys may not be together.
//!
//! Each check looks the keys up again, so that a fault elsewhere hides no contradiction. A key
//! with a fault of its own takes part in none.

mod issuers;

use std::time::Duration;

use super::{address::WebAddress, fault::Wrong, reader::Reader, server::Listen, value::Items};

/// Notes every contradiction.
pub(super) fn check(reader: &mut Reader<'_>) {
    listeners(reader);
    shutdown(reader);
    plain_http(reader);
    api_key(reader);
    cache(reader);
    jwks(reader);
    issuers::check(reader);
}

fn listeners(reader: &mut Reader<'_>) {
    let [public, admin] = ["server.listen", "server.admin_listen"]
        .map(|key| reader.again(key).list(Items::SomeOrText, Listen::parse).unwrap_or_default());
    let all: Vec<&Listen> = public.iter().chain(&admin).collect();
    let clash = (1..).zip(&all).any(|(next, one)| all.iter().skip(next).any(|b| one.clashes(b)));
    if clash {
        let reason = "two listeners, of this and of server.admin_listen, want the same address";
        let fix = "give each an address or port of its own";
        reader.wrong_if_whole("server.listen", Wrong::new(reason, fix));
    }
}

fn shutdown(reader: &mut Reader<'_>) {
    let (Some(delay), Some(grace), Some(deadline)) = (
        duration(reader, "server.shutdown_delay"),
        duration(reader, "server.shutdown_grace"),
        duration(reader, "juspay.deadline"),
    ) else {
        return;
    };
    if delay.saturating_add(deadline) >= grace {
        let reason = "server.shutdown_delay and juspay.deadline together aren't shorter than it, \
                      so a request that comes late would be cut off";
        let fix = "make it longer, or one of the two shorter";
        reader.wrong_if_whole("server.shutdown_grace", Wrong::new(reason, fix));
    }
}

fn plain_http(reader: &mut Reader<'_>) {
    let key = "juspay.base_url";
    let exposed = reader.again(key).text(WebAddress::parse).is_some_and(|a| a.exposed());
    if exposed && reader.again("juspay.allow_plain_http").boolean() == Some(false) {
        let reason = "the API key would go over the network in plain http";
        let fix = "use https, or set juspay.allow_plain_http = true where the way there is private";
        reader.wrong_if_whole(key, Wrong::new(reason, fix));
    }
}

fn api_key(reader: &mut Reader<'_>) {
    let keys = ["juspay.api_key_file", "juspay.api_key"];
    let wrong = match keys.map(|key| reader.is_set(key)) {
        [true, true] => Wrong::new(
            "juspay.api_key is set too, and only one of the two can hold",
            "take one of them out, the one in the file is safer",
        ),
        [false, false] => Wrong::new(
            "it is missing, and so is juspay.api_key",
            "set it to the path of a file that holds the API key",
        ),
        [true, false] | [false, true] => return,
    };
    reader.wrong_if_whole("juspay.api_key_file", wrong);
}

fn cache(reader: &mut Reader<'_>) {
    let [outage, least, ahead, life] =
        ["outage_min_remaining", "min_remaining", "refresh_ahead", "max_token_life"]
            .map(|name| duration(reader, &format!("cache.{name}")));
    let above = |one: Option<Duration>, other| one.zip(other).is_some_and(|(a, b)| a > b);
    let not_below = |one: Option<Duration>, other| one.zip(other).is_some_and(|(a, b)| a >= b);
    for (holds, key, reason, fix) in [
        (
            !above(outage, least),
            "cache.outage_min_remaining",
            "it is longer than cache.min_remaining, so an outage would leave tokens less time",
            "make it at most as long",
        ),
        (
            !not_below(least, ahead),
            "cache.refresh_ahead",
            "it isn't longer than cache.min_remaining, so nothing would be refreshed ahead",
            "make it longer than cache.min_remaining",
        ),
        (
            !not_below(ahead, life),
            "cache.max_token_life",
            "it isn't longer than cache.refresh_ahead, so every hand-out would refresh",
            "make it longer than cache.refresh_ahead",
        ),
    ] {
        if !holds {
            reader.wrong_if_whole(key, Wrong::new(reason, fix));
        }
    }
}

fn jwks(reader: &mut Reader<'_>) {
    let [refresh, stale] =
        ["auth.jwks_refresh", "auth.jwks_max_stale"].map(|key| duration(reader, key));
    if refresh.zip(stale).is_some_and(|(refresh, stale)| refresh >= stale) {
        let reason = "it isn't longer than auth.jwks_refresh, so good keys would be dropped \
                      between two fetches";
        let fix = "make it longer, several times at best";
        reader.wrong_if_whole("auth.jwks_max_stale", Wrong::new(reason, fix));
    }
}

/// A duration that passed the check of its range before.
fn duration(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.again(key).duration(Duration::ZERO..=Duration::MAX)
}
