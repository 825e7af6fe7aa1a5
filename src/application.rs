//! Puts the stations together behind two listeners, and takes them apart again without losing a
//! request (promise P8).
//!
//! Drain, from the stop signal on: `/readyz` says 503 and answers close their connections, so that
//! load balancers and clients go elsewhere; new connections are served for
//! `server.shutdown_delay`; then the public listener accepts what waits, closes and answers all that
//! it has accepted, and at last the admin listener, so that the end can be watched.

mod closing;
mod connection;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod head;
mod listen;
mod queue;
mod secrets;
mod serve;
mod server;
mod shortcut;
mod stream;

use std::{fmt, future::Future, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_service::IntoServiceFactory as _;
use actix_web::{App, middleware::from_fn, rt, web};

use self::{
    listen::{Listener, Listeners},
    secrets::Secrets,
    serve::{Door, serve},
    server::{Server, Share},
    shortcut::Shortcut,
};
use crate::{
    auth::{Authenticator, JwksRefreshers},
    cache::CustomerCache,
    clock::{Clock, Throttle},
    concurrency::ConcurrencyLimits,
    customer::CustomerRefKey,
    juspay::{
        CustomerApi,
        client::{Client, Juspay},
        keys::ApiKeys,
        resilience::{Resilience, ResilientClient},
    },
    metrics::Metrics,
    rate_limit::CustomerRateLimit,
    routes::{self, Admin, Connections, Counts, Customers, Drain, Observer, ShortWay},
    settings::{Effective, Loaded, Settings},
    traces::{self, Exporter, Tracer},
    watched_file::{Polling, Reload},
};

pub use listen::ListenError;

/// Rest between two looks at all tokens for those that are dead and may leave memory.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How long the last spans have to be sent, within `server.shutdown_grace`.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A service that listens, but doesn't serve yet.
pub struct Application {
    public: Server,
    admin: Server,
    public_addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    reload: Reload,
    stations: Stations,
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

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A bound socket can't be served.
    #[error("failed to start the listeners: {0}")]
    Serve(#[from] io::Error),
    /// A secret's file changed for the worse since the settings were read.
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
    /// The sender of spans.
    #[error(transparent)]
    Traces(#[from] traces::StartError),
    /// A bug of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What all workers share.
struct Stations {
    authenticator: Arc<Authenticator>,
    refreshers: JwksRefreshers,
    cache: CustomerCache,
    limit: Arc<CustomerRateLimit>,
    juspay: Arc<Juspay>,
    resilience: Arc<Resilience>,
    secrets: Secrets,
    refs: CustomerRefKey,
    tracer: Tracer,
    exporter: Exporter,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    drain: Drain,
}

impl Stations {
    fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
        let mut secrets = Secrets::open(settings)?;
        let (waiting, verifying) = (&metrics.http.waiting, &metrics.auth.verifications);
        let server = &settings.server;
        let limits =
            ConcurrencyLimits::new(waiting, verifying, server.max_in_flight, server.max_waiting);
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
        )?;
        let resilience =
            Resilience::new(settings.juspay.clone(), Arc::clone(&clock), Arc::clone(&metrics));
        let refs = secrets.customer_ref_key.as_ref();
        Ok(Self {
            authenticator: Arc::new(authenticator),
            refreshers,
            cache: CustomerCache::new(settings, &limits, Arc::clone(&clock), Arc::clone(&metrics)),
            limit: Arc::new(CustomerRateLimit::new(
                settings.limits.per_customer,
                Arc::clone(&clock),
            )),
            juspay: Arc::new(juspay),
            resilience: Arc::new(resilience),
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

    fn observer(&self, settings: &Settings) -> Observer {
        Observer {
            drain: self.drain.clone(),
            connections: Connections::new(&self.metrics, settings.server.max_connections),
            access: settings.log.access,
            challenges: routes::Challenges::of(&settings.auth),
            tracer: self.tracer.clone(),
            refs: self.refs.clone(),
            metrics: Arc::clone(&self.metrics),
            counts: Counts::of(&self.metrics),
            clock: Arc::clone(&self.clock),
        }
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
    /// Listens on all addresses. To be called within an actix runtime.
    ///
    /// # Errors
    /// When the settings, though well-formed, don't fit this machine.
    pub fn build(loaded: Loaded, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let Loaded { settings, effective, .. } = loaded;
        let stations = Stations::new(&settings, clock)?;
        let public = Listeners::bind("server.listen", &settings.server.listen)?;
        let admin = Listeners::bind("server.admin_listen", &settings.server.admin_listen)?;
        Ok(Self {
            public: public_server(&stations, &settings, public.sockets)?,
            admin: admin_server(&stations, effective, admin.sockets)?,
            public_addresses: public.addresses,
            admin_addresses: admin.addresses,
            reload: Reload::default(),
            stations,
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

    /// Makes the service read its files at once.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until `stop` completes, then drains.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { public, admin, stations, settings, reload, .. } = self;
        let (public, admin) = (public.start().await?, admin.start().await?);
        let Stations {
            authenticator,
            refreshers,
            cache,
            limit,
            secrets,
            clock,
            drain,
            metrics,
            exporter,
            ..
        } = stations;
        let polling = Polling::new(settings.secrets.poll, &clock, &reload);
        let background = [
            rt::spawn(refreshers.run()),
            rt::spawn(watch_revocations(
                Arc::clone(&authenticator),
                cache.clone(),
                polling.clone(),
            )),
            rt::spawn(reload_keys(Arc::clone(&authenticator), reload)),
            rt::spawn(sweep_all(authenticator, cache, limit, Arc::clone(&clock))),
            rt::spawn(secrets.watch(polling, metrics)),
        ];
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
        background.iter().for_each(rt::task::JoinHandle::abort);
        exporter.end(last.min(clock.monotonic().plus(LAST_SPANS))).await;
        tracing::info!("shutdown complete");
        Ok(())
    }
}

/// Has the issuers' key files read when all files are to be; by themselves they are read as often.
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
        for customer in customers {
            cache.purge(&customer);
        }
    }
}

/// Who verifies callers, and who keeps the keys for that.
fn authenticator(
    settings: &Settings,
    secrets: &mut Secrets,
    limits: &ConcurrencyLimits,
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

/// Frees what is dead, again and again.
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

/// There may be millions of them.
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
    stations: &Stations,
    settings: &Settings,
    sockets: Vec<Listener>,
) -> Result<Server, StartError> {
    let (juspay, resilience) = (Arc::clone(&stations.juspay), Arc::clone(&stations.resilience));
    let (cache, limit) = (stations.cache.clone(), Arc::clone(&stations.limit));
    let authenticator = web::Data::from(Arc::clone(&stations.authenticator));
    let observer = stations.observer(settings);
    let (id_form, not_found_ttl) = (settings.juspay.customer_id_form, settings.cache.not_found_ttl);
    // Runs once in each worker.
    let app = move || {
        let client = Rc::new(Client::new(Arc::clone(&juspay)));
        let api: Rc<dyn CustomerApi> =
            Rc::new(ResilientClient::new(Arc::clone(&resilience), client));
        let (cache, limit, observer) = (cache.clone(), Arc::clone(&limit), observer.clone());
        let observer = Rc::new(observer);
        let auth = Arc::clone(&authenticator);
        let customers =
            Customers { authenticator: auth, cache, api, id_form, not_found_ttl, limit };
        let short_way = Rc::new(ShortWay::new(&customers, Rc::clone(&observer)));
        let app = App::new()
            .app_data(web::Data::new(customers))
            .app_data(web::Data::clone(&authenticator))
            .wrap_fn(move |request, service| routes::observe(&observer, request, service))
            .configure(routes::public);
        Shortcut::new(app.into_factory(), short_way)
    };
    let tls = stations.secrets.tls.clone();
    let door = Door::public(settings, tls, &stations.drain, &stations.clock, &stations.metrics);
    Ok(serve(app, &door, Share::public(&settings.server), sockets)?)
}

fn admin_server(
    stations: &Stations,
    in_force: Effective,
    sockets: Vec<Listener>,
) -> Result<Server, StartError> {
    let admin = stations.admin(in_force);
    let app = move || {
        App::new()
            .app_data(web::Data::clone(&admin))
            .wrap(from_fn(routes::explain))
            .configure(routes::admin)
    };
    let door = Door::admin(&stations.drain, &stations.clock, &stations.metrics);
    Ok(serve(app, &door, Share::admin(), sockets)?)
}
