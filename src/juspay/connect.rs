//! Connects to Juspay and gives every address of the host a fair chance.
//!
//! An unreachable IPv6 address must not use up every attempt. Therefore the address families
//! alternate, each address has its own timeout, and the family that worked last goes first.
//! With `juspay.egress_proxy`, these are the proxy's addresses, and a tunnel leads from there to Juspay.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::{Connector, error::ConnectError as AwcError, http::Uri};
use tokio::net::{TcpStream, lookup_host};

use super::{
    ConnectionFailure, ProxyFailure,
    proxy::Proxy,
    stale_connection::{Pool, PooledStream},
};
use crate::{
    http_client,
    net::without_brackets,
    settings::{self, IpFamily},
};

/// Maximum number of addresses tried within `juspay.connect_timeout`, each with an equal share of
/// it: one of each family, and one more.
const MAX_ADDRESSES: usize = 3;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The family of the last successful connection.
pub(super) type LastFamily = Rc<Cell<Option<Family>>>;

/// An awc client and its connections.
pub(super) struct Http {
    pub(super) client: awc::Client,
    pub(super) pool: Rc<Pool>,
}

impl Http {
    /// A client without connections. awc's limit of connections is disabled, because it counts lost
    /// connections; `resilience` has its own limit.
    pub(super) fn new(
        settings: &settings::Juspay,
        proxy: Option<&Proxy>,
        tls: &Arc<rustls::ClientConfig>,
        last_family: &LastFamily,
    ) -> Self {
        let pool = Rc::<Pool>::default();
        let route = Route {
            proxy: proxy.cloned(),
            ip_family: settings.ip_family,
            connect_timeout: settings.connect_timeout,
            last: Rc::clone(last_family),
        };
        let connector = Connector::new()
            .connector(connector(route, Rc::clone(&pool)))
            .limit(0)
            .timeout(settings.connect_timeout)
            .handshake_timeout(settings.connect_timeout);
        let client = http_client::client(connector, Arc::clone(tls));
        Self { client, pool }
    }
}

/// A connector for awc that registers its connections in `pool`.
fn connector(
    route: Route,
    pool: Rc<Pool>,
) -> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, PooledStream>, Error = ConnectError>
+ Clone
+ use<> {
    fn_service(move |info: ConnectInfo<Uri>| {
        let (route, pool) = (route.clone(), Rc::clone(&pool));
        async move {
            let stream = route.connect(info.hostname(), info.port()).await?;
            Ok(Connection::new(info.request().clone(), pool.add(stream)))
        }
    })
}

/// How Juspay is reached.
#[derive(Clone)]
struct Route {
    proxy: Option<Proxy>,
    ip_family: IpFamily,
    connect_timeout: Duration,
    last: LastFamily,
}

impl Route {
    /// Connects to a host directly or through the proxy. `juspay.connect_timeout`, which awc applies, covers
    /// the tunnel too.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let Some(proxy) = &self.proxy else { return self.connect_directly(host, port).await };
        let failed = |why: ProxyFailure| ConnectError::Io(io::Error::other(why));
        let direct = self.connect_directly(&proxy.origin.host, proxy.origin.port).await;
        let mut stream = direct.map_err(|_| failed(ProxyFailure::Unreachable))?;
        proxy.open_tunnel(&mut stream, host, port).await.map_err(failed)?;
        Ok(stream)
    }

    async fn connect_directly(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let found = resolve(without_brackets(host), port).await.map_err(resolve_error)?;
        let addresses = interleaved(found, self.ip_family, self.last.get());
        connect_to_first(&addresses, self.connect_timeout, &self.last).await
    }
}

/// Resolves all addresses of a host.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.collect())
}

fn resolve_error(error: io::Error) -> ConnectError {
    ConnectError::Resolver(Box::new(error))
}

