//! Builds the service, runs it and drains it (promise P8). The only place where its parts are connected.
//!
//! Drain, after the stop signal: `/readyz` returns 503 and responses close their connections, so that load
//! balancers and clients use other instances. New connections are served for `server.shutdown_delay`. Then the
//! public listener accepts waiting connections, closes, and responds to all accepted requests. The admin
//! listener closes last, so that operators can observe the end.

mod replicas;
mod secrets;

use std::{fmt, future::Future, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::Request;
use actix_service::{fn_factory_with_config, fn_service};
use actix_web::{
    App,
    dev::AppConfig,
    middleware::from_fn,
    rt::{self, task::JoinHandle},
    web,
};
use futures_util::future::ready;

use self::{replicas::Replicas, secrets::Secrets};
use crate::{
    admin::{self, Admin},
    auth::{Authenticator, JwksRefreshers},
    cache::CustomerCache,
    clock::{Clock, Throttle},
    concurrency::Limits,
    customer::CustomerRefKey,
    juspay::{
        api_keys::ApiKeys,
        client::{Client, Juspay},
        creation::{CreatingClient, Creation},
        resilience::{Resilience, ResilientClient},
    },
    metrics::Metrics,
    problem::Challenges,
    public::{Cors, Handler, RequestLog, SdkPayloads},
    rate_limit::CustomerRateLimit,
    server::{Drain, Listener, ListenerCapacity, ListenerConfig, Listeners, Server, serve},
    settings::{Effective, Loaded, Settings},
    traces::{self, Exporter, Tracer},
    watched_file::{Polling, Reload},
};

pub use crate::server::ListenError;

/// Pause between two sweeps of expired entries.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How long sending the last spans may take, within `server.shutdown_grace`.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A service that has bound its sockets, but does not serve yet.
pub struct Application {
    public: Server,
    admin: Server,
    public_addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    reload: Reload,
    state: AppState,
    settings: Settings,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("public_addresses", &self.public_addresses)
            .field("admin_addresses", &self.admin_addresses)
            .finish_non_exhaustive()
    }
}

