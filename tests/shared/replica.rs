//! A replica of the service, as far as the tier sees it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use juspay_bff::{
    clock::{Clock, SystemClock},
    customer::{CustomerId, CustomerJson},
    metrics::Metrics,
    settings::{Rate, Sources},
    shared::{
        Content, Event, Events, Found, Lease, LookUp, Need, Request, SharedCustomer, SharedLife,
        SharedTier, Stored, redis::RedisTier,
    },
};
use tempfile::TempDir;

use super::server::Server;

/// The settings without a default.
pub(super) const REQUIRED: &str = include_str!("../required_settings.toml");

/// The keys of all replicas, and one for rotations.
pub(super) const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";
pub(super) const NEXT_KEY: &str =
    "0202020202020202020202020202020202020202020202020202020202020202";
pub(super) const NAME_KEY: &str =
    "0303030303030303030303030303030303030303030303030303030303030303";

/// A body, with all that must not be readable on the server.
pub(super) const BODY: &str = r#"{"id":"cst_17","mobile_number":"9876543210","first_name":"Aisha","juspay":{"client_auth_token":"tkn_very_secret"}}"#;

/// A tier, and what belongs to its process.
pub(super) struct Replica {
    pub(super) tier: RedisTier,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    pub(super) files: TempDir,
    pub(super) clock: Arc<dyn Clock>,
}

/// How a replica is set up.
pub(super) struct SetUp {
    pub(super) url: String,
    pub(super) settings: String,
    pub(super) timeout: Duration,
    pub(super) keys: String,
    pub(super) clock: Arc<dyn Clock>,
}

impl SetUp {
    pub(super) fn new(url: impl Into<String>) -> Self {
        let (settings, keys) = (String::new(), KEY.to_owned());
        // The longest that is possible, as the machine may be busy.
        let timeout = Duration::from_secs(1);
        Self { url: url.into(), settings, timeout, keys, clock: SystemClock::shared() }
    }

    /// Sets `shared.timeout`.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub(super) fn settings(self, settings: &str) -> Self {
        Self { settings: settings.to_owned(), ..self }
    }

    pub(super) fn keys(self, keys: &[&str]) -> Self {
        Self { keys: keys.join("\n"), ..self }
    }

    /// Starts it, and waits until it is connected.
    pub(super) async fn connected(self) -> Replica {
        let replica = self.open();
        replica.until_connected().await;
        replica
    }

    pub(super) fn open(self) -> Replica {
        let (timeout, files) = (self.timeout.as_millis(), tempfile::tempdir().unwrap());
        let tier = tier_settings(&files, &self.url, &self.keys);
        let text = format!("{tier}shared.timeout = '{timeout}ms'\n{}", self.settings);
        let sources = Sources::default().text("required", REQUIRED).text("shared", text);
        let settings = sources.load().unwrap().settings;
        let metrics = Metrics::new("0", "0").unwrap();
        let (tier, events) = RedisTier::open(&settings, &self.clock, &metrics.shared).unwrap();
        Replica { tier, events, metrics, files, clock: self.clock }
    }
}

/// The settings of a tier at this address, with its key files in `files`.
pub(super) fn tier_settings(files: &TempDir, url: &str, keys: &str) -> String {
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    format!(
        "shared.url = '{url}'\nshared.key_file = '{}'\nshared.name_key_file = '{}'\n",
        write("keys", keys),
        write("name-key", NAME_KEY)
    )
}

pub(super) fn id(customer: &str) -> CustomerId {
    CustomerId::parse(customer).unwrap()
}

pub(super) fn request(customer: &str) -> Request {
    Request { customer: id(customer), need: Need::default(), charge: None, waited_for: None }
}

pub(super) fn body() -> CustomerJson {
    let split = BODY.find(",\"juspay\"").unwrap();
    CustomerJson::from_parts(Bytes::from_static(BODY.as_bytes()), split).unwrap()
}

/// Waits for an effect of the tier's thread. A timeout only turns a hang into a failure.
pub(super) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            pause().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    ended.unwrap_or_else(|_| panic!("in vain for 20 s: {what}"));
}

/// Leaves the processor to the servers for a moment.
pub(super) async fn pause() {
    let clock = SystemClock;
    clock.sleep_until(clock.monotonic().plus(Duration::from_millis(5))).await;
}

/// The next event of this kind.
pub(super) async fn event(events: &mut Events, expected: impl Fn(&Event) -> bool) -> Event {
    let waiting = async {
        loop {
            let event = events.next().await.unwrap();
            if expected(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap()
}

impl Replica {
    pub(super) async fn look_up(&self, customer: &str) -> LookUp {
        self.tier.look_up(request(customer)).await
    }

    pub(super) async fn look_up_with(&self, customer: &str, need: Need) -> LookUp {
        self.tier.look_up(Request { need, ..request(customer) }).await
    }

    /// Looks up with a limit.
    pub(super) async fn look_up_charged(&self, customer: &str, need: Need, rate: Rate) -> LookUp {
        self.tier.look_up(Request { need, charge: Some(rate), ..request(customer) }).await
    }

    /// Takes the lease, which must be free.
    pub(super) async fn lease(&self, customer: &str) -> Lease {
        match self.look_up(customer).await {
            LookUp::Fetch(lease, _) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// A token that was fetched just now.
    pub(super) fn content(&self, life: Duration) -> Content {
        let now = self.clock.moment();
        let life = SharedLife {
            born: now.monotonic,
            end: now.plus(life),
            total: life,
            refresh_lead: Duration::from_secs(10),
        };
        Content::Customer { json: body(), life, normal_floor: Duration::from_secs(30) }
    }

    /// Fetches and stores a token of 15 minutes.
    pub(super) async fn fetch(&self, customer: &str) {
        let lease = self.lease(customer).await;
        self.store(lease).await;
    }

    pub(super) async fn store(&self, lease: Lease) -> Stored {
        self.tier.store(lease, self.content(Duration::from_mins(15))).await
    }

    /// The customer, which must be there.
    pub(super) async fn found(&self, customer: &str) -> SharedCustomer {
        match self.look_up(customer).await {
            LookUp::Found(Found::Customer(customer)) => customer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn until_connected(&self) {
        until("the tier is connected", async || self.state("connected") == 1).await;
    }

    /// Waits until the customer is there.
    pub(super) async fn until_found(&self, customer: &str) {
        let is_found = async || matches!(self.look_up(customer).await, LookUp::Found(_));
        until("the customer is found", is_found).await;
    }

    /// Stores the customer, with as many attempts as a busy machine needs.
    pub(super) async fn until_found_or_fetched(&self, customer: &str) {
        until("the customer is stored", async || match self.look_up(customer).await {
            LookUp::Fetch(lease, _) => matches!(self.store(lease).await, Stored::Yes(_)),
            result => matches!(result, LookUp::Found(_)),
        })
        .await;
    }

    pub(super) fn state(&self, state: &str) -> i64 {
        self.metrics.shared.state.with_label_values(&[state]).get()
    }

    /// The value of `shared_requests_total{outcome}`.
    pub(super) fn count(&self, outcome: &str) -> u64 {
        self.metrics.shared.requests.with_label_values(&[outcome]).get()
    }

    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.files.path()).join(name)
    }
}

/// Two replicas of the same settings.
pub(super) async fn two(server: &Server) -> (Replica, Replica) {
    (SetUp::new(server.url()).connected().await, SetUp::new(server.url()).connected().await)
}
