//! Both listeners: from bound sockets to requests for the app.
//!
//! actix-web's own server has no hook for connections, so its parts are assembled here: `workers` accepts
//! connections, `connection` forwards requests, actix-http parses them, and the app answers. A TLS
//! handshake uses the certificate that was loaded last.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod connection;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod keep_alive;
mod listeners;
mod pipelining_guard;
mod request_head;
mod workers;

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use actix_http::{ConnectionType, HttpService, Request, Response, body::BoxBody};
use actix_service::{
    IntoServiceFactory, Service as _, ServiceFactory, ServiceFactoryExt as _, fn_service,
    map_config,
};
use actix_web::{
    body::MessageBody,
    dev::AppConfig,
    rt::net::{TcpStream, UnixStream},
};
use prometheus::{IntCounterVec, IntGauge};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken};

use self::{
    connection::{Connection, ConnectionLimits, Stream},
    listeners::Accepted,
    workers::{Handler, MakeHandler, MakingHandler},
};
use crate::{
    clock::{self, Clock},
    connection_info::{ConnectionInfo, Transport},
    metrics::{self, GaugeGuard, Metrics, Series as _},
    net::is_loopback_address,
    settings::{self, Settings},
    tls::{PeerCertificate, ServerTls},
};

pub use self::{
    keep_alive::{Connections, Drain},
    listeners::ListenError,
};
pub(crate) use self::{
    listeners::{Listener, Listeners},
    workers::{ListenerCapacity, Server},
};

/// How long an idle connection stays open: longer than load balancers keep theirs (60 s), so that they
/// close first and never send a request on a closing connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a request may take to arrive, with its body. It consists of a few packets; a client that
/// sends byte by byte, or nothing, occupies a connection for this long.
const REQUEST_TIME: Duration = Duration::from_secs(6);

/// How long a TLS handshake may take. A client needs two round trips.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Maximum length of a head without its bearer token, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// Maximum connections of the admin listener: scrapers, probes and people.
const ADMIN_CONNECTIONS: usize = 256;

/// How long the admin listener waits for its last responses at shutdown.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// How long started TCP handshakes may take before the public listener closes its sockets: the round trip
/// of most mobile clients, at most `server.shutdown_delay`.
const LAST_HANDSHAKES: Duration = Duration::from_millis(200);

/// How a listener treats its connections.
#[derive(Clone)]
pub(crate) struct ListenerConfig {
    tls: Option<Arc<ServerTls>>,
    limits: ConnectionLimits,
    /// Counts open connections of the public listener.
    open: Option<IntGauge>,
    handshakes: IntCounterVec,
}

metrics::labels! {
    /// The label of `tls_handshakes_total{outcome}`, by whether a handshake succeeded if it ended in
    /// time.
    const fn handshake_outcome(succeeded: Option<bool>) in HANDSHAKE_OUTCOMES {
        Some(true) => "ok",
        Some(false) => "failed",
        None => "timeout",
    }
}

impl ListenerConfig {
    /// The public listener: plain or with TLS, and without bodies.
    pub(crate) fn public(
        settings: &Settings,
        tls: Option<Arc<ServerTls>>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let max_head = MAX_HEAD.saturating_add(settings.auth.max_token_bytes);
        Self {
            tls,
            open: Some(metrics.http.connections.clone()),
            ..Self::plain(max_head, None, clock, metrics)
        }
    }