/// Connects to the first address that accepts a connection.
pub(super) async fn connect_to_first(
    addresses: &[SocketAddr],
    time: Duration,
    last: &LastFamily,
) -> Result<TcpStream, ConnectError> {
    let mut failure = ConnectError::NoRecords;
    // awc's timers use the real clock, and a test can't control a socket's time.
    let share = timeout_per_address(time, addresses.len());
    for address in addresses {
        let connected = tokio::time::timeout(share, TcpStream::connect(address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match connected {
            Ok(stream) => {
                last.set(Some(address.ip().into()));
                return Ok(stream);
            }
            Err(error) => failure = ConnectError::Io(error),
        }
    }
    Err(failure)
}

/// The timeout for each address.
fn timeout_per_address(time: Duration, addresses: usize) -> Duration {
    let attempts = u32::try_from(addresses.min(MAX_ADDRESSES)).unwrap_or(u32::MAX);
    time.checked_div(attempts).unwrap_or(time)
}

/// The addresses to try: the allowed families, alternating, the preferred family first.
fn interleaved(
    found: Vec<SocketAddr>,
    allowed: IpFamily,
    preferred: Option<Family>,
) -> Vec<SocketAddr> {
    let family = |address: &SocketAddr| Family::from(address.ip());
    let first = preferred.or_else(|| found.first().map(family));
    let (ours, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .filter(|address| match allowed {
            IpFamily::Any => true,
            IpFamily::V4 => family(address) == Family::V4,
            IpFamily::V6 => family(address) == Family::V6,
        })
        .partition(|address| Some(family(address)) == first);
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(ours.next());
        ordered.extend(others.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// Converts awc's error.
#[expect(clippy::wildcard_enum_match_arm, reason = "awc's enums may grow")]
pub(super) fn from_connect_error(error: &AwcError) -> ConnectionFailure {
    match error {
        AwcError::Resolver(_) | AwcError::NoRecords => ConnectionFailure::Resolve,
        AwcError::Timeout => ConnectionFailure::ConnectTimeout,
        AwcError::Disconnected => ConnectionFailure::Broken,
        AwcError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            ConnectionFailure::ConnectTimeout
        }
        // rustls reports its errors as this kind.
        AwcError::Io(error) if error.kind() == io::ErrorKind::InvalidData => ConnectionFailure::Tls,
        AwcError::Io(error) => {
            proxy_failure(error).map_or(ConnectionFailure::Connect, ConnectionFailure::Proxy)
        }
        _ => ConnectionFailure::Connect,
    }
}

fn proxy_failure(error: &io::Error) -> Option<ProxyFailure> {
    error.get_ref()?.downcast_ref().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const FOUND: [&str; 5] = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"];

    #[test]
    fn families_alternate_starting_with_the_last_that_worked() {
        let order = |preferred| interleaved(addresses(&FOUND), IpFamily::Any, preferred);
        let v6_first = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"];
        assert_eq!(order(None), addresses(&v6_first));
        assert_eq!(order(Some(Family::V6)), addresses(&v6_first));
        let v4_first = ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "[::2]:1", "[::3]:1"];
        assert_eq!(order(Some(Family::V4)), addresses(&v4_first));
    }

    #[test]
    fn only_allowed_families_are_tried() {
        let only = |allowed| interleaved(addresses(&FOUND), allowed, None);
        assert_eq!(only(IpFamily::V4), addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
        assert_eq!(only(IpFamily::V6), addresses(&["[::1]:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(interleaved(addresses(&["10.0.0.1:1"]), IpFamily::V6, None), []);
    }

    #[test]
    fn timeout_is_divided_among_at_most_three_addresses() {
        let shares = [0, 1, 2, 3, 4, 8]
            .map(|addresses| timeout_per_address(Duration::from_millis(900), addresses));
        assert_eq!(shares, [900, 900, 450, 300, 300, 300].map(Duration::from_millis));
    }

    #[tokio::test]
    async fn refused_connection_falls_back_to_the_next_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reachable = listener.local_addr().unwrap();
        let unreachable = SocketAddr::new("127.0.0.2".parse().unwrap(), reachable.port());
        let (second, last) = (Duration::from_secs(1), LastFamily::default());
        assert!(connect_to_first(&[unreachable, reachable], second, &last).await.is_ok());
        assert_eq!(last.get().map(Family::name), Some("ipv4"));
        assert!(matches!(
            connect_to_first(&[unreachable], second, &last).await,
            Err(ConnectError::Io(_))
        ));
        assert!(matches!(connect_to_first(&[], second, &last).await, Err(ConnectError::NoRecords)));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn black_hole_falls_back_to_the_next_address() {
        let hole = tokio::net::TcpSocket::new_v4().unwrap();
        hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let hole = hole.listen(1).unwrap();
        let full = hole.local_addr().unwrap();
        // Linux ignores further connection attempts when the listener's queue is full.
        let time = Duration::from_millis(100);
        let mut queue = Vec::new();
        let last = LastFamily::default();
        let silent = loop {
            match connect_to_first(&[full], time, &last).await {
                Ok(stream) => queue.push(stream),
                Err(error) => break error,
            }
        };
        let ConnectError::Io(error) = silent else { panic!("{silent}") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reachable = listener.local_addr().unwrap();
        let stream = connect_to_first(&[full, reachable], time, &last).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), reachable);
    }
}
