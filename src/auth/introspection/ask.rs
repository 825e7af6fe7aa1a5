//! The question (RFC 7662 §2.1), over awc. The only place where a bearer token leaves the process,
//! in the body of a POST to the address of the settings (promise P2).
//!
//! Trusts no answer further than it must: 200 only, JSON, no redirects, a small body, as long as
//! announced. Each question has a connection of its own, so no stray answer can be taken for another
//! token's.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, zeroize::Zeroizing};

use crate::{
    credentials,
    http_client::{
        self, BodyError, ClientRequest, HttpClient, StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    metrics,
    secret_file::Secret,
    settings,
};

/// Largest answer read, in bytes. One has some hundred.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What forms write as it is (URL Standard, application/x-www-form-urlencoded percent-encode set).
/// A space becomes `+` afterwards.
const FORM: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b' ');

/// Who can be asked about a token. Tests script it.
pub(super) trait Asker: Send + Sync {
    /// Asks once. The answer may be anything.
    fn ask(&self, token: &str) -> LocalBoxFuture<'static, Result<Bytes, AskError>>;
}

/// Why there is no answer to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("the connection failed or broke")]
    Unreachable,
    #[error("the request timed out")]
    Timeout,
    #[error("the issuer rejected the client credentials")]
    Credentials,
    #[error("expected status 200, got {0}")]
    Status(u16),
    #[error("the response is not valid by RFC 7662")]
    Answer,
    #[error("the request panicked")]
    Panicked,
}

impl AskError {
    metrics::labels! {
        /// The label of `juspay_bff_auth_introspections_total{outcome}`.
        pub(super) const fn outcome(self) in OUTCOMES {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Credentials => "rejected_credentials",
            Self::Status(_) => "error",
            Self::Answer | Self::Panicked => "invalid_response",
        }
    }
}

/// An issuer's introspection endpoint.
pub(super) struct Endpoint {
    url: String,
    client_id: String,
    secret: Arc<Secret>,
    tls: Arc<ClientConfig>,
}

impl Endpoint {
    pub(super) fn new(
        settings: &settings::Introspection,
        secret: Arc<Secret>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        let settings::Introspection { url, client_id, .. } = settings;
        Self { url: url.clone(), client_id: client_id.clone(), secret, tls }
    }

    /// The client comes along: its connection must live as long as the exchange.
    fn request(&self) -> Result<(HttpClient, ClientRequest), AskError> {
        // Whoever asks bounds the whole exchange.
        let client = HttpClient::new(&self.tls);
        let request = client
            .post(&self.url)
            .insert_header((header::AUTHORIZATION, self.authorization()?))
            .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .insert_header((header::ACCEPT, "application/json"));
        Ok((client, request))
    }

    /// RFC 6749 §2.3.1: both parts are form-urlencoded first. Marked as not to be printed.
    fn authorization(&self) -> Result<HeaderValue, AskError> {
        let secret = self.secret.current();
        let credentials = credentials::basic(&form(&self.client_id), &form(secret.expose_secret()));
        let value = HeaderValue::from_maybe_shared(credentials);
        let mut value = value.map_err(|_| AskError::Credentials)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Asker for Endpoint {
    fn ask(&self, token: &str) -> LocalBoxFuture<'static, Result<Bytes, AskError>> {
        let request = self.request();
        let question = format!("token={}&token_type_hint=access_token", &*form(token));
        Box::pin(async move {
            let (_client, request) = request?;
            let sent = request.send_body(question).await;
            let mut answer = sent.map_err(|_| AskError::Unreachable)?;
            match answer.status() {
                StatusCode::OK if is_json(answer.headers()) => {}
                StatusCode::OK => return Err(AskError::Answer),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(AskError::Credentials);
                }
                status => return Err(AskError::Status(status.as_u16())),
            }
            http_client::body(&mut answer, MAX_BODY_BYTES).await.map_err(|error| match error {
                BodyError::TooLarge | BodyError::Truncated => AskError::Answer,
                BodyError::Broken => AskError::Unreachable,
            })
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = named.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// `application/x-www-form-urlencoded`
fn form(text: &str) -> Zeroizing<String> {
    // With room for all of it: what grows is moved, and leaves its content behind.
    let mut encoded = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    for piece in utf8_percent_encode(text, FORM) {
        encoded.extend(piece.chars().map(|c| if c == ' ' { '+' } else { c }));
    }
    encoded
}
