//! Both listeners: from a bound socket to requests for the routes.
//!
//! actix-web's own server offers connections no place to be looked after, so its parts are put
//! together here: actix-server accepts, as many as a listener may have; `connection` lets requests
//! through; actix-http reads them; the app answers. TLS is shaken hands on before, each time with
//! the files as they are by then.

use std::{
    future::{Future, ready},
    io,
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::Duration,
};

use actix_http::{HttpService, Request, Response, body::BoxBody};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::{
    body::MessageBody,
    dev::{AppConfig, Extensions, Server},
    rt::net::{TcpStream, UnixStream},
};
use prometheus::{IntCounterVec, IntGauge};
use tokio_rustls::TlsAcceptor;

use super::{
    connection::{Bounds, Connection},
    listen::Listener,
    queue::Queue,
    stream::Stream,
};
use crate::{
    clock::{self, Clock},
    metrics::{self, Metrics, Raised, Series as _},
    routes::{self, Drain, OnThisMachine},
    settings::{self, Settings},
    tls::{Encrypted, PeerCertificate, ServerTls},
};

/// Threads for what blocks: resolving host names, nothing else.
const BLOCKING_THREADS: usize = 4;

/// How long an idle connection is kept: longer than load balancers keep theirs (60 s), so that
/// it is they who close, and no request meets a closing connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a request may take to be there, with its body: it comes in one packet, or a few. Who
/// sends it a byte at a time, or never, holds a connection for so long, and nothing else.
const REQUEST_TIME: Duration = Duration::from_secs(6);

/// How long a TLS handshake may take: a phone's takes two round trips.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Longest head without its bearer token, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// Connections of the admin listener: scrapers, probes and people.
const ADMIN_CONNECTIONS: usize = 256;

/// How long the admin listener waits for its last answers.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// What comes to a listener's connections before HTTP does.
#[derive(Clone)]
pub(super) struct Door {
    tls: Option<Arc<ServerTls>>,
    bounds: Bounds,
    drain: Drain,
    /// Counts connections, where they are counted.
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

impl Door {
    /// The public listener's: plain or with TLS, and without bodies.
    pub(super) fn public(
        settings: &Settings,
        tls: Option<Arc<ServerTls>>,
        drain: &Drain,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let max_head = MAX_HEAD.saturating_add(settings.auth.max_token_bytes);
        Self {
            tls,
            open: Some(metrics.http.connections.clone()),
            ..Self::plain(max_head, None, drain, clock, metrics)
        }
    }

