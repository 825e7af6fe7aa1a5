//! Single steps of a call to Juspay, for `doctor`: resolve, connect, open a tunnel through the egress
//! proxy, TLS handshake, and a call with one key over one address family.

use std::{io, net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) use super::proxy::Proxy;
use super::{
    ConnectionFailure, CustomerApi as _, CustomerResponse, GetCustomer, JuspayError, ProxyFailure,
    api_keys::ApiKeys,
    client::{Client, Juspay},
    connect::{self, LastFamily, from_connect_error},
};
use crate::{
    clock::{Clock, Moment, timeout_at},
    customer::CustomerId,
    metrics::Metrics,
    net::Origin,
    secret_file::Secret,
    settings::{self, IpFamily},
    tls::{self, TlsError},
    traces::Parent,
};

/// The host and port of Juspay, or of the egress proxy.
#[derive(Debug, Clone)]
pub(crate) struct Target(pub(crate) Origin);

/// A successful TLS handshake.
pub(crate) struct Handshake {
    pub(crate) version: &'static str,
    /// The end of the certificate's validity, if it can be parsed.
    pub(crate) not_after: Option<Timestamp>,
}

/// A call with one key, over one address family.
pub(crate) struct InspectedCall {
    pub(crate) answer: Result<CustomerResponse, JuspayError>,
    /// The head of the response with any status.
    pub(crate) seen: ResponseHead,
    pub(crate) sent: Moment,
    pub(crate) received: Timestamp,
}

/// Details from the head of Juspay's last response.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseHead {
    /// Juspay's clock, unless a cache on the path makes it meaningless.
    pub(crate) date: Option<Timestamp>,
    /// `x-jp-merchant-id`: the merchant that the API key belongs to.
    pub(crate) merchant: Option<String>,
}

impl Target {
    /// `None` for a URL that the settings would have rejected.
    pub(crate) fn of(base_url: &str) -> Option<Self> {
        Origin::parse(base_url).map(Self)
    }

    /// All addresses of both families. `None` if resolving takes too long.
    pub(crate) async fn resolve(
        &self,
        settings: &settings::Juspay,
        clock: &dyn Clock,
    ) -> Option<io::Result<Vec<SocketAddr>>> {
        let deadline = clock.monotonic().plus(settings.deadline);
        timeout_at(clock, deadline, connect::resolve(self.0.bare_host(), self.0.port)).await
    }

    /// Connects to one of the addresses.
    pub(crate) async fn connect(
        address: SocketAddr,
        settings: &settings::Juspay,
    ) -> Result<TcpStream, ConnectionFailure> {
        let last = LastFamily::default();
        let connected =
            connect::connect_to_first(&[address], settings.connect_timeout, &last).await;
        connected.map_err(|error| from_connect_error(&error.into()))
    }

    /// Opens a tunnel through the egress proxy. `None` if it takes longer than
    /// `juspay.connect_timeout`.
    pub(crate) async fn open_tunnel(
        &self,
        stream: &mut TcpStream,
        proxy: &Proxy,
        settings: &settings::Juspay,
        clock: &dyn Clock,
    ) -> Option<Result<(), ProxyFailure>> {
        let deadline = clock.monotonic().plus(settings.connect_timeout);
        timeout_at(clock, deadline, proxy.open_tunnel(stream, &self.0.host, self.0.port)).await
    }

    /// Performs a TLS handshake. `None` if it takes longer than `juspay.connect_timeout`.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        tls: Arc<rustls::ClientConfig>,
        settings: &settings::Juspay,
        clock: &dyn Clock,
    ) -> Option<io::Result<Handshake>> {
        let deadline = clock.monotonic().plus(settings.connect_timeout);
        timeout_at(clock, deadline, self.encrypt(stream, tls)).await
    }

    async fn encrypt(
        &self,
        stream: TcpStream,
        tls: Arc<rustls::ClientConfig>,
    ) -> io::Result<Handshake> {
        let name = ServerName::try_from(self.0.bare_host().to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls).connect(name, stream).await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        Ok(Handshake {
            version: session
                .protocol_version()
                .and_then(|version| version.as_str())
                .unwrap_or("TLS"),
            not_after: certificate.and_then(|certificate| tls::not_after(certificate)),
        })
    }
}

/// Requests a customer with one key, over one address family.
///
/// # Errors
/// If `juspay.ca_file` contains no certificates.
pub(crate) async fn request_customer(
    settings: &settings::Juspay,
    family: IpFamily,
    (key, proxy_credentials): (Arc<Secret>, Option<Arc<Secret>>),
    customer: CustomerId,
    (clock, metrics): (&Arc<dyn Clock>, &Arc<Metrics>),
) -> Result<InspectedCall, TlsError> {
    let keys = ApiKeys::new(key, None, metrics.upstream.key_slot.clone());
    let settings = settings::Juspay { ip_family: family, ..settings.clone() };
    let deadline = clock.monotonic().plus(settings.deadline);
    let juspay = Juspay::new(settings, keys, Arc::clone(clock), Arc::clone(metrics))?;
    let client = Client::new(Arc::new(juspay.with_proxy_credentials(proxy_credentials)));
    let sent = clock.moment();
    let trace = Parent::default();
    let call_deadline = deadline;
    let request = GetCustomer {
        customer,
        new_customer: None,
        traceparent: None,
        trace,
        attempt: 1,
        deadline,
        call_deadline,
    };
    let response = client.get_customer(request).await;
    Ok(InspectedCall { answer: response, seen: client.last_head(), sent, received: clock.now() })
}
