//! Requests a route of the service that runs on this machine, at its admin listener.
//!
//! Does not use `http_client`: the admin listener may be a unix socket, and awc connects only to TCP addresses
//! without a connector of our own.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::settings::Listen;

/// Maximum length of a response, in bytes. `/metrics` has the longest, with about 40,000.
const MAX_RESPONSE: u64 = 1024 * 1024;

/// The status and the body.
pub(super) type Response = (u16, String);

/// The admin listener of the running service.
#[derive(Debug)]
pub(super) struct AdminClient(Listen);

impl AdminClient {
    /// For the first address of `server.admin_listen`.
    ///
    /// # Errors
    /// If there is none, or its port is unknown.
    pub(super) fn new(listen: Vec<Listen>) -> Result<Self, &'static str> {
        let listen = listen.into_iter().next().ok_or("server.admin_listen has no address")?;
        match reachable(listen) {
            Listen::Tcp(address) if address.port() == 0 => {
                Err("server.admin_listen has port 0, so the port is unknown")
            }
            listen @ (Listen::Tcp(_) | Listen::Unix(_)) => Ok(Self(listen)),
        }
    }

    /// A path on this listener, for people.
    pub(super) fn show(&self, path: &str) -> String {
        match &self.0 {
            Listen::Tcp(address) => format!("http://{address}{path}"),
            Listen::Unix(file) => format!("{path} on unix:{}", file.display()),
        }
    }

    /// Requests a path. A socket may never respond, so real time limits the wait.
    ///
    /// # Errors
    /// With the reason, which follows the name of the path.
    pub(super) async fn get(&self, path: &str, limit: Duration) -> Result<Response, GetError> {
        let exchange = async {
            match &self.0 {
                Listen::Tcp(address) => exchange(TcpStream::connect(address).await?, path).await,
                Listen::Unix(file) => exchange(UnixStream::connect(file).await?, path).await,
            }
        };
        timeout(limit, exchange).await.map_err(|_| GetError::Timeout)?.map_err(GetError::Io)
    }
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum GetError {
    /// It did not arrive in time.
    Timeout,
    /// No connection, or not HTTP.
    Io(io::Error),
}

/// The address at which this machine reaches a listener.
fn reachable(listen: Listen) -> Listen {
    let Listen::Tcp(mut address) = listen else { return listen };
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Listen::Tcp(address)
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> io::Result<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut response).await?;
    parse(&response).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(response: &[u8]) -> Option<Response> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(response).ok()? else { return None };
    let body = String::from_utf8_lossy(response.get(length..)?).into_owned();
    Some((head.code?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_address_is_replaced_by_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let reachable = reachable(Listen::Tcp(listen.parse().unwrap()));
            assert_eq!(reachable, Listen::Tcp(reached.parse().unwrap()));
        }
        assert_eq!(reachable(Listen::Unix("a".into())), Listen::Unix("a".into()));
    }

    #[test]
    fn response_has_a_status_and_a_body() {
        let response = parse(b"HTTP/1.1 503 x\r\n\r\nno issuer\nmore").unwrap();
        assert_eq!(response, (503, "no issuer\nmore".to_owned()));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Some((200, String::new())));
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
