//! HTTP clients on awc, with one policy: this service's TLS configuration, no redirects, no proxy
//! from the environment, and no timeout of awc's, which doesn't cover the body. Each caller limits its
//! whole exchange.
//!
//! awc takes a 1xx response for the final one, and leaves the real one on the connection. Therefore
//! an [`HttpClient`] uses a new connection for each request, so that no stray response can be
//! mistaken for its own. TLS sessions are resumed, so this costs little. The client for Juspay
//! reuses connections, and handles this itself.

use std::sync::Arc;

use actix_rt::net::ActixStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::{
    Client, ClientResponse, Connector,
    error::{PayloadError, SendRequestError},
    http::header::HeaderMap,
};
pub(crate) use awc::{
    ClientRequest,
    http::{StatusCode, Uri, header},
};
use bytes::Bytes;
use futures_util::Stream;
use rustls::ClientConfig;

use crate::net::is_loopback_host;

/// A client that connects by `connector`.
pub(crate) fn client<S, Io>(connector: Connector<S>, tls: Arc<ClientConfig>) -> Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, Io>, Error = ConnectError>
        + Clone
        + 'static,
    Io: ActixStream + std::fmt::Debug + 'static,
{
    Client::builder()
        .connector(connector.rustls_0_23(tls))
        .disable_redirects()
        .disable_timeout()
        .finish()
}

/// A client that uses a new connection for each request. It must live as long as the exchange.
pub(crate) struct HttpClient(Client);

impl HttpClient {
    pub(crate) fn new(tls: &Arc<ClientConfig>) -> Self {
        Self(client(Connector::new(), Arc::clone(tls)))
    }

    pub(crate) fn get(&self, uri: &Uri) -> ClientRequest {
        on_new_connection(self.0.get(uri))
    }

    pub(crate) fn post(&self, url: &str) -> ClientRequest {
        on_new_connection(self.0.post(url))
    }
}

fn on_new_connection(request: ClientRequest) -> ClientRequest {
    request.force_close().insert_header((header::USER_AGENT, crate::USER_AGENT))
}

/// Why there is no response. awc's error is not `Send`.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No connection. The text may contain addresses.
    Connect(String),
    /// The connection broke, or the response is not HTTP.
    Broken,
}

impl From<SendRequestError> for SendError {
    fn from(error: SendRequestError) -> Self {
        if let SendRequestError::Connect(error) = error {
            Self::Connect(error.to_string())
        } else {
            Self::Broken
        }
    }
}

/// Why a response has no usable body.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// Larger than the limit.
    TooLarge,
    /// The connection broke, or the encoding is invalid.
    Broken,
    /// Not as long as announced.
    Truncated,
}

/// Reads a body of at most `limit` bytes. awc returns a truncated body as complete, and an empty
/// body for a response without a length.
pub(crate) async fn body<S>(
    response: &mut ClientResponse<S>,
    limit: usize,
) -> Result<Bytes, BodyError>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let announced = content_length(response.headers());
    let body = response.body().limit(limit).await.map_err(|error| {
        let is_too_large = matches!(error, PayloadError::Overflow);
        if is_too_large { BodyError::TooLarge } else { BodyError::Broken }
    })?;
    let is_whole = announced.is_none_or(|length| length == body.len());
    if is_whole { Ok(body) } else { Err(BodyError::Truncated) }
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Parses a URL. Plain http is accepted only on loopback and on `plain_http_hosts`: elsewhere
/// anyone on the network could replace the response.
pub(crate) fn parse_allowed_url(url: &str, plain_http_hosts: &[String]) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?;
    let is_allowed = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => {
            let mut listed = plain_http_hosts.iter();
            is_loopback_host(host) || listed.any(|listed| listed.eq_ignore_ascii_case(host))
        }
        _ => false,
    };
    is_allowed.then_some(uri)
}
