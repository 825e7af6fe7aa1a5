//! Sends introspection requests (RFC 7662 §2.1). This is the only place where an access token leaves the
//! process: in the body of a POST to the configured address (promise P2).
//!
//! A response must have status 200, be JSON, and have a small, complete body; redirects are not followed.
//! Each request has its own connection, so the response to one token cannot be mistaken for that to
//! another.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, zeroize::Zeroizing};

use crate::{
    basic_auth,
    http_client::{
        self, BodyError, ClientRequest, HttpClient, StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    metrics,
    secret_file::{Secret, SecretFileError},
    settings,
};

/// Maximum size of a response body, in bytes. A usual one has a few hundred.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// All but the unreserved characters of forms (URL Standard, application/x-www-form-urlencoded
/// percent-encode set). A space becomes `+` afterwards.
const FORM: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b' ');

/// An introspection endpoint. Tests use a fake.
pub trait IntrospectionEndpoint: Send + Sync {
    /// Sends one request. Returns the unvalidated body of the response.
    fn introspect(&self, token: &str)
    -> LocalBoxFuture<'static, Result<Bytes, IntrospectionError>>;

    /// The secret that authenticates this service, to be reloaded.
    fn secret(&self) -> Option<Arc<Secret>> {
        None
    }
}

/// Why introspection fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages describe the variants")]
pub enum IntrospectionError {
    #[error("the connection failed or broke")]
    Unreachable,
    #[error("the request timed out")]
    Timeout,
    #[error("the issuer rejected the client credentials")]
    Credentials,
    #[error("expected status 200, got {0}")]
    Status(u16),
    #[error("the response is not valid by RFC 7662")]
    InvalidResponse,
    #[error("the request panicked")]
    Panicked,
}

impl IntrospectionError {
    metrics::labels! {
        /// The label of `juspay_bff_auth_introspections_total{outcome}`.
        pub(super) const fn outcome(self) in OUTCOMES {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Credentials => "rejected_credentials",
            Self::Status(_) => "error",
            Self::InvalidResponse | Self::Panicked => "invalid_response",
        }
    }
}

/// An issuer's introspection endpoint, over HTTP.
pub(super) struct HttpEndpoint {
    url: String,
    client_id: String,
    secret: Arc<Secret>,
    tls: Arc<ClientConfig>,
}

impl HttpEndpoint {
    pub(super) fn open(
        settings: &settings::Introspection,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, SecretFileError> {
        let settings::Introspection { url, client_id, client_secret_file, .. } = settings;
        let secret = Arc::new(Secret::open(client_secret_file)?);
        Ok(Self { url: url.clone(), client_id: client_id.clone(), secret, tls })
    }

    /// Returns the client too: its connection must live as long as the exchange. The caller limits the
    /// time of the exchange.
    fn request(&self) -> Result<(HttpClient, ClientRequest), IntrospectionError> {
        let client = HttpClient::new(&self.tls);
        let request = client
            .post(&self.url)
            .insert_header((header::AUTHORIZATION, self.authorization()?))
            .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .insert_header((header::ACCEPT, "application/json"));
        Ok((client, request))
    }

    /// Both parts are form-urlencoded first (RFC 6749 §2.3.1). The value is marked as sensitive.
    fn authorization(&self) -> Result<HeaderValue, IntrospectionError> {
        let secret = self.secret.current();
        let credentials =
            basic_auth::credentials(&form(&self.client_id), &form(secret.expose_secret()));
        let value = HeaderValue::from_maybe_shared(credentials);
        let mut value = value.map_err(|_| IntrospectionError::Credentials)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl IntrospectionEndpoint for HttpEndpoint {
    fn secret(&self) -> Option<Arc<Secret>> {
        Some(Arc::clone(&self.secret))
    }

    fn introspect(
        &self,
        token: &str,
    ) -> LocalBoxFuture<'static, Result<Bytes, IntrospectionError>> {
        let request = self.request();
        let body = format!("token={}&token_type_hint=access_token", &*form(token));
        Box::pin(async move {
            let (_client, request) = request?;
            let sent = request.send_body(body).await;
            let mut response = sent.map_err(|_| IntrospectionError::Unreachable)?;
            match response.status() {
                StatusCode::OK if is_json(response.headers()) => {}
                StatusCode::OK => return Err(IntrospectionError::InvalidResponse),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(IntrospectionError::Credentials);
                }
                status => return Err(IntrospectionError::Status(status.as_u16())),
            }
            http_client::body(&mut response, MAX_BODY_BYTES).await.map_err(|error| match error {
                BodyError::TooLarge | BodyError::Truncated => IntrospectionError::InvalidResponse,
                BodyError::Broken => IntrospectionError::Unreachable,
            })
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// `application/x-www-form-urlencoded`
fn form(text: &str) -> Zeroizing<String> {
    // Allocates enough at once: growing would leave an unerased copy of the secret in memory.
    let mut encoded = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    for piece in utf8_percent_encode(text, FORM) {
        encoded.extend(piece.chars().map(|c| if c == ' ' { '+' } else { c }));
    }
    encoded
}
