//! The simulated Juspay: its state, the handle for tests, and its customer API.
//!
//! Requests are checked in this order, which Juspay doesn't document: route, API key, merchant,
//! form, customer. A wrong merchant gets the same response as a wrong key. A fault replaces as much
//! of the response as it needs to.

mod api;
mod fields;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Config,
    customers::{Customers, juspay_id},
    fault::Fault,
    http::{Handler, Request, Script, Step},
    journal::{Journal, ReceivedRequest},
    keys::ApiKeys,
    latch::{Latch, Latches},
    magic::MagicCustomer,
    rules::{FaultRule, FaultRules},
    stale_connections::StaleConnections,
    time::OffsetClock,
    tokens::{Tokens, Unusable},
};

/// The simulated Juspay. Clones share their state.
#[derive(Debug, Clone)]
pub struct Simulator(Arc<State>);

struct State {
    base_url: String,
    merchant: String,
    token_life: SignedDuration,
    token_uses: u32,
    provision: AtomicBool,
    lenient: bool,
    strict_fields: bool,
    clock: OffsetClock,
    keys: ApiKeys,
    customers: Customers,
    tokens: Tokens,
    journal: Journal,
    rules: FaultRules,
    stale: StaleConnections,
    latches: Latches,
}

/// Requests contain API keys and tokens, so `Debug` shows none.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl Simulator {
    pub(super) fn new(config: Config, base_url: String) -> Self {
        Self(Arc::new(State {
            base_url,
            token_life: SignedDuration::try_from(config.token_life).unwrap_or(SignedDuration::MAX),
            token_uses: config.token_uses,
            provision: AtomicBool::new(config.provision),
            lenient: config.lenient,
            strict_fields: config.strict_fields,
            clock: OffsetClock::new(config.clock),
            keys: ApiKeys::new(&config.api_keys),
            merchant: config.merchant,
            customers: Customers::new(),
            tokens: Tokens::new(),
            journal: Journal::new(),
            rules: FaultRules::default(),
            stale: StaleConnections::default(),
            latches: Latches::default(),
        }))
    }

    /// The URL for `juspay.base_url`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.0.base_url
    }

    /// The merchant's id.
    #[must_use]
    pub fn merchant(&self) -> &str {
        &self.0.merchant
    }

    /// Juspay's `cst_…` id of the customer with the merchant's id `reference`.
    #[must_use]
    pub fn juspay_id(reference: &str) -> String {
        juspay_id(reference)
    }

    /// Adds a rule for faults after the existing ones (10,000 at most).
    pub fn inject(&self, rule: FaultRule) {
        self.0.rules.add(rule);
    }

    /// The rules that still apply to responses.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultRule> {
        self.0.rules.all()
    }

    /// Makes existing connections stale: the next request on each connection that has sent a
    /// request fails with `fault`. Later connections work.
    pub fn make_connections_stale(&self, fault: Fault) {
        self.0.stale.begin(fault);
    }

    /// Removes all rules and stale connections. Magic customers keep their faults.
    pub fn clear_faults(&self) {
        self.0.rules.clear();
        self.0.stale.clear();
    }

    /// Holds back the responses for a customer (the id as requested) until the latch is released.
    /// They are created when the request arrives; only sending waits.
    pub fn hold(&self, customer: &str) -> Latch {
        self.0.latches.hold(customer)
    }

    /// The last 10,000 requests to Juspay, oldest first, without those to the control API.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        self.0.journal.requests()
    }

    /// Number of requests to Juspay since the start.
    #[must_use]
    pub fn total_requests(&self) -> u64 {
        self.0.journal.total()
    }

    /// Number of calls for a customer (the id as requested), including rejected ones.
    #[must_use]
    pub fn calls(&self, customer: &str) -> u64 {
        self.0.journal.calls(customer)
    }

    /// Number of calls by customer.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.0.journal.counts()
    }

    /// Removes requests and counts.
    pub fn clear_requests(&self) {
        self.0.journal.clear();
    }

    /// Enables or disables an API key; adds it if unknown.
    pub fn set_key(&self, key: &str, enabled: bool) {
        self.0.keys.set(key, enabled);
    }

    /// Sets whether requests create unknown customers.
    pub fn set_provision(&self, provision: bool) {
        self.0.provision.store(provision, Ordering::Relaxed);
    }

    /// Whether requests create unknown customers.
    pub(super) fn provisions_customers(&self) -> bool {
        self.0.provision.load(Ordering::Relaxed)
    }

    /// Sets the wall clock ahead by `offset`. `Date`, expiries and tokens use it.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.0.clock.set_offset(offset);
    }

    /// The simulator's wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Uses a client auth token once, as the SDK does.
    pub(super) fn use_token(&self, token: &str) -> Result<u32, Unusable> {
        self.0.tokens.spend(token, self.now())
    }

    /// The fault of the next response for `customer`.
    fn fault(&self, customer: Option<&str>) -> Option<Fault> {
        let magic = || Some(MagicCustomer::named(customer?)?.fault(self.base_url()));
        self.0.rules.take(customer).or_else(magic)
    }
}

impl Handler for Simulator {
    fn handle(&self, request: Request) -> Script {
        if let Some(response) = super::control::response(self, &request) {
            return response.script();
        }
        let call = api::Call::of(&request);
        let customer = call.customer();
        let now = self.now();
        let number = self.0.journal.record(&request, customer, now);
        let fault = self.0.stale.fault(&request).or_else(|| self.fault(customer));
        let id = format!("sim-{number}");
        let response = api::response(self, &request, &call, fault.as_ref())
            .dated(now)
            .with("x-request-id", &id)
            .with("x-response-id", &id)
            .with("x-jp-merchant-id", self.merchant());
        let mut script = match fault {
            Some(fault) => fault.script(response),
            None => response.script(),
        };
        // Last, because a test that waits for arrivals may advance the clock then.
        let wait = customer.and_then(|customer| self.0.latches.arrive(customer));
        script.steps.splice(0..0, wait.map(Step::Wait));
        script
    }
}
