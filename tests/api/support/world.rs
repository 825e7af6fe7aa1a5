//! A separate world for each test: simulator, issuer and service on free ports, with one clock.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use juspay_bff::{
    app::Application,
    clock::Clock,
    settings::{Settings, Sources},
};
use simulator::{Issuer, MintRequest, Simulator};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{Client, ManualClock, guard, until};

/// The time at which every world starts.
pub const BEGINNING: &str = "2026-11-23T12:00:00Z";

const DEMO_SETTINGS: &str = include_str!("../../../config/demo.toml");

/// A world before the service starts, in which a test can set up its surroundings.
pub struct Stage {
    pub clock: ManualClock,
    /// The clock of simulator and service: `clock`, unless the simulator was configured with
    /// another one.
    ticking: Arc<dyn Clock>,
    pub api_key: String,
    simulator: simulator::Running,
}

/// Everything that a test needs. When dropped, it checks that no secret has leaked.
pub struct World {
    pub clock: ManualClock,
    pub service: Service,
    pub api_key: String,
    /// The service's settings.
    pub settings: Settings,
    simulator: simulator::Running,
}

/// The service, in its own thread.
pub struct Service {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    /// Requests a reply from its main thread.
    task_runs: UnboundedSender<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    pub async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    /// With a differently configured simulator.
    pub async fn set_with(alter: impl FnOnce(&mut simulator::Config)) -> Self {
        guard::watch_logs();
        let clock = ManualClock::at(BEGINNING);
        let api_key = format!("canary_{:032x}", rand::random::<u128>());
        let mut config = simulator::Config::on_free_ports();
        config.clock = Arc::new(clock.clone());
        config.api_keys = vec![api_key.as_str().into()];
        alter(&mut config);
        let ticking = Arc::clone(&config.clock);
        let simulator = simulator::start(config).await.expect("free ports");
        Self { clock, ticking, api_key, simulator }
    }

    pub fn issuer(&self) -> &Issuer {
        self.simulator.issuer()
    }

    pub fn simulator(&self) -> &Simulator {
        self.simulator.simulator()
    }

    /// Starts the service without waiting until it is ready.
    pub fn open(self, settings: &str) -> World {
        let base = base_settings(&self.simulator);
        self.open_over(base, settings)
    }

    /// Starts the service without issuers.
    pub fn open_without_issuers(self, settings: &str) -> World {
        let base = base_settings(&self.simulator);
        let (base, _issuer) = base.split_once("[auth.issuers.main]").unwrap();
        let base = base.to_owned();
        self.open_over(base, settings)
    }

    /// Starts the service with `config/demo.toml`, on free ports, and waits until it is ready.
    pub async fn open_demo(self) -> World {
        let free = format!(
            r#"
            server = {{ listen = "127.0.0.1:0", admin_listen = "127.0.0.1:0", shutdown_delay = "0s" }}
            log.level = "trace"
            juspay.base_url = "{}"
            auth.issuers.simulator.issuer = "{}"
            "#,
            self.simulator().base_url(),
            self.issuer().issuer_url(),
        );
        let world = self.open_over(DEMO_SETTINGS.to_owned(), &free);
        world.until_ready().await;
        world
    }

    fn open_over(self, base: String, settings: &str) -> World {
        let Self { clock, ticking, api_key, simulator } = self;
        let sources = Sources::default()
            .text("the world's", base)
            .text("the world's key", api_key_setting(&api_key, settings))
            .text("the test's", settings);
        let settings = sources.clone().load().unwrap_or_else(|faults| panic!("{faults}")).settings;
        let service = Service::start(sources, ticking);
        World { clock, service, api_key, settings, simulator }
    }

    /// Starts the service and waits until it is ready.
    pub async fn open_ready(self, settings: &str) -> World {
        let world = self.open(settings);
        world.until_ready().await;
        world
    }
}

impl World {
    /// With the default settings.
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With these settings (TOML) over the default ones.
    pub async fn with(settings: &str) -> Self {
        Self::with_config(settings, |_| {}).await
    }

    /// The same with another simulator.
    pub async fn with_config(settings: &str, alter: impl FnOnce(&mut simulator::Config)) -> Self {
        Stage::set_with(alter).await.open_ready(settings).await
    }

    pub fn simulator(&self) -> &Simulator {
        self.simulator.simulator()
    }

    pub fn issuer(&self) -> &Issuer {
        self.simulator.issuer()
    }

