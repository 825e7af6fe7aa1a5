//! Opens a tunnel to Juspay through `juspay.egress_proxy` with CONNECT (RFC 9110 §9.3.6).
//!
//! The credentials go to the proxy only. TLS to Juspay starts inside the tunnel, so the proxy sees neither
//! the API key nor customer data. awc supports no proxies, and hyper-util's tunnel needs hyper's client.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::sync::Arc;

use httparse::{EMPTY_HEADER, Response, Status};
use secrecy::{ExposeSecret as _, zeroize::Zeroizing};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::ProxyFailure;
use crate::{basic_auth, net::Origin, secret_file::Secret, settings};

/// Maximum size of the head of the proxy's response, in bytes. Common proxies send less than 1 KiB.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Maximum number of header fields in that head.
const MAX_FIELDS: usize = 64;

/// The proxy, and the credentials for it.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    /// `USER:PASSWORD`
    pub(crate) credentials: Option<Arc<Secret>>,
}

impl Proxy {
    /// `None` if `juspay.egress_proxy` is not set.
    pub(crate) fn of(
        settings: &settings::Juspay,
        credentials: Option<Arc<Secret>>,
    ) -> Option<Self> {
        let origin = settings.egress_proxy.clone()?;
        Some(Self { origin, credentials })
    }

    /// Requests a tunnel to a host, which has brackets if it is an IPv6 address. After success, the next byte
    /// on the connection is from Juspay.
    pub(crate) async fn open_tunnel(
        &self,
        stream: &mut TcpStream,
        host: &str,
        port: u16,
    ) -> Result<(), ProxyFailure> {
        let closed = |_| ProxyFailure::InvalidResponse;
        stream.write_all(&self.request(host, port)).await.map_err(closed)?;
        let mut head = Vec::with_capacity(1024);
        loop {
            let room = MAX_HEAD_BYTES.saturating_sub(head.len());
            let room = u64::try_from(room).unwrap_or_default();
            let read = (&mut *stream).take(room).read_buf(&mut head).await.map_err(closed)?;
            if let Some(response) = parse(&head)? {
                return response.result();
            }
            // The connection has ended, or the head is too large.
            if read == 0 {
                return Err(ProxyFailure::InvalidResponse);
            }
        }
    }

    fn request(&self, host: &str, port: u16) -> Zeroizing<Vec<u8>> {
        let start = format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: {}\r\n",
            crate::USER_AGENT
        );
        let Some(secret) = &self.credentials else {
            return Zeroizing::new([&start, "\r\n"].concat().into_bytes());
        };
        let secret = secret.current();
        let text = secret.expose_secret();
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let credentials = basic_auth::credentials(user, password);
        // `concat` allocates once, so that no other copy of the credentials remains.
        let parts: [&[u8]; 4] =
            [start.as_bytes(), b"Proxy-Authorization: ", &credentials, b"\r\n\r\n"];
        Zeroizing::new(parts.concat())
    }
}

/// The proxy's response to CONNECT.
struct ConnectResponse {
    status: u16,
    /// Bytes follow the head.
    has_more: bool,
}

/// `None` if the head is incomplete.
fn parse(head: &[u8]) -> Result<Option<ConnectResponse>, ProxyFailure> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut response = Response::new(&mut fields);
    let parsed = response.parse(head).map_err(|_| ProxyFailure::InvalidResponse)?;
    Ok(match (parsed, response.code) {
        (Status::Complete(length), Some(status)) => {
            Some(ConnectResponse { status, has_more: length < head.len() })
        }
        (Status::Complete(_) | Status::Partial, _) => None,
    })
}

impl ConnectResponse {
    /// Juspay never sends the first byte, so bytes after the head of a 2xx response are not Juspay's.
    const fn result(&self) -> Result<(), ProxyFailure> {
        match self.status {
            200..=299 if self.has_more => Err(ProxyFailure::InvalidResponse),
            200..=299 => Ok(()),
            status @ (401 | 407) => Err(ProxyFailure::RejectedCredentials(status)),
            status => Err(ProxyFailure::Refused(status)),
        }
    }
}
