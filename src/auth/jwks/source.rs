//! Reads a key set from a file, from a URL, or from the `jwks_uri` of an OpenID provider's metadata
//! (OpenID Connect Discovery 1.0 §4).
//!
//! Accepts only status 200, at most two redirects within the same origin, and a small, complete
//! body. awc does not read interim responses, and reads bodies without a length only from HTTP/1.0
//! servers: both are failed fetches.

#[cfg(test)]
mod tests;

use std::{cell::Cell, path::PathBuf, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use rustls::ClientConfig;
use serde::Deserialize;

use super::{MAX_SET_BYTES, SetError};
use crate::{
    clock,
    http_client::{self, BodyError, HttpClient, SendError, StatusCode, Uri, header},
    json,
    net::default_port,
    regular_file::{self, ReadError},
    settings::{self, KeySource},
};

/// Maximum number of redirects per request.
const MAX_REDIRECTS: usize = 2;

/// Servers send key sets and metadata with various types: `application/jwk-set+json` (RFC 7517
/// §8.5.1), `application/octet-stream`.
const ACCEPT: &str = "application/json, application/jwk-set+json;q=0.9, */*;q=0.1";

/// Not part of JSON (RFC 8259 §8.1), but some servers send it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A source of key sets. Tests script it.
pub trait KeyFetcher {
    /// Reads the key set once.
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>>;

    /// Whether the source is a file, which may be PEM.
    fn is_file(&self) -> bool {
        false
    }

    /// The server's clock at its last response, if it sent a `Date`.
    fn date(&self) -> Option<Timestamp> {
        None
    }
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages describe the variants")]
pub enum FetchError {
    #[error("the file can't be read: {0}")]
    Unreadable(ReadError),
    #[error("the address is neither https nor http on loopback or a host of auth.plain_http_hosts")]
    Address,
    #[error("the discovery document was fetched over https, but its jwks_uri is not https")]
    Downgrade,
    #[error("failed to connect: {0}")]
    Connect(String),
    #[error("the connection broke, or the response is not HTTP")]
    Broken,
    #[error("expected status 200, got {0}")]
    Status(u16),
    #[error("the issuer redirects to another scheme, host or port")]
    OtherOrigin,
    #[error("the issuer redirects more than {MAX_REDIRECTS} times")]
    TooManyRedirects,
    #[error("the response is truncated")]
    Truncated,
    #[error("the request timed out")]
    Timeout,
    #[error("the discovery document has no issuer and jwks_uri")]
    Discovery,
    #[error("the discovery document is for another issuer")]
    OtherIssuer,
    #[error("invalid key set: {0}")]
    Set(#[from] SetError),
    #[error("the fetch panicked")]
    Panicked,
}

/// The fetcher for the issuer's source of keys; `None` if it has no public keys.
pub(crate) fn fetcher(
    issuer: &settings::Issuer,
    plain_http_hosts: &[String],
    tls: &Arc<ClientConfig>,
) -> Option<Box<dyn KeyFetcher>> {
    let http = Http { tls: Arc::clone(tls), plain_http_hosts: Rc::default(), date: Rc::default() };
    Some(match &issuer.keys {
        KeySource::File(path) => Box::new(FromFile(path.clone())),
        KeySource::Url(url) => {
            let http = Http { plain_http_hosts: plain_http_hosts.into(), ..http };
            Box::new(FromUrl { http, url: url.clone() })
        }
        KeySource::Discovery(url) => {
            Box::new(FromDiscovery { http, url: url.clone(), issuer: issuer.issuer.clone() })
        }
        KeySource::Introspection(_) | KeySource::Hmac(_) => return None,
    })
}

struct FromFile(PathBuf);

impl KeyFetcher for FromFile {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        let path = self.0.clone();
        Box::pin(async move {
            let limit = u64::try_from(MAX_SET_BYTES).unwrap_or(u64::MAX);
            let content = regular_file::read(&path, limit).await;
            let content = content.map(Bytes::from_owner).map(without_byte_order_mark);
            content.map_err(|error| {
                if matches!(error, ReadError::TooLarge(_)) {
                    SetError::TooLarge.into()
                } else {
                    FetchError::Unreadable(error)
                }
            })
        })
    }

    fn is_file(&self) -> bool {
        true
    }
}

struct FromUrl {
    http: Http,
    url: String,
}

impl KeyFetcher for FromUrl {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        let (http, url) = (self.http.clone(), self.url.clone());
        Box::pin(async move { http.get(&url).await })
    }

    fn date(&self) -> Option<Timestamp> {
        self.http.date.get()
    }
}

struct FromDiscovery {
    http: Http,
    url: String,
    issuer: String,
}

/// The members of a provider's metadata that are used.
#[derive(Deserialize)]
struct ProviderMetadata {
    issuer: String,
    jwks_uri: String,
}

impl KeyFetcher for FromDiscovery {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        let (http, url, issuer) = (self.http.clone(), self.url.clone(), self.issuer.clone());
        Box::pin(async move {
            let document = http.get(&url).await?;
            http.get(&discovered_jwks_uri(&document, &url, &issuer)?).await
        })
    }

    fn date(&self) -> Option<Timestamp> {
        self.http.date.get()
    }
}

