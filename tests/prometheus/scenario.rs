//! The load: every outcome of a request, over TLS, with known counts. The manual clock starts at
//! the real time, because Prometheus uses that.

use std::{fs, time::Duration};

use jiff::{SignedDuration, Timestamp};
use juspay_bff::clock::SystemClock;
use simulator::{Fault, FaultRule, MintRequest, issuer::INTROSPECTION_PATH};
use tempfile::TempDir;

use crate::{
    support::{
        ManualClock, Reply, Stage, World,
        authority::{Authority, TlsClient},
        guard, with_timeout,
    },
    tally::Tally,
};

const SETTINGS: &str = r#"
    server.max_waiting = 1
    juspay.breaker = { min_calls = 4, open_for = "5s" }
    cache.capacity = 1000
    auth.shared_customer_ids = true
    sdk = { profile = "ec", environment = "sandbox" }
"#;

/// `iss` of opaque tokens.
const OPAQUE: &str = "https://opaque.example";

/// A service under load.
pub struct Scenario {
    pub world: World,
    pub tally: Tally,
    clock: ManualClock,
    client: TlsClient,
    _files: TempDir,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn dead() -> Fault {
    Fault::Status { status: 500, headers: <_>::default(), body: String::new() }
}

impl Scenario {
    pub async fn set() -> Self {
        let clock = ManualClock::at(&now().to_string());
        let shared = clock.clone();
        let stage = Stage::set_with(|config| config.clock = std::sync::Arc::new(shared)).await;
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let settings = settings(&stage, &authority, &files);
        let world = stage.open_ready(&settings).await;
        let client = authority.tls_client(world.service.public, None);
        Self { world, tally: Tally::default(), clock, client, _files: files }
    }

    /// Sends all requests.
    pub async fn play(&mut self) {
        self.served().await;
        self.saturated().await;
        self.rejected_tokens().await;
        self.missing().await;
        self.introspected().await;
        self.refreshed().await;
        self.outage().await;
        self.rejected().await;
        // The sweep counts the cached tokens every few seconds.
        self.clock.advance(secs(6));
        self.world
            .until_count("juspay_bff_cache_token_remaining_seconds{at_least=\"600\"}", 4)
            .await;
    }

    async fn served(&mut self) {
        for customer in ["alice", "alice", "alice", "bob"] {
            self.gets(customer, 200).await;
        }
        let token = self.token("alice");
        assert_eq!(self.ask("HEAD", "/me/customer", Some(&token), "").await.status, 200);
        self.gets("sim_expires_40s", 200).await;
        let reply = self.ask("GET", "/me/sdk-payload?action=process", Some(&token), "").await;
        assert_eq!(reply.status, 200);
        let reply = self.ask("POST", "/me/prepare", Some(&token), "Content-Length: 0\r\n").await;
        assert_eq!(reply.status, 202);
        self.tally.count_lookup("hit");
    }

