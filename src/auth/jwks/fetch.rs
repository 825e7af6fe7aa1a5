//! Reads a key set from a file, from an address, or from where an OpenID provider's configuration
//! document says (OpenID Connect Discovery 1.0 §4).
//!
//! Trusts no answer further than it must: 200 only, no redirects, a small body, as long as
//! announced. Each request has a connection of its own, so no stray answer can be taken for it.

#[cfg(test)]
mod tests;

use std::{cell::Cell, path::PathBuf, rc::Rc, sync::Arc};

use awc::{
    Client, Connector,
    error::{PayloadError, SendRequestError},
    http::{StatusCode, Uri, header},
};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use rustls::ClientConfig;
use serde::Deserialize;

use super::{MAX_SET_BYTES, SetError};
use crate::{
    clock, json,
    loopback::is_loopback_host,
    regular_file::{self, ReadError},
    settings::{self, KeySource},
};

/// Where the text of a key set comes from. Tests script it.
pub(crate) trait KeyFetcher {
    /// Reads the set once.
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>>;

    /// The clock of who answered last, if it told.
    fn date(&self) -> Option<Timestamp> {
        None
    }
}

/// Why a key set can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("its file can't be read: {0}")]
    Unreadable(ReadError),
    #[error("the address is neither https nor http on loopback")]
    Address,
    #[error("the discovery document came over https, but its jwks_uri isn't https")]
    Downgrade,
    #[error("no connection can be made: {0}")]
    Connect(String),
    #[error("the exchange broke off or isn't HTTP")]
    Broken,
    #[error("the status is {0}, not 200")]
    Status(u16),
    #[error("the answer is cut off")]
    Truncated,
    #[error("it took too long")]
    Timeout,
    #[error("the discovery document has no issuer and jwks_uri")]
    Discovery,
    #[error("the discovery document is another issuer's")]
    OtherIssuer,
    #[error("the document can't be used: {0}")]
    Set(#[from] SetError),
    #[error("the fetch panicked")]
    Panicked,
}

/// The fetcher for an issuer's source of keys; `None` when it has none.
pub(crate) fn fetcher(
    issuer: &settings::Issuer,
    tls: &Arc<ClientConfig>,
) -> Option<Box<dyn KeyFetcher>> {
    let http = Http { tls: Arc::clone(tls), date: Rc::default() };
    Some(match &issuer.keys {
        KeySource::File(path) => Box::new(FromFile(path.clone())),
        KeySource::Url(url) => Box::new(FromUrl { http, url: url.clone() }),
        KeySource::Discovery(url) => {
            Box::new(FromDiscovery { http, url: url.clone(), issuer: issuer.issuer.clone() })
        }
        KeySource::Introspection(_) => return None,
    })
}

struct FromFile(PathBuf);

impl KeyFetcher for FromFile {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        let path = self.0.clone();
        Box::pin(async move {
            let limit = u64::try_from(MAX_SET_BYTES).unwrap_or(u64::MAX);
            let content = regular_file::read(&path, limit).await;
            content.map(Bytes::from_owner).map_err(|error| {
                if matches!(error, ReadError::TooLarge(_)) {
                    SetError::TooLarge.into()
                } else {
                    FetchError::Unreadable(error)
                }
            })
        })
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

/// What we need of a provider's configuration.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl KeyFetcher for FromDiscovery {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        let (http, url, issuer) = (self.http.clone(), self.url.clone(), self.issuer.clone());
        Box::pin(async move {
            let document = http.get(&url).await?;
            http.get(&keys_address(&document, &url, &issuer)?).await
        })
    }

    fn date(&self) -> Option<Timestamp> {
        self.http.date.get()
    }
}

/// Where the keys are, by the document of that issuer, which came from `url`.
pub(crate) fn keys_address(document: &[u8], url: &str, issuer: &str) -> Result<String, FetchError> {
    let configuration: Configuration = json::object(document).map_err(|_| FetchError::Discovery)?;
    // §4.3: exactly, or keys of one provider would pass for another's.
    if configuration.issuer != issuer {
        return Err(FetchError::OtherIssuer);
    }
    if is_https(url) && !is_https(&configuration.jwks_uri) {
        return Err(FetchError::Downgrade);
    }
    Ok(configuration.jwks_uri)
}

/// GET over awc.
#[derive(Clone)]
struct Http {
    tls: Arc<ClientConfig>,
    /// Of the last answer.
    date: Rc<Cell<Option<Timestamp>>>,
}

impl Http {
    async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        let uri = allowed(url).ok_or(FetchError::Address)?;
        let client = Client::builder()
            .connector(Connector::new().rustls_0_23(Arc::clone(&self.tls)))
            .disable_redirects()
            // The keeper bounds the whole exchange.
            .disable_timeout()
            .add_default_header((header::USER_AGENT, crate::USER_AGENT))
            .add_default_header((header::ACCEPT, "application/json"))
            .finish();
        let mut answer =
            client.get(uri).force_close().send().await.map_err(|error| flat(&error))?;
        self.date.set(date(answer.headers()));
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let announced = answer.headers().get(header::CONTENT_LENGTH).cloned();
        let body = answer.body().limit(MAX_SET_BYTES).await.map_err(|error| {
            let is_too_large = matches!(error, PayloadError::Overflow);
            if is_too_large { SetError::TooLarge.into() } else { FetchError::Broken }
        })?;
        // awc gives a body that was cut off for a whole one, and an empty one when no length is told.
        let is_whole = announced.is_none_or(|length| length == body.len().to_string().as_str());
        if body.is_empty() || !is_whole { Err(FetchError::Truncated) } else { Ok(body) }
    }
}

/// The server's clock, unless the answer has aged in a cache.
fn date(headers: &header::HeaderMap) -> Option<Timestamp> {
    let date = headers.get(header::DATE).filter(|_| !headers.contains_key(header::AGE))?;
    clock::http_date(date.to_str().ok()?)
}

fn is_https(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

/// https anywhere, http on loopback only: else anyone on the way could plant keys.
pub(crate) fn allowed(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?;
    let is_allowed = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback_host(host),
        _ => false,
    };
    is_allowed.then_some(uri)
}

/// awc's errors aren't `Send`.
fn flat(error: &SendRequestError) -> FetchError {
    if let SendRequestError::Connect(error) = error {
        FetchError::Connect(error.to_string())
    } else {
        FetchError::Broken
    }
}
