//! Sends a message to the collector by OTLP/HTTP, each on a new connection.
//!
//! Like all calls of this service: no proxy, no redirects, and https with its root certificates.
//! The configured headers may be secret, so they never appear in a log line or an error.

use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use secrecy::ExposeSecret as _;

use super::otlp;
use crate::{
    http_client::{
        self, HttpClient, SendError, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    secret_file::Secret,
    settings,
};

/// The path that is appended to `traces.endpoint`.
const PATH: &str = "/v1/traces";

/// Maximum length of a response in bytes. It contains a number and a sentence.
const MAX_RESPONSE: usize = 16 * 1024;

/// The collector's address, and the client for it.
pub(super) struct Collector {
    address: String,
    http: HttpClient,
    headers: Option<Arc<Secret>>,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("failed to connect to the collector")]
    Connect,
    #[error("the connection to the collector broke, or its response is not HTTP")]
    Broken,
    #[error("the collector did not respond in time")]
    Timeout,
    #[error("the collector returned status {0}")]
    Status(u16),
    #[error("the collector accepted only some of the spans")]
    Partly,
}

impl Failure {
    /// Whether a retry of the same message may succeed (OTLP/HTTP: 429, 502, 503 and 504).
    pub(super) const fn is_temporary(self) -> bool {
        match self {
            Self::Connect | Self::Broken | Self::Timeout => true,
            Self::Status(status) => matches!(status, 429 | 502..=504),
            Self::Partly => false,
        }
    }
}

impl Collector {
    /// A client of the collector at this address. Must be called on a thread with an actix runtime,
    /// as awc requires.
    pub(super) fn new(
        endpoint: &str,
        tls: &Arc<ClientConfig>,
        headers: Option<Arc<Secret>>,
    ) -> Self {
        // The caller limits the time of the whole exchange.
        let http = HttpClient::new(tls);
        Self { address: format!("{endpoint}{PATH}"), http, headers }
    }

    /// Sends a message. Returns how many of its spans the collector rejected although it accepted
    /// the message.
    pub(super) async fn post(&self, message: Bytes) -> Result<u64, Failure> {
        let request = self.http.post(&self.address);
        let mut request = request.insert_header((header::CONTENT_TYPE, "application/x-protobuf"));
        for (name, value) in self.headers() {
            request = request.insert_header((name, value));
        }
        let mut response = request.send_body(message).await.map_err(SendError::from)?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        // The message was accepted, even if the rest of the response can't be read.
        let body = http_client::body(&mut response, MAX_RESPONSE).await.unwrap_or_default();
        Ok(otlp::refused(&body))
    }

    /// The current headers of `traces.headers_file`; none if it has become invalid.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let Some(secret) = self.headers.as_ref().map(|secret| secret.current()) else {
            return Vec::new();
        };
        let lines = settings::header_lines(secret.expose_secret()).unwrap_or_default();
        let header = |(name, value): (&str, &str)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
        };
        lines.into_iter().filter_map(header).collect()
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect(_) => Self::Connect,
            SendError::Broken => Self::Broken,
        }
    }
}
