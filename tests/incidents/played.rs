//! Causes an incident in a new world, and scrapes the service before and after a minute of traffic.

use std::{fs, time::Duration};

use clock::Clock as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulator::{
    Fault, MintRequest,
    issuer::{INTROSPECTION_PATH, JWKS_PATH},
};
use tempfile::TempDir;

use crate::{
    support::{Client, Stage, World, authority::Authority, guard, until, with_timeout},
    table::{Cause, Incident, Traffic},
};

/// `iss` of opaque tokens.
const OPAQUE: &str = "https://opaque.example";

/// Requests are sent every ten seconds.
const STEP: Duration = Duration::from_secs(10);
const STEPS: usize = 6;
/// New customers in each step.
const CUSTOMERS: usize = 4;

/// What the service exposed and logged during an incident.
pub struct Played {
    /// A minute before `before`, if the incident needs it.
    pub healthy: Option<Scrape>,
    pub before: Option<Scrape>,
    /// `None` if the service can't be reached.
    pub after: Option<Scrape>,
    pub log: Vec<Value>,
    /// The times of the last success that the incident stops.
    pub stopped: Option<&'static str>,
}

pub struct Scrape {
    pub metrics: String,
    pub readiness: String,
    pub at: Timestamp,
}

impl Played {
    pub async fn of(incident: &Incident) -> Self {
        let known = guard::log_lines("").len();
        let mut rig = Rig::of(incident).await;
        let is_stopped = incident.causes.iter().any(|cause| matches!(cause, Cause::Stop));
        let is_down = is_stopped && incident.settings.is_empty();
        let mut healthy = None;
        if is_down {
            healthy = Some(rig.scrape().await);
            rig.minute(Traffic::New).await;
        }
        if !incident.starts_with_it {
            for cause in incident.causes {
                if !is_down {
                    rig.apply(cause).await;
                }
            }
        }
        rig.pass(Duration::from_secs(60 * incident.minutes_later)).await;
        let before = rig.scrape().await;
        let after = if is_down {
            rig.world.service.signal();
            until("the service's end", async || rig.world.service.has_ended()).await;
            None
        } else {
            rig.minute(incident.traffic).await;
            Some(rig.scrape().await)
        };
        let lines = guard::log_lines("").split_off(known);
        let log = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        // Lets a drain end.
        rig.world.clock.advance(Duration::from_secs(600));
        let stopped = incident.causes.iter().find_map(|cause| match cause {
            Cause::KeySetGone => Some("juspay_bff_jwks_last_success_timestamp_seconds"),
            Cause::Remove(_) => Some("juspay_bff_secret_last_reload_success_timestamp_seconds"),
            Cause::Simulator(..)
            | Cause::IntrospectionGone
            | Cause::NewSigningKeys
            | Cause::FullDisk
            | Cause::Stop => None,
        });
        Self { healthy, before: Some(before), after, log, stopped }
    }
}

/// A world and the files of its service.
struct Rig {
    world: World,
    authority: Authority,
    files: TempDir,
    customers: usize,
}

impl Rig {
    async fn of(incident: &Incident) -> Self {
        let stage = Stage::set().await;
        stage.clock.advance(Duration::from_secs(86_400 * incident.days_later));
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.server(2040).write(files.path());
        fs::write(files.path().join("api-key"), &stage.api_key).unwrap();
        let secret = format!("{}{:032x}", guard::CLIENT_SECRET, rand::random::<u128>());
        fs::write(files.path().join("secret"), &secret).unwrap();
        stage.issuer().set_client("juspay-bff", &secret);
        let settings = incident
            .settings
            .replace("{files}", &files.path().display().to_string())
            .replace("{opaque}", OPAQUE)
            .replace("{introspection_url}", &stage.issuer().introspection_url());
        // The clock may jump during a fetch, which then times out.
        let settings = format!("auth.jwks_refresh = \"1h\"\n{settings}");
        let world = if incident.starts_with_it {
            stage.issuer().inject(JWKS_PATH, None, Fault::Html);
            stage.open(&settings)
        } else {
            stage.open_ready(&settings).await
        };
        let mut rig = Self { world, authority, files, customers: 0 };
        if matches!(incident.traffic, Traffic::Known) {
            rig.send(Traffic::Known).await;
        }
        rig
    }

    async fn apply(&mut self, cause: &Cause) {
        let world = &mut self.world;
        match cause {
            Cause::Simulator(path, body) => {
                let body = body.replace("sim_key", &world.api_key);
                let address = world.simulator().base_url().trim_start_matches("http://");
                let simulator = Client::new(address.parse().unwrap(), None);
                let body: Value = serde_json::from_str(&body).unwrap();
                let reply = simulator.post(&format!("/_simulator/{path}"), &body).await;
                assert!(reply.status < 300, "{}", reply.text());
            }
            Cause::KeySetGone => world.issuer().inject(JWKS_PATH, None, Fault::Html),
            Cause::IntrospectionGone => {
                world.issuer().inject(INTROSPECTION_PATH, None, Fault::Reset);
            }
            Cause::NewSigningKeys => world.issuer().rotate(false).unwrap(),
            Cause::Remove(file) => fs::remove_file(self.files.path().join(file)).unwrap(),
            Cause::FullDisk => panic!("full_disk plays it"),
            Cause::Stop => {
                world.service.signal();
                until("the drain", async || world.admin().get("/readyz").await.status == 503).await;
            }
        }
    }

