//! Both listeners: from a bound socket to requests for the routes.
//!
//! actix-web's own server offers connections no place to be looked after, so its parts are put
//! together here: `server` accepts, as many as a listener may have; `connection` lets requests
//! through; actix-http reads them; the app answers. TLS is shaken hands on before, each time with
//! the files as they are by then.

use std::{future::poll_fn, io, num::NonZeroUsize, rc::Rc, sync::Arc, thread, time::Duration};

use actix_http::{ConnectionType, HttpService, Request, Response, body::BoxBody};
use actix_service::{
    IntoServiceFactory, Service as _, ServiceFactory, ServiceFactoryExt as _, fn_service,
    map_config,
};
use actix_web::{
    body::MessageBody,
    dev::{AppConfig, Extensions},
    rt::net::{TcpStream, UnixStream},
};
use prometheus::{IntCounterVec, IntGauge};
use tokio_rustls::TlsAcceptor;

use super::{
    closing::Closing,
    connection::{Bounds, Connection},
    listen::{Accepted, Listener},
    server::{Handler, MakeHandler, Making, Server, Share},
    stream::Stream,
};
use crate::{
    clock::{self, Clock},
    metrics::{self, GaugeGuard, Metrics, Series as _},
    routes::{self, OnThisMachine},
    settings::{self, Settings},
    tls::{Encrypted, PeerCertificate, ServerTls},
};

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

/// How long handshakes that have begun have to end before the public listener's sockets are closed:
/// a round trip of most phones, with `server.shutdown_delay` as its bound.
const LAST_HANDSHAKES: Duration = Duration::from_millis(200);

/// What comes to a listener's connections before HTTP does.
#[derive(Clone)]
pub(super) struct Door {
    tls: Option<Arc<ServerTls>>,
    bounds: Bounds,
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

    /// The admin listener's.
    pub(super) fn admin(clock: &Arc<dyn Clock>, metrics: &Metrics) -> Self {
        Self::plain(MAX_HEAD, Some(routes::MAX_ADMIN_BODY), clock, metrics)
    }

    fn plain(
        max_head: usize,
        max_body: Option<usize>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let clock = Arc::clone(clock);
        metrics.http.tls_handshakes.initialize(HANDSHAKE_OUTCOMES.iter().copied());
        Self {
            tls: None,
            bounds: Bounds {
                max_head,
                max_body,
                request_time: REQUEST_TIME,
                clock,
                closing: Closing::default(),
            },
            open: None,
            handshakes: metrics.http.tls_handshakes.clone(),
        }
    }

    async fn open(self, accepted: Accepted) -> io::Result<Connection> {
        match accepted {
            Accepted::Tcp(stream) => self.tcp(TcpStream::from_std(stream)?).await,
            Accepted::Unix(stream) => Ok(self.unix(UnixStream::from_std(stream)?)),
        }
    }

    async fn tcp(self, stream: TcpStream) -> io::Result<Connection> {
        let open = self.open.as_ref().map(GaugeGuard::new);
        let Some(tls) = &self.tls else {
            return Ok(Connection::new(Stream::Tcp(stream), None, self.bounds, open));
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let clock = &*self.bounds.clock;
        let end = clock.monotonic().plus(HANDSHAKE_TIME);
        let ended = clock::timeout_at(clock, end, handshake).await;
        let outcome = handshake_outcome(ended.as_ref().map(Result::is_ok));
        self.handshakes.with_label_values(&[outcome]).inc();
        let done = ended.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let stream = done
            .inspect_err(|error| tracing::debug!("TLS handshake with a client failed: {error}"))?;
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates.and_then(<[_]>::first).map(|it| PeerCertificate::read(it));
        Ok(Connection::new(Stream::Tls(Box::new(stream)), peer, self.bounds, open))
    }

    fn unix(self, stream: UnixStream) -> Connection {
        let open = self.open.as_ref().map(GaugeGuard::new);
        Connection::new(Stream::Unix(stream), None, self.bounds, open)
    }
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
            last_handshakes: LAST_HANDSHAKES.min(settings.shutdown_delay),
        }
    }

    pub(super) const fn admin() -> Self {
        Self {
            name: "admin",
            workers: 1,
            connections: ADMIN_CONNECTIONS,
            grace: ADMIN_GRACE,
            last_handshakes: Duration::ZERO,
        }
    }
}

/// Serves what `app` makes, once in each worker, on all the sockets.
pub(super) fn serve<F, I, S, B>(
    app: F,
    door: &Door,
    share: Share,
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
        let (app, door, is_on_this_machine) =
            (app.clone(), door.clone(), socket.is_on_this_machine()?);
        let make: MakeHandler = Arc::new(move || handler(app(), door.clone(), is_on_this_machine));
        Ok((socket, make))
    });
    Ok(Server {
        share,
        sockets: made.collect::<io::Result<_>>()?,
        closing: door.bounds.closing.clone(),
        clock: Arc::clone(&door.bounds.clock),
    })
}

/// Serves one socket's connections in one worker.
fn handler<I, S, B>(app: I, door: Door, is_on_this_machine: bool) -> Making
where
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let http = http(app, is_on_this_machine, door.bounds.closing.clone());
    Box::pin(async move {
        let http = Rc::new(http.new_service(()).await?);
        let handler: Handler = Box::new(move |accepted| {
            let (door, http) = (door.clone(), Rc::clone(&http));
            Box::pin(async move {
                let Ok(connection) = door.open(accepted).await else { return };
                if poll_fn(|context| http.poll_ready(context)).await.is_ok() {
                    // What went wrong is actix's to tell.
                    http.call(connection).await.unwrap_or_default();
                }
            })
        });
        Ok(handler)
    })
}

/// actix's HTTP/1 on our connections.
fn http<I, S, B>(
    app: I,
    is_on_this_machine: bool,
    closing: Closing,
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
        .map(move |answer| {
            let mut answer: Response<B> = answer.into();
            if closing.has_begun() {
                answer.head_mut().set_connection_type(ConnectionType::Close);
            }
            answer
        });
    let http = HttpService::build()
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
