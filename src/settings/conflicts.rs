//! Checks combinations of settings, after all sections were read. Each section has its own checks in
//! its file; this file has their order, and comparisons that several of them use.
//!
//! A key with a fault of its own is treated as unset, except for addresses that would be exposed.

use std::time::Duration;

use super::{
    Settings,
    auth::{gateway, issuer},
    duration, juspay,
    reader::Reader,
    sdk, server, traces,
};

/// Reports every conflict.
pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let Settings { server, juspay, auth, cache, shared, .. } = settings;
    server.check_listeners(reader);
    server::tls::check(server, reader);
    server.check_shutdown(juspay.deadline, reader);
    juspay::check_plain_http(reader);
    juspay::check_egress_proxy(reader);
    traces::check_headers(reader);
    juspay::check_api_key(reader);
    juspay::check_creation(juspay.customer_id_form, reader);
    cache.check(reader);
    juspay.check_attempts(reader);
    server.check_in_flight(reader);
    auth.check_jwks(reader);
    issuer::check(auth, juspay.customer_id_form, reader);
    gateway::check(auth, &server.listen, reader);
    shared.check(reader);
    sdk::check(settings, reader);
}

impl Reader<'_> {
    /// Reports `otherwise` unless the first duration is longer than the second.
    pub(super) fn check_longer(
        &mut self,
        (long, own): (&str, Duration),
        (short, other): (&str, Duration),
        otherwise: &str,
    ) {
        if own <= other && self.is_valid(long) && self.is_valid(short) {
            let [own, other] = [(long, own), (short, other)].map(|it| self.shown_duration(it));
            let reason =
                format!("is {own}, but must be longer than {short} ({other}), or {otherwise}");
            self.conflict(&[long, short], reason, format!("make it longer than {short}"));
        }
    }

    /// Reports the first duration if it is longer than the second; `why` completes the reason.
    pub(super) fn check_at_most(
        &mut self,
        (short, own): (&str, Duration),
        (long, other): (&str, Duration),
        why: &str,
    ) {
        if own > other && self.is_valid(short) && self.is_valid(long) {
            let [own, other] = [(short, own), (long, other)].map(|it| self.shown_duration(it));
            let reason = format!("is {own}, longer than {long} ({other}){why}");
            self.conflict(&[short, long], reason, "make it at most as long");
        }
    }

    /// The effective duration, and whether it is a default.
    pub(super) fn shown_duration(&self, (key, value): (&str, Duration)) -> String {
        self.shown(key, &duration::write(value))
    }

    /// The effective value, and whether it is a default.
    pub(super) fn shown(&self, key: &str, value: &str) -> String {
        let by_default = if self.is_default(key) { " by default" } else { "" };
        format!("{value}{by_default}")
    }
}