    /// A minute of traffic.
    async fn minute(&mut self, traffic: Traffic) {
        let start = self.world.clock.now();
        for step in 1..=STEPS {
            self.send(traffic).await;
            self.world.until_count("juspay_bff_upstream_in_flight", 0).await;
            let end =
                start + SignedDuration::try_from(STEP).unwrap() * i32::try_from(step).unwrap();
            let rest = end.duration_since(self.world.clock.now());
            self.world.clock.advance(rest.try_into().expect("requests take less than a step"));
            self.world.service.run_pending_tasks().await;
        }
    }

    /// Time without requests.
    async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() / STEP.as_secs() {
            self.world.clock.advance(STEP);
            self.world.service.run_pending_tasks().await;
        }
    }

    async fn send(&mut self, traffic: Traffic) {
        if !matches!(traffic, Traffic::Known) {
            self.customers += CUSTOMERS;
        }
        let customers = (0..CUSTOMERS).map(|number| format!("c{}", self.customers + number));
        let wishes: Vec<_> = customers.map(|id| wish(traffic, &id)).collect();
        match traffic {
            Traffic::New | Traffic::Known | Traffic::WrongAudience | Traffic::Opaque => {
                for wish in &wishes {
                    self.world.client_with(wish).me().await;
                }
            }
            Traffic::Tls => {
                let client = self.authority.tls_client(self.world.service.public, None);
                for wish in &wishes {
                    let token = self.world.issuer().mint(wish).unwrap();
                    assert_eq!(client.me(&token).await.unwrap().status, 200);
                }
            }
            Traffic::SdkPayload => {
                for wish in &wishes {
                    let client = self.world.client_with(wish);
                    client.get("/me/sdk-payload?action=process").await;
                    let empty = "Content-Length: 0\r\n";
                    let prepared = client.request("POST", "/me/prepare", empty).await;
                    assert_eq!(prepared.status, 202);
                }
            }
            Traffic::Unanswered => self.unanswered(&wishes).await,
            Traffic::Slow => {
                for wish in &wishes {
                    self.held(wish, Duration::from_secs(2), &[]).await;
                }
            }
            Traffic::Crowd => {
                let (held, others) = wishes.split_first().unwrap();
                self.held(held, Duration::from_millis(500), others).await;
            }
        }
    }

    /// One call to Juspay takes this time. The others' requests arrive meanwhile.
    async fn held(&self, wish: &MintRequest, time: Duration, others: &[MintRequest]) {
        let latch = self.world.simulator().hold(&wish.subject);
        let client = self.world.client_with(wish);
        let request = tokio::spawn(async move { client.me().await });
        with_timeout("a call", latch.arrived(1)).await;
        for other in others {
            self.world.client_with(other).me().await;
        }
        self.world.clock.advance(time);
        latch.release();
        request.await.unwrap();
    }

    /// Juspay never answers.
    async fn unanswered(&self, wishes: &[MintRequest]) {
        let calls = self.world.simulator().total_requests() + u64::try_from(wishes.len()).unwrap();
        let clients: Vec<_> = wishes.iter().map(|wish| self.world.client_with(wish)).collect();
        let requests: Vec<_> =
            clients.into_iter().map(|it| tokio::spawn(async move { it.me().await })).collect();
        until("the calls", async || self.world.simulator().total_requests() == calls).await;
        // juspay.try_timeout.
        self.world.clock.advance(Duration::from_secs(5));
        for request in requests {
            assert_eq!(request.await.unwrap().code(), "upstream_timeout");
        }
    }

    async fn scrape(&self) -> Scrape {
        let admin = self.world.admin();
        let readiness = admin.get("/readyz").await.text().trim().to_owned();
        let metrics = admin.get("/metrics").await.text();
        Scrape { metrics, readiness, at: self.world.clock.now() }
    }
}

fn wish(traffic: Traffic, customer: &str) -> MintRequest {
    match traffic {
        Traffic::Opaque => MintRequest::opaque(customer).with("iss", json!(OPAQUE)),
        Traffic::WrongAudience => {
            MintRequest { audience: "another-service".to_owned(), ..MintRequest::of(customer) }
        }
        Traffic::New
        | Traffic::Known
        | Traffic::Tls
        | Traffic::Unanswered
        | Traffic::Slow
        | Traffic::Crowd
        | Traffic::SdkPayload => MintRequest::of(customer),
    }
}
