//! The public listener: from a bound socket to requests for the routes.
//!
//! actix-web's own server offers connections no place to be looked after, so its parts are put
//! together here: actix-server accepts, up to `server.max_connections`; `connection` lets requests
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
use prometheus::IntCounterVec;
use tokio_rustls::TlsAcceptor;

use super::{
    connection::{Bounds, Connection, Stream},
    listen::Listener,
    queue::Queue,
};
use crate::{
    clock::{self, Clock},
    metrics::{Metrics, Raised},
    routes::Drain,
    settings::{self, Settings},
    tls::{Encrypted, PeerCertificate, ServerTls},
};

/// Threads for what blocks: resolving Juspay's host name, nothing else.
const BLOCKING_THREADS: usize = 4;

/// How long an idle connection is kept: longer than load balancers keep theirs (60 s), so that
/// it is they who close, and no request meets a closing connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a request's head may take: a phone's comes in one packet. Who sends it a byte at a time
/// holds a connection for so long, and nothing else.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The same for a connection's later heads, for which actix has no limit. A second longer, so that
/// it is actix that ends the first one, with a 408.
const LATER_HEAD_TIME: Duration = Duration::from_secs(6);

/// How long a TLS handshake may take: a phone's takes two round trips.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Longest head without its bearer token, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// What comes to a connection before HTTP does.
#[derive(Clone)]
pub(super) struct Door {
    tls: Option<Arc<ServerTls>>,
    bounds: Bounds,
    drain: Drain,
    metrics: Arc<Metrics>,
    handshakes: IntCounterVec,
}

impl Door {
    pub(super) fn new(
        settings: &Settings,
        tls: Option<Arc<ServerTls>>,
        drain: &Drain,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let max_head = MAX_HEAD.saturating_add(settings.auth.max_token_bytes);
        Self {
            tls,
            bounds: Bounds { max_head, head_time: LATER_HEAD_TIME, clock: Arc::clone(clock) },
            drain: drain.clone(),
            handshakes: metrics.http.tls_handshakes.clone(),
            metrics: Arc::clone(metrics),
        }
    }

    async fn tcp(self, stream: TcpStream, queue: Queue) -> io::Result<Connection> {
        let open = Raised::new(&self.metrics.http.connections);
        let Some(tls) = &self.tls else {
            return Ok(Connection::new(Stream::Tcp(stream), None, self.bounds, queue, open));
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let clock = &*self.bounds.clock;
        let end = clock.monotonic().plus(HANDSHAKE_TIME);
        let (outcome, done) = match clock::before(clock, end, handshake).await {
            Some(Ok(stream)) => ("ok", Ok(stream)),
            Some(Err(error)) => ("failed", Err(error)),
            None => ("timeout", Err(io::ErrorKind::TimedOut.into())),
        };
        self.handshakes.with_label_values(&[outcome]).inc();
        let stream = done.inspect_err(|error| tracing::debug!("TLS handshake: {error}"))?;
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates.and_then(<[_]>::first).map(|it| PeerCertificate::read(it));
        Ok(Connection::new(Stream::Tls(Box::new(stream)), peer, self.bounds, queue, open))
    }

    fn unix(self, stream: UnixStream, queue: Queue) -> Connection {
        let open = Raised::new(&self.metrics.http.connections);
        Connection::new(Stream::Unix(stream), None, self.bounds, queue, open)
    }
}

/// Serves what `app` makes, once in each worker, on all the sockets.
pub(super) fn serve<F, I, S, B>(
    app: F,
    door: &Door,
    settings: &settings::Server,
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
    let (workers, connections) = shares(settings);
    let grace = settings.shutdown_grace.saturating_sub(settings.shutdown_delay);
    let mut server = Server::build()
        .disable_signals()
        .workers(workers)
        .max_concurrent_connections(connections)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .shutdown_timeout(grace.as_secs().max(1));
    let stopping = server.graceful_shutdown_signal();
    for socket in sockets {
        let (app, door, stopping) = (app.clone(), door.clone(), stopping.clone());
        let http = move || {
            let stopping = stopping.clone();
            let stopping = move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            };
            http(app(), stopping)
        };
        server = match socket {
            Listener::Tcp(socket) => server.listen("public", socket, move || {
                let (door, queue) = (door.clone(), Queue::new(door.drain.clone()));
                let open = fn_service(move |stream| door.clone().tcp(stream, queue.clone()));
                open.map_err(drop).and_then(http())
            }),
            Listener::Unix(socket) => server.listen_uds("public", socket, move || {
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
        .client_request_timeout(HEAD_TIME)
        .h1_allow_half_closed(false)
        .on_connect_ext(note_peer)
        .h1(map_config(app, |()| AppConfig::default()))
        .map_err(drop);
    fn_service(|connection: Connection| async {
        let address = connection.peer_address();
        Ok((connection, address))
    })
    .and_then(http)
}

/// For handlers: `HttpRequest::conn_data::<Approach>()`, and the same of `Encrypted` and
/// `PeerCertificate`.
fn note_peer(connection: &Connection, data: &mut Extensions) {
    data.insert(connection.approach());
    if connection.is_encrypted() {
        data.insert(Encrypted);
    }
    if let Some(peer) = connection.peer() {
        data.insert(PeerCertificate::clone(peer));
    }
}

/// Workers, and connections for each of them: never more of either than there may be connections.
fn shares(settings: &settings::Server) -> (usize, usize) {
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get).min(512);
    let workers = settings.workers.unwrap_or_else(cores).min(settings.max_connections).max(1);
    (workers, settings.max_connections.checked_div(workers).unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests;