    /// Three requests wait for one fetch, and the limit rejects a second fetch.
    async fn saturated(&mut self) {
        let latch = self.world.simulator().hold("carol");
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (client, token) = (self.client.clone(), self.token("carol"));
                tokio::spawn(async move { client.me(&token).await.expect("an answer") })
            })
            .collect();
        self.world.until_waiting(3).await;
        self.fails("dave", "overloaded", Some("miss")).await;
        latch.release();
        for waiting in waiting {
            self.tally.count("/me/customer", &waiting.await.unwrap());
        }
    }

    async fn rejected_tokens(&mut self) {
        for _ in 0..2 {
            let reply = self.ask("GET", "/me/customer", None, "").await;
            assert_eq!(reply.code(), "missing_token");
            self.tally.count_rejection("missing_token");
        }
        for _ in 0..3 {
            let reply = self.ask("GET", "/me/customer", Some("garbage"), "").await;
            assert_eq!(reply.code(), "invalid_token");
            // The introspection endpoint rejects this token.
            self.tally.count_rejection("inactive");
        }
        let life = SignedDuration::from_hours(-1);
        let expired = self.mint(&MintRequest { life, ..MintRequest::of("alice") });
        assert_eq!(
            self.ask("GET", "/me/customer", Some(&expired), "").await.code(),
            "expired_token"
        );
        self.tally.count_rejection("expired");
        self.fails("a/b", "no_customer", None).await;
        self.tally.count_rejection("no_customer");
        let token = self.token("alice");
        assert_eq!(self.ask("DELETE", "/me/customer", Some(&token), "").await.status, 405);
    }

    async fn missing(&mut self) {
        for path in ["/", "/me/customer/alice"] {
            assert_eq!(self.ask("GET", path, None, "").await.code(), "not_found");
        }
        self.fails("sim_not_found", "customer_not_found", Some("miss")).await;
        self.fails("sim_not_found", "customer_not_found", Some("not_found")).await;
        self.fails("sim_other_customer", "upstream_invalid_response", Some("miss")).await;
        let token = self.token("erin");
        let lines = "Cache-Control: only-if-cached\r\n";
        let reply = self.ask("GET", "/me/customer", Some(&token), lines).await;
        assert_eq!(reply.code(), "not_cached");
        self.tally.count_lookup("miss");
    }

    /// Tokens that are introspected, until the issuer is unreachable.
    async fn introspected(&mut self) {
        let opaque = |customer| MintRequest::opaque(customer).with("iss", OPAQUE);
        let [known, other] = ["alice", "bob"].map(|customer| self.mint(&opaque(customer)));
        assert_eq!(self.ask("GET", "/me/customer", Some(&known), "").await.status, 200);
        self.world.issuer().inject(INTROSPECTION_PATH, None, Fault::Reset);
        let reply = self.ask("GET", "/me/customer", Some(&other), "").await;
        assert_eq!(reply.code(), "keys_unavailable");
        self.tally.count_rejection("keys_unavailable");
    }

    /// One token is refreshed before its expiry, and one refresh fails.
    async fn refreshed(&mut self) {
        self.clock.advance(secs(700));
        self.gets("alice", 200).await;
        self.world.until_count("juspay_bff_cache_refreshes_total{outcome=\"success\"}", 1).await;
        self.world.simulator().inject(FaultRule::once(dead()).of("bob"));
        self.gets("bob", 200).await;
        self.world.until_count("juspay_bff_cache_refreshes_total{outcome=\"failure\"}", 1).await;
        // `no-cache` would get a cached token that was never returned, so alice gets hers first.
        self.clock.advance(secs(40));
        self.gets("alice", 200).await;
        let token = self.token("alice");
        let reply =
            self.ask("GET", "/me/customer", Some(&token), "Cache-Control: no-cache\r\n").await;
        assert!(reply.cache_status().contains("fwd=request"), "{}", reply.cache_status());
    }

    /// Cached customers are served; the others fail until the breaker opens.
    async fn outage(&mut self) {
        self.clock.advance(secs(50));
        self.world.simulator().inject(FaultRule::always(dead()));
        for _ in 0..2 {
            let reply = self.gets("carol", 200).await;
            assert!(reply.cache_status().contains("detail=outage"), "{}", reply.cache_status());
        }
        for customer in ["frank", "gina", "henry", "irma"] {
            self.fails(customer, "upstream_error", Some("miss")).await;
        }
        self.fails("ivan", "upstream_unavailable", Some("miss")).await;
        self.gets("alice", 200).await;
        self.world.simulator().clear_faults();
        self.clock.advance(secs(6));
        self.gets("frank", 200).await;
    }

    /// Rejected by Juspay: first the API key, then the address.
    async fn rejected(&mut self) {
        for (customer, code) in [
            ("sim_bad_key", "upstream_rejected_credentials"),
            ("sim_ip_blocked", "upstream_rejected_origin"),
        ] {
            self.fails(customer, code, Some("miss")).await;
            self.clock.advance(secs(6));
            self.gets(if code.ends_with("origin") { "gina" } else { "henry" }, 200).await;
        }
    }

    async fn gets(&mut self, customer: &str, status: u16) -> Reply {
        let token = self.token(customer);
        let reply = self.ask("GET", "/me/customer", Some(&token), "").await;
        assert_eq!(reply.status, status, "{}", reply.text());
        reply
    }

    async fn fails(&mut self, customer: &str, code: &str, look_up: Option<&str>) {
        let token = self.token(customer);
        let reply = self.ask("GET", "/me/customer", Some(&token), "").await;
        assert_eq!(reply.code(), code);
        if let Some(outcome) = look_up {
            self.tally.count_lookup(outcome);
        }
    }

    /// One request on a connection of its own, counted.
    async fn ask(&mut self, method: &str, path: &str, token: Option<&str>, lines: &str) -> Reply {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}{lines}\r\n",
            token.unwrap_or_default(),
        );
        let mut stream = self.client.connect().await.expect("a connection");
        let saying = self.client.say(&mut stream, &request);
        let reply = with_timeout("an answer", saying).await.expect("an answer");
        let known = ["/me/customer", "/me/sdk-payload", "/me/prepare"];
        let path = path.split('?').next().unwrap();
        let route = if known.contains(&path) { path } else { "unmatched" };
        self.tally.count(route, &reply);
        reply
    }

    fn token(&self, customer: &str) -> String {
        self.mint(&MintRequest::of(customer))
    }

    fn mint(&self, wish: &MintRequest) -> String {
        self.world.issuer().mint(wish).unwrap()
    }
}

/// The time by Prometheus' clock.
pub fn now() -> Timestamp {
    SystemClock::shared().now()
}

/// Settings of the opaque issuer, of TLS, and the secret files of both.
fn settings(stage: &Stage, authority: &Authority, files: &TempDir) -> String {
    let secret = format!("{}{:032x}", guard::CLIENT_SECRET, rand::random::<u128>());
    fs::write(files.path().join("secret"), &secret).unwrap();
    stage.issuer().set_client("juspay-bff", &secret);
    let [certificate, key] = authority.server(2040).write(files.path());
    format!(
        r#"{SETTINGS}
        [server.tls]
        cert_file = '{certificate}'
        key_file = '{key}'
        [auth.issuers.opaque]
        issuer = "{OPAQUE}"
        audiences = ["juspay-bff-demo"]
        introspection_url = '{url}'
        introspection_client_id = 'juspay-bff'
        introspection_client_secret_file = '{files}/secret'
        "#,
        certificate = certificate.display(),
        key = key.display(),
        url = stage.issuer().introspection_url(),
        files = files.path().display(),
    )
}
