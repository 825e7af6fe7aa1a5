//! The client's counts of responses.

use std::collections::BTreeMap;

use crate::support::Reply;

/// Counts by label values.
pub type Counts = BTreeMap<Vec<String>, u64>;

/// The counts of all requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// By route, status and code.
    pub answers: Counts,
    /// By outcome of the cache.
    pub lookups: Counts,
    /// By reason of the rejection.
    pub rejections: Counts,
    /// Responses with a client auth token.
    pub hand_outs: u64,
    /// Those with a remaining life of less than a minute.
    pub short: u64,
    /// Connections.
    pub handshakes: u64,
}

impl Tally {
    pub fn count(&mut self, route: &str, reply: &Reply) {
        let code = if reply.status < 300 { "ok".to_owned() } else { reply.code() };
        add(&mut self.answers, &[route, &reply.status.to_string(), &code]);
        self.handshakes = self.handshakes.saturating_add(1);
        // A HEAD has the header, and hands out no token.
        if let Some(left) =
            reply.header("juspay-token-expires-in").filter(|_| !reply.body.is_empty())
        {
            let left: u64 = left.parse().unwrap();
            self.hand_outs = self.hand_outs.saturating_add(1);
            self.short = self.short.saturating_add(u64::from(left < 60));
        }
        if reply.status == 200 {
            add(&mut self.lookups, &[outcome(reply.cache_status())]);
        }
    }

    /// A lookup without a customer, which the response does not show.
    pub fn count_lookup(&mut self, outcome: &str) {
        add(&mut self.lookups, &[outcome]);
    }

    pub fn count_rejection(&mut self, reason: &str) {
        add(&mut self.rejections, &[reason]);
    }
}

/// The cache outcome for a `Cache-Status`.
fn outcome(cache_status: &str) -> &'static str {
    match cache_status {
        status if status.contains("detail=outage") => "outage",
        status if status.contains("; hit") => "hit",
        status if status.contains("collapsed") => "joined",
        status if status.contains("fwd=request") => "bypass",
        status if status.contains("fwd=") => "miss",
        status => panic!("{status}"),
    }
}

fn add(counts: &mut Counts, labels: &[&str]) {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    let count = counts.entry(labels).or_default();
    *count = count.saturating_add(1);
}