    /// The admin listener, with the maximum length of a body in bytes.
    pub(crate) fn admin(max_body: usize, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Self {
        Self::plain(MAX_HEAD, Some(max_body), clock, metrics)
    }

    fn plain(
        max_head: usize,
        max_body: Option<usize>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        metrics.http.tls_handshakes.initialize(HANDSHAKE_OUTCOMES.iter().copied());
        Self {
            tls: None,
            limits: ConnectionLimits {
                max_head,
                max_body,
                request_time: REQUEST_TIME,
                clock: Arc::clone(clock),
                closing: CancellationToken::new(),
            },
            open: None,
            handshakes: metrics.http.tls_handshakes.clone(),
        }
    }

    /// Shakes hands if the listener has TLS.
    async fn open(self, accepted: Accepted, is_local_listener: bool) -> io::Result<Connection> {
        let open = self.open.as_ref().map(GaugeGuard::new);
        let mut info = ConnectionInfo {
            transport: Transport::Unix,
            is_local_listener,
            tls: false,
            client_certificate: None,
        };
        let (stream, peer) = match accepted {
            Accepted::Unix(stream) => {
                (Either::Right(Either::Left(UnixStream::from_std(stream)?)), None)
            }
            Accepted::Tcp(stream) => {
                info.transport = transport(stream.local_addr().ok().map(|it| it.ip()));
                let peer = stream.peer_addr().ok();
                (self.secured(TcpStream::from_std(stream)?, &mut info).await?, peer)
            }
        };
        Ok(Connection::new(stream, info, peer, self.limits, open))
    }

    async fn secured(&self, stream: TcpStream, info: &mut ConnectionInfo) -> io::Result<Stream> {
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let clock = &*self.limits.clock;
        let end = clock.monotonic().plus(HANDSHAKE_TIME);
        let ended = clock::timeout_at(clock, end, handshake).await;
        let outcome = handshake_outcome(ended.as_ref().map(Result::is_ok));
        self.handshakes.with_label_values(&[outcome]).inc();
        let done = ended.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let stream = done
            .inspect_err(|error| tracing::debug!("TLS handshake with a client failed: {error}"))?;
        let certificates = stream.get_ref().1.peer_certificates();
        info.tls = true;
        info.client_certificate =
            certificates.and_then(<[_]>::first).map(|it| PeerCertificate::read(it));
        Ok(Either::Right(Either::Right(Box::new(stream))))
    }
}

fn transport(local: Option<IpAddr>) -> Transport {
    let is_loopback = local.is_some_and(is_loopback_address);
    if is_loopback { Transport::Loopback } else { Transport::Network }
}

impl ListenerCapacity {
    /// At most `server.max_connections` in total, so at most that number of workers.
    pub(crate) fn public(settings: &settings::Server) -> Self {
        let most = settings.max_connections;
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get).min(512);
        let workers = settings.workers.unwrap_or_else(cores).min(most).max(1);
        Self {
            name: "public",
            workers,
            connections: most.checked_div(workers).unwrap_or(1).max(1),
            grace: settings.shutdown_grace.saturating_sub(settings.shutdown_delay),
            last_handshakes: LAST_HANDSHAKES.min(settings.shutdown_delay),
        }
    }

    pub(crate) const fn admin() -> Self {
        Self {
            name: "admin",
            workers: 1,
            connections: ADMIN_CONNECTIONS,
            grace: ADMIN_GRACE,
            last_handshakes: Duration::ZERO,
        }
    }
}

/// Serves an app on all the sockets. `app` runs once per worker and socket.
pub(crate) fn serve<F, I, S, B>(
    app: F,
    config: &ListenerConfig,
    capacity: ListenerCapacity,
    sockets: Vec<Listener>,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Sync + Clone + 'static,
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let made = sockets.into_iter().map(|socket| {
        let (app, config, is_local) = (app.clone(), config.clone(), socket.is_local()?);
        let make: MakeHandler = Arc::new(move || handler(app(), config.clone(), is_local));
        Ok((socket, make))
    });
    Ok(Server {
        capacity,
        sockets: made.collect::<io::Result<_>>()?,
        closing: config.limits.closing.clone(),
        clock: Arc::clone(&config.limits.clock),
    })
}

/// Serves one socket's connections in one worker.
fn handler<I, S, B>(app: I, config: ListenerConfig, is_local: bool) -> MakingHandler
where
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let http = http(app, config.limits.closing.clone());
    Box::pin(async move {
        let http = Rc::new(http.new_service(()).await?);
        let handler: Handler = Box::new(move |accepted| {
            let (config, http) = (config.clone(), Rc::clone(&http));
            Box::pin(async move {
                let Ok(connection) = config.open(accepted, is_local).await else { return };
                if poll_fn(|context| http.poll_ready(context)).await.is_ok() {
                    // actix reports the error.
                    http.call(connection).await.unwrap_or_default();
                }
            })
        });
        Ok(handler)
    })
}

/// actix's HTTP/1.1 on these connections.
fn http<I, S, B>(
    app: I,
    closing: CancellationToken,
) -> impl ServiceFactory<Connection, Config = (), Response = (), Error = (), InitError = ()>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let app = app
        .into_factory()
        .map_err(|error| -> Response<BoxBody> { error.error_response().into() })
        .map(move |response| {
            let mut response: Response<B> = response.into();
            if closing.is_cancelled() {
                response.head_mut().set_connection_type(ConnectionType::Close);
            }
            response
        });
    let http = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        // Connections limit the time of every request, by the service's clock.
        .client_request_timeout(Duration::ZERO)
        .h1_allow_half_closed(false)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.info().clone());
        })
        .h1(map_config(app, |()| AppConfig::default()))
        .map_err(drop);
    fn_service(|connection: Connection| async {
        let address: Option<SocketAddr> = connection.peer_address();
        Ok((connection, address))
    })
    .and_then(http)
}

#[cfg(test)]
mod tests;