/// Why the service fails to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The threads or sockets of a listener fail.
    #[error("failed to start the listeners: {0}")]
    Serve(#[from] io::Error),
    /// A secret's file has become unusable since the settings were read.
    #[error("{0}")]
    Secret(#[from] crate::secret_file::SecretFileError),
    /// `juspay.ca_file`.
    #[error("juspay.ca_file: {0}")]
    Tls(#[from] crate::tls::TlsError),
    /// The files of `server.tls`.
    #[error(transparent)]
    ServerTls(#[from] crate::tls::ServerTlsError),
    /// The issuers' keys.
    #[error("auth: {0}")]
    Auth(#[from] crate::auth::SetUpError),
    /// The shared tier.
    #[cfg(feature = "shared")]
    #[error("shared: {0}")]
    Shared(#[from] crate::shared::redis::SetUpError),
    /// The exporter of spans.
    #[error(transparent)]
    Traces(#[from] traces::StartError),
    /// A bug in this crate.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The state that all workers share.
struct AppState {
    authenticator: Arc<Authenticator>,
    refreshers: JwksRefreshers,
    cache: CustomerCache,
    replicas: Option<Replicas>,
    limit: Arc<CustomerRateLimit>,
    juspay: Arc<Juspay>,
    resilience: Arc<Resilience>,
    /// With `juspay.create_missing_customers`.
    creation: Option<Arc<Creation>>,
    secrets: Secrets,
    refs: CustomerRefKey,
    tracer: Tracer,
    exporter: Option<Exporter>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    drain: Drain,
}

impl AppState {
    fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
        let mut secrets = Secrets::open(settings)?;
        let server = &settings.server;
        let limits = Limits::new(&metrics, server.max_in_flight, server.max_waiting);
        let (authenticator, refreshers) =
            authenticator(settings, &mut secrets, &limits, (&clock, &metrics))?;
        let headers = secrets.traces_headers.clone();
        let (tracer, exporter) = traces::start(&settings.traces, headers, &clock, &metrics.traces)?;
        let juspay = Juspay::new(
            settings.juspay.clone(),
            ApiKeys::new(
                Arc::clone(&secrets.api_key),
                secrets.api_key_next.clone(),
                metrics.upstream.key_slot.clone(),
            ),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        )?
        .with_proxy_credentials(secrets.egress_proxy_credentials.clone());
        let resilience =
            Resilience::new(settings.juspay.clone(), Arc::clone(&clock), Arc::clone(&metrics));
        let (replicas, files) = replicas::open(settings, &clock, &metrics)?.unzip();
        secrets.shared_tier = files.unwrap_or_default();
        let tier = replicas.as_ref().map(Replicas::tier);
        let cache =
            CustomerCache::new(settings, &limits, tier, Arc::clone(&clock), Arc::clone(&metrics));
        let refs = secrets.customer_ref_key.as_ref();
        Ok(Self {
            authenticator: Arc::new(authenticator),
            refreshers,
            cache,
            replicas,
            limit: Arc::new(CustomerRateLimit::new(
                settings.limits.per_customer,
                Arc::clone(&clock),
            )),
            juspay: Arc::new(juspay),
            resilience: Arc::new(resilience),
            creation: creation(settings, &clock, &metrics),
            refs: refs
                .map_or_else(CustomerRefKey::random, |key| CustomerRefKey::new(Arc::clone(key))),
            secrets,
            tracer,
            exporter,
            metrics,
            clock,
            drain: Drain::default(),
        })
    }

    /// Starts the tasks that run beside the listeners. Returns also the exporter of spans, which ends last.
    fn start_background(
        self,
        settings: &Settings,
        reload: &Reload,
    ) -> (Vec<JoinHandle<()>>, Option<Exporter>) {
        let Self { authenticator, refreshers, cache, replicas, clock, .. } = self;
        let polling = Polling::new(settings.secrets.poll, &clock, reload);
        let mut background = vec![
            rt::spawn(refreshers.run()),
            rt::spawn(watch_revocations(
                Arc::clone(&authenticator),
                cache.clone(),
                polling.clone(),
            )),
            rt::spawn(reload_keys(Arc::clone(&authenticator), reload.clone())),
            rt::spawn(sweep_all(
                Arc::clone(&authenticator),
                cache.clone(),
                self.limit,
                Arc::clone(&clock),
            )),
            rt::spawn(self.secrets.watch(polling, self.metrics)),
        ];
        if let Some(replicas) = replicas {
            background.push(rt::spawn(replicas.follow(
                authenticator,
                cache,
                self.resilience,
                clock,
            )));
        }
        (background, self.exporter)
    }

    fn request_log(&self, settings: &Settings) -> RequestLog {
        RequestLog::new(
            (&self.drain, settings.server.max_connections),
            settings.log.access,
            self.refs.clone(),
            self.tracer.clone(),
            (&self.metrics, &self.clock),
        )
    }

    fn admin(&self, settings: Effective) -> web::Data<Admin> {
        web::Data::new(Admin {
            authenticator: Arc::clone(&self.authenticator),
            cache: self.cache.clone(),
            resilience: Arc::clone(&self.resilience),
            metrics: Arc::clone(&self.metrics),
            drain: self.drain.clone(),
            token: self.secrets.admin_token.clone(),
            settings,
        })
    }
}

impl Application {
    /// Binds all addresses. Must be called within an actix runtime.
    ///
    /// # Errors
    /// If the settings, though well-formed, do not fit this machine.
    pub fn build(loaded: Loaded, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let Loaded { settings, effective, .. } = loaded;
        let state = AppState::new(&settings, clock)?;
        let public = Listeners::bind("server.listen", &settings.server.listen)?;
        let admin = Listeners::bind("server.admin_listen", &settings.server.admin_listen)?;
        Ok(Self {
            public: public_server(&state, &settings, public.sockets)?,
            admin: admin_server(&state, effective, admin.sockets)?,
            public_addresses: public.addresses,
            admin_addresses: admin.addresses,
            reload: Reload::default(),
            state,
            settings,
        })
    }

    /// The TCP addresses of the public listener.
    #[must_use]
    pub fn public_addresses(&self) -> &[SocketAddr] {
        &self.public_addresses
    }

    /// The TCP addresses of the admin listener.
    #[must_use]
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Requests that the service reads its files at once.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until `stop` completes, then drains.
    ///
    /// # Errors
    /// If a listener fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { public, admin, state, settings, reload, .. } = self;
        let (public, admin) = (public.start().await?, admin.start().await?);
        let (clock, drain) = (Arc::clone(&state.clock), state.drain.clone());
        let (background, exporter) = state.start_background(&settings, &reload);
        stop.await;
        let delay = settings.server.shutdown_delay;
        let end = clock.monotonic().plus(delay);
        let last = clock.monotonic().plus(settings.server.shutdown_grace);
        drain.begin();
        tracing::info!(
            ?delay,
            "shutdown started: reporting not ready, still accepting connections"
        );
        clock.sleep_until(end).await;
        public.stop().await;
        admin.stop().await;
        background.iter().for_each(JoinHandle::abort);
        if let Some(exporter) = exporter {
            exporter.end(last.min(clock.monotonic().plus(LAST_SPANS))).await;
        }
        tracing::info!("shutdown complete");
        Ok(())
    }
}

/// Reads the issuers' key files again on a reload request, in addition to their own polling.
async fn reload_keys(authenticator: Arc<Authenticator>, reload: Reload) {
    let mut requests = reload.requests();
    while requests.changed().await.is_ok() {
        authenticator.reload_key_files();
    }
}

/// Reloads `auth.revocations_file`, if it is set, and purges the customers whose tokens it revokes.
async fn watch_revocations(
    authenticator: Arc<Authenticator>,
    cache: CustomerCache,
    mut polling: Polling,
) {
    loop {
        polling.due().await;
        let Some(customers) = authenticator.reload_revocations().await else { return };
        for customer in &customers {
            cache.purge(customer);
        }
        for customer in &customers {
            cache.purge_unannounced(customer).await;
        }
    }
}

/// Creates the authenticator and the refreshers of its keys.
fn authenticator(
    settings: &Settings,
    secrets: &mut Secrets,
    limits: &Limits,
    (clock, metrics): (&Arc<dyn Clock>, &Arc<Metrics>),
) -> Result<(Authenticator, JwksRefreshers), StartError> {
    let (clock, metrics) = (Arc::clone(clock), Arc::clone(metrics));
    let poll = settings.secrets.poll;
    let (authenticator, refreshers) =
        Authenticator::new(&settings.auth, poll, limits, clock, metrics)?;
    secrets.introspection = authenticator.introspection_secret();
    secrets.hmac = authenticator.hmac_secrets();
    let nonce_key = secrets.dpop_nonce_key.clone();
    let reached_at = settings.server.public_url.as_deref();
    Ok((authenticator.reached_at(reached_at, nonce_key), refreshers))
}

/// The creation of missing customers, if it is on.
fn creation(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Creation>> {
    let rate = settings.limits.create_customers;
    let creation = || Creation::new(rate, Arc::clone(clock), Arc::clone(metrics));
    settings.juspay.create_missing_customers.then(|| Arc::new(creation()))
}

/// Removes expired entries in a loop.
async fn sweep_all(
    authenticator: Arc<Authenticator>,
    cache: CustomerCache,
    limit: Arc<CustomerRateLimit>,
    clock: Arc<dyn Clock>,
) {
    tokio::join!(
        cache.keep_swept(SWEEP_EVERY),
        sweep_tokens(&authenticator, &clock),
        sweep_the_rest(&authenticator, &limit, &*clock),
    );
}

/// Throttled, because there may be millions of tokens.
async fn sweep_tokens(authenticator: &Authenticator, clock: &Arc<dyn Clock>) {
    let mut throttle = Throttle::background(Arc::clone(clock));
    loop {
        clock.sleep_until(clock.monotonic().plus(SWEEP_EVERY)).await;
        authenticator.sweep_tokens(&mut throttle).await;
    }
}

async fn sweep_the_rest(
    authenticator: &Authenticator,
    limit: &CustomerRateLimit,
    clock: &dyn Clock,
) {
    loop {
        clock.sleep_until(clock.monotonic().plus(SWEEP_EVERY)).await;
        limit.sweep();
        authenticator.sweep();
    }
}

fn public_server(
    state: &AppState,
    settings: &Settings,
    sockets: Vec<Listener>,
) -> Result<Server, StartError> {
    let (juspay, resilience) = (Arc::clone(&state.juspay), Arc::clone(&state.resilience));
    let creation = state.creation.clone();
    let (cache, limit) = (state.cache.clone(), Arc::clone(&state.limit));
    let (authenticator, clock) = (Arc::clone(&state.authenticator), Arc::clone(&state.clock));
    let (log, challenges) = (state.request_log(settings), Challenges::of(&settings.auth));
    let sdk_payloads = SdkPayloads::new(settings).map(Arc::new);
    let cors = Cors::new(&settings.cors).map(Arc::new);
    let base_path: Arc<str> = settings.server.base_path().into();
    let (id_form, not_found_ttl) = (settings.juspay.customer_id_form, settings.cache.not_found_ttl);
    // Runs once per worker and socket.
    let app = move || {
        let client = Rc::new(Client::new(Arc::clone(&juspay)));
        let client = Rc::new(ResilientClient::new(Arc::clone(&resilience), client));
        let handler = Rc::new(Handler {
            authenticator: Arc::clone(&authenticator),
            challenges,
            cache: cache.clone(),
            api: match &creation {
                Some(creation) => Rc::new(CreatingClient::new(Arc::clone(creation), client)),
                None => client,
            },
            id_form,
            not_found_ttl,
            sdk_payloads: sdk_payloads.clone(),
            cors: cors.clone(),
            base_path: Arc::clone(&base_path),
            limit: Arc::clone(&limit),
            log: log.clone(),
            clock: Arc::clone(&clock),
        });
        fn_factory_with_config(move |_: AppConfig| {
            let handler = Rc::clone(&handler);
            ready(Ok::<_, ()>(fn_service(move |request: Request| {
                let handler = Rc::clone(&handler);
                async move { Ok::<_, actix_web::Error>(handler.handle(request).await) }
            })))
        })
    };
    let tls = state.secrets.tls.clone();
    let config = ListenerConfig::public(settings, tls, &state.clock, &state.metrics);
    Ok(serve(app, &config, ListenerCapacity::public(&settings.server), sockets)?)
}

fn admin_server(
    state: &AppState,
    in_force: Effective,
    sockets: Vec<Listener>,
) -> Result<Server, StartError> {
    let admin_state = state.admin(in_force);
    let app = move || {
        App::new()
            .app_data(web::Data::clone(&admin_state))
            .wrap(from_fn(admin::respond_with_problems))
            .configure(admin::routes)
    };
    let config = ListenerConfig::admin(admin::MAX_BODY, &state.clock, &state.metrics);
    Ok(serve(app, &config, ListenerCapacity::admin(), sockets)?)
}