    /// Seconds since 1970, as in a token's claims.
    pub fn clock_seconds(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// A client with a token for `subject`.
    pub fn client(&self, subject: &str) -> Client {
        self.client_with(&MintRequest::of(subject))
    }

    /// A client with a token of this kind.
    pub fn client_with(&self, wish: &MintRequest) -> Client {
        let token = self.issuer().mint(wish).expect("a token");
        self.client_with_token(&token)
    }

    /// A client with this token.
    pub fn client_with_token(&self, token: &str) -> Client {
        Client::new(self.service.public, Some(token.to_owned()))
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Client {
        Client::new(self.service.public, None)
    }

    /// A client of the admin listener.
    pub fn admin(&self) -> Client {
        Client::new(self.service.admin, None)
    }

    /// The value of a series in `/metrics`; zero if absent.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin().get("/metrics").await.text();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or(0.0)
    }

    pub async fn until_ready(&self) {
        until("readiness", async || self.admin().get("/readyz").await.status == 200).await;
    }
}

/// The default values of the settings that a world changes: retries, attempt timeout, breaker.
pub fn shipped() -> String {
    let shipped: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let juspay = &shipped["juspay"];
    let [retries, time] = ["max_retries", "try_timeout"].map(|key| &juspay[key]);
    let calls = &juspay["breaker"]["min_calls"];
    format!(
        "juspay.max_retries = {retries}\njuspay.try_timeout = {time}\n\
         juspay.breaker.min_calls = {calls}\n"
    )
}

/// An inline key, unless the test sets a file.
fn api_key_setting(api_key: &str, settings: &str) -> String {
    let by_file = settings.contains("api_key_file");
    if by_file { String::new() } else { format!("juspay.api_key = \"{api_key}\"") }
}

fn base_settings(simulator: &simulator::Running) -> String {
    let (juspay, issuer) = (simulator.simulator(), simulator.issuer());
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        admin_listen = "127.0.0.1:0"
        workers = 2
        shutdown_delay = "0s"
        [log]
        level = "trace"
        # One try, and no breaker: a test of those sets them.
        [juspay]
        max_retries = 0
        try_timeout = "5s"
        breaker.min_calls = 100_000
        base_url = "{}"
        merchant_id = "{}"
        [auth.issuers.main]
        issuer = "{}"
        audiences = ["juspay-bff-demo"]
        algorithms = ["ES256", "RS256"]
        discovery = true
        "#,
        juspay.base_url(),
        juspay.merchant(),
        issuer.issuer_url(),
    )
}

impl Service {
    /// Starts the service as `serve` does, but with this clock.
    pub fn start(sources: Sources, clock: Arc<dyn Clock>) -> Self {
        let loaded = sources.load().unwrap_or_else(|faults| panic!("{faults}"));
        let (stop, stopped) = oneshot::channel();
        let (started, addresses) = mpsc::channel();
        let (task_runs, mut requests) =
            tokio::sync::mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let application = Application::build(loaded, clock).expect("it starts");
                let public = reachable(application.public_addresses());
                let admin = reachable(application.admin_addresses());
                started.send((public, admin)).expect("the test waits");
                actix_web::rt::spawn(async move {
                    while let Some(done) = requests.recv().await {
                        // If this task was already running when the request came, tasks that were
                        // woken before still wait.
                        tokio::task::yield_now().await;
                        let _is_waited_for = done.send(());
                    }
                });
                application.run(async { drop(stopped.await) }).await.expect("it stops well");
            });
        });
        let (public, admin) = addresses.recv().expect("the service has started");
        Self { public, admin, stop: Some(stop), task_runs, thread: Some(thread) }
    }

    /// Sends the stop signal without waiting for the end.
    pub fn signal(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _was_waiting = stop.send(());
        }
    }

    /// Lets background tasks, such as the check of secret files, react. Tasks run in the order in
    /// which they were woken.
    pub async fn run_pending_tasks(&self) {
        let (done, has_run) = oneshot::channel();
        let _is_running = self.task_runs.send(done);
        let _has_ended = has_run.await;
    }

    /// Whether the service has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// The first of these addresses as reachable from this machine; port 0 if there is none.
fn reachable(addresses: &[SocketAddr]) -> SocketAddr {
    let port = addresses.first().map_or(0, SocketAddr::port);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal();
        // A failed test may not have advanced the clock to the end of the drain.
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            assert!(thread.join().is_ok(), "the service panicked");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            guard::check(&self.api_key, &self.simulator);
        }
    }
}
