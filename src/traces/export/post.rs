//! Carries a message to the collector: OTLP/HTTP, each request on a connection of its own.
//!
//! Goes no other way than the service does elsewhere: no proxy, no redirects, and https with our
//! roots. The headers that a collector may want are secret: they stand in no log line and no error.

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

/// What is added to `traces.endpoint`.
const PATH: &str = "/v1/traces";

/// Largest answer read, in bytes: it holds a number and a sentence.
const MAX_ANSWER: usize = 16 * 1024;

/// Where spans are sent.
pub(super) struct Collector {
    address: String,
    http: HttpClient,
    headers: Option<Arc<Secret>>,
}

/// Why a message isn't taken.
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
    /// Whether the same message may be taken later (OTLP/HTTP: 429, 502, 503 and 504).
    pub(super) const fn may_pass(self) -> bool {
        match self {
            Self::Connect | Self::Broken | Self::Timeout => true,
            Self::Status(status) => matches!(status, 429 | 502..=504),
            Self::Partly => false,
        }
    }
}

impl Collector {
    /// The collector at that address. To be called where awc can be used.
    pub(super) fn new(
        endpoint: &str,
        tls: &Arc<ClientConfig>,
        headers: Option<Arc<Secret>>,
    ) -> Self {
        // Whoever posts bounds the whole exchange.
        let http = HttpClient::new(tls);
        Self { address: format!("{endpoint}{PATH}"), http, headers }
    }

    /// Sends a message, and tells how many of its spans are refused although it was taken.
    pub(super) async fn post(&self, message: Bytes) -> Result<u64, Failure> {
        let request = self.http.post(&self.address);
        let mut request = request.insert_header((header::CONTENT_TYPE, "application/x-protobuf"));
        for (name, value) in self.headers() {
            request = request.insert_header((name, value));
        }
        let mut answer = request.send_body(message).await.map_err(SendError::from)?;
        if answer.status() != StatusCode::OK {
            return Err(Failure::Status(answer.status().as_u16()));
        }
        // It has been taken, whatever becomes of the rest of the answer.
        let body = http_client::body(&mut answer, MAX_ANSWER).await.unwrap_or_default();
        Ok(otlp::refused(&body))
    }

    /// Those of `traces.headers_file`, as it is by now; none when it has gone bad.
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