    /// The admin listener's.
    pub(super) fn admin(drain: &Drain, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Self {
        Self::plain(MAX_HEAD, Some(routes::MAX_ADMIN_BODY), drain, clock, metrics)
    }

    fn plain(
        max_head: usize,
        max_body: Option<usize>,
        drain: &Drain,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let clock = Arc::clone(clock);
        metrics.http.tls_handshakes.initialize(HANDSHAKE_OUTCOMES.iter().copied());
        Self {
            tls: None,
            bounds: Bounds { max_head, max_body, request_time: REQUEST_TIME, clock },
            drain: drain.clone(),
            open: None,
            handshakes: metrics.http.tls_handshakes.clone(),
        }
    }

    async fn tcp(self, stream: TcpStream, queue: Queue) -> io::Result<Connection> {
        let open = self.open.as_ref().map(Raised::new);
        let Some(tls) = &self.tls else {
            return Ok(Connection::new(Stream::Tcp(stream), None, self.bounds, queue, open));
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let clock = &*self.bounds.clock;
        let end = clock.monotonic().plus(HANDSHAKE_TIME);
        let ended = clock::before(clock, end, handshake).await;
        let outcome = handshake_outcome(ended.as_ref().map(Result::is_ok));
        self.handshakes.with_label_values(&[outcome]).inc();
        let done = ended.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let stream = done.inspect_err(|error| tracing::debug!("TLS handshake: {error}"))?;
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates.and_then(<[_]>::first).map(|it| PeerCertificate::read(it));
        Ok(Connection::new(Stream::Tls(Box::new(stream)), peer, self.bounds, queue, open))
    }

    fn unix(self, stream: UnixStream, queue: Queue) -> Connection {
        let open = self.open.as_ref().map(Raised::new);
        Connection::new(Stream::Unix(stream), None, self.bounds, queue, open)
    }
}

/// How much of the machine a listener has.
pub(super) struct Share {
    name: &'static str,
    workers: usize,
    /// Of each worker.
    connections: usize,
    /// How long it waits for its last answers.
    grace: Duration,
}

impl Share {
    /// Never more workers nor connections than there may be connections.
    pub(super) fn public(settings: &settings::Server) -> Self {
        let most = settings.max_connections;
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get).min(512);
        let workers = settings.workers.unwrap_or_else(cores).min(most).max(1);
        Self {
            name: "public",
            workers,
            connections: most.checked_div(workers).unwrap_or(1).max(1),
            grace: settings.shutdown_grace.saturating_sub(settings.shutdown_delay),
        }
    }

    pub(super) const fn admin() -> Self {
        Self { name: "admin", workers: 1, connections: ADMIN_CONNECTIONS, grace: ADMIN_GRACE }
    }
}

/// Serves what `app` makes, once in each worker, on all the sockets.
pub(super) fn serve<F, I, S, B>(
    app: F,
    door: &Door,
    share: &Share,
    sockets: Vec<Listener>,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let mut server = Server::build()
        .disable_signals()
        .workers(share.workers)
        .max_concurrent_connections(share.connections)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .shutdown_timeout(share.grace.as_secs().max(1));
    let stopping = server.graceful_shutdown_signal();
    for socket in sockets {
        let (app, door, stopping) = (app.clone(), door.clone(), stopping.clone());
        let is_on_this_machine = socket.is_on_this_machine()?;
        let http = move || {
            let stopping = stopping.clone();
            let stopping = move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            };
            http(app(), is_on_this_machine, stopping)
        };
        server = match socket {
            Listener::Tcp(socket) => server.listen(share.name, socket, move || {
                let (door, queue) = (door.clone(), Queue::new(door.drain.clone()));
                let open = fn_service(move |stream| door.clone().tcp(stream, queue.clone()));
                open.map_err(drop).and_then(http())
            }),
            Listener::Unix(socket) => server.listen_uds(share.name, socket, move || {
                let (door, queue) = (door.clone(), Queue::new(door.drain.clone()));
                let open =
                    fn_service(move |stream| ready(Ok(door.clone().unix(stream, queue.clone()))));
                open.and_then(http())
            }),
        }?;
    }
    Ok(server.run())
}

/// actix's HTTP/1 on our connections.
fn http<I, S, B, W>(
    app: I,
    is_on_this_machine: bool,
    stopping: impl Fn() -> W + 'static,
) -> impl ServiceFactory<Connection, Config = (), Response = (), Error = (), InitError = ()>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
    W: Future<Output = ()> + 'static,
{
    let app =
        app.into_factory().map_err(|error| -> Response<BoxBody> { error.error_response().into() });
    let http = HttpService::build()
        .graceful_shutdown_signal(stopping)
        .keep_alive(KEEP_ALIVE)
        // Ours is for every request, and by the clock.
        .client_request_timeout(Duration::ZERO)
        .h1_allow_half_closed(false)
        .on_connect_ext(move |connection, data| {
            note(connection, data);
            if is_on_this_machine {
                data.insert(OnThisMachine);
            }
        })
        .h1(map_config(app, |()| AppConfig::default()))
        .map_err(drop);
    fn_service(|connection: Connection| async {
        let address = connection.peer_address();
        Ok((connection, address))
    })
    .and_then(http)
}

/// For handlers: `HttpRequest::conn_data::<Approach>()`, and the same of `Encrypted`,
/// `PeerCertificate` and `OnThisMachine`.
fn note(connection: &Connection, data: &mut Extensions) {
    data.insert(connection.approach());
    if connection.is_encrypted() {
        data.insert(Encrypted);
    }
    if let Some(peer) = connection.peer() {
        data.insert(PeerCertificate::clone(peer));
    }
}

#[cfg(test)]
mod tests;