/// The `jwks_uri` in an issuer's metadata, which was fetched from `url`.
pub(crate) fn discovered_jwks_uri(
    document: &[u8],
    url: &str,
    issuer: &str,
) -> Result<String, FetchError> {
    let metadata: ProviderMetadata = json::object(document).map_err(|_| FetchError::Discovery)?;
    // Must match exactly (§4.3). Otherwise keys of one provider could pass for those of another.
    if metadata.issuer != issuer {
        return Err(FetchError::OtherIssuer);
    }
    if is_https(url) && !is_https(&metadata.jwks_uri) {
        return Err(FetchError::Downgrade);
    }
    Ok(metadata.jwks_uri)
}

/// Requests to an issuer.
#[derive(Clone)]
struct Http {
    tls: Arc<ClientConfig>,
    /// `auth.plain_http_hosts`; empty for discovery.
    plain_http_hosts: Rc<[String]>,
    /// Of the last response.
    date: Rc<Cell<Option<Timestamp>>>,
}

impl Http {
    /// GET with redirects within the same origin. awc would follow redirects to any server.
    async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        let uri = http_client::parse_allowed_url(url, &self.plain_http_hosts);
        let mut uri = uri.ok_or(FetchError::Address)?;
        for _ in 0..=MAX_REDIRECTS {
            match self.get_once(&uri).await? {
                FetchResponse::Document(body) => return Ok(without_byte_order_mark(body)),
                FetchResponse::Redirect(to) => uri = to,
            }
        }
        Err(FetchError::TooManyRedirects)
    }

    async fn get_once(&self, uri: &Uri) -> Result<FetchResponse, FetchError> {
        // The refresher limits the whole fetch.
        let client = HttpClient::new(&self.tls);
        let request = client.get(uri).insert_header((header::ACCEPT, ACCEPT));
        let mut response = request.send().await.map_err(SendError::from)?;
        self.date.set(date(response.headers()));
        if let Some(location) = location(response.status(), response.headers()) {
            return redirect(uri, location).map(FetchResponse::Redirect);
        }
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let body = http_client::body(&mut response, MAX_SET_BYTES).await?;
        if body.is_empty() { Err(FetchError::Truncated) } else { Ok(FetchResponse::Document(body)) }
    }
}

/// A response.
enum FetchResponse {
    Document(Bytes),
    /// The document is at this address of the same origin.
    Redirect(Uri),
}

/// The target of a redirect (RFC 9110 §15.4).
fn location(status: StatusCode, headers: &header::HeaderMap) -> Option<&str> {
    let is_redirect = matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    headers.get(header::LOCATION).filter(|_| is_redirect)?.to_str().ok()
}

/// Resolves a redirect (RFC 3986 §5.2). Another origin is rejected, as its keys are not the
/// issuer's.
fn redirect(from: &Uri, location: &str) -> Result<Uri, FetchError> {
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let reference = location.split('#').next().unwrap_or_default();
    let has_scheme = reference
        .find([':', '/', '?'])
        .is_some_and(|at| reference.get(at..).is_some_and(|rest| rest.starts_with(':')));
    let address = if has_scheme {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.is_empty() || reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", from.path())
    } else {
        let directory = from.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{reference}")
    };
    let to: Uri = address.parse().map_err(|_| FetchError::OtherOrigin)?;
    let has_user = to.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if !has_user && origin(&to).is_some() && origin(&to) == origin(from) {
        Ok(to)
    } else {
        Err(FetchError::OtherOrigin)
    }
}

/// Scheme, host and port (RFC 6454 §4).
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let port = uri.port_u16().unwrap_or(default_port(scheme == "https"));
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

fn without_byte_order_mark(text: Bytes) -> Bytes {
    if text.starts_with(BYTE_ORDER_MARK) { text.slice(BYTE_ORDER_MARK.len()..) } else { text }
}

/// The server's clock. `None` if the response was cached, because its `Date` is then old.
fn date(headers: &header::HeaderMap) -> Option<Timestamp> {
    let date = headers.get(header::DATE).filter(|_| !headers.contains_key(header::AGE))?;
    clock::http_date(date.to_str().ok()?)
}

fn is_https(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

impl From<SendError> for FetchError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect(why) => Self::Connect(why),
            SendError::Broken => Self::Broken,
        }
    }
}

impl From<BodyError> for FetchError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => SetError::TooLarge.into(),
            BodyError::Broken => Self::Broken,
            BodyError::Truncated => Self::Truncated,
        }
    }
}
