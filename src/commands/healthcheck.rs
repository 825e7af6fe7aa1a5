//! `juspay-bff healthcheck`: requests `/readyz` of the service on this machine.
//!
//! The exit code is 0 or 1, because Docker reserves 2. Reads no setting except
//! `server.admin_listen`. Does not use `http_client`: the admin listener may be a unix socket, and awc
//! connects only to TCP addresses without a connector of our own.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{CommandError, failed};
use crate::{
    cli::Healthcheck,
    settings::{Listen, Sources},
};

/// Maximum length of a response, in bytes. Typical ones have a few hundred.
const MAX_RESPONSE: u64 = 16 * 1024;

/// Maximum length of the printed text, in characters.
const MAX_SHOWN: usize = 200;

/// The status, and the first line of the body.
type Response = (u16, String);

pub(super) async fn run(flags: Healthcheck) -> Result<(), CommandError> {
    let sources = Sources::of_process(flags.settings.files);
    let listen =
        sources.admin_listen().map_err(|faults| CommandError::Failed(faults.to_string()))?;
    let Some(listen) = listen.into_iter().next() else {
        return Err(failed("server.admin_listen has no address"));
    };
    let path = if flags.live { "/livez" } else { "/readyz" };
    let (listen, what) = match reachable(listen) {
        Listen::Tcp(address) if address.port() == 0 => {
            return Err(failed("server.admin_listen has port 0, so the port is unknown"));
        }
        Listen::Tcp(address) => (Listen::Tcp(address), format!("http://{address}{path}")),
        Listen::Unix(file) => {
            let what = format!("{path} on unix:{}", file.display());
            (Listen::Unix(file), what)
        }
    };
    // A socket may never respond, so real time limits the wait, as in `doctor`.
    match timeout(flags.timeout, request(&listen, path)).await {
        Ok(Ok((200, _))) => Ok(()),
        Ok(Ok((status, text))) => Err(failed(format!("{what} returned {status}: {text}"))),
        Ok(Err(error)) => {
            let why = format!("failed to reach {what} (server.admin_listen): {error}");
            Err(failed(why))
        }
        Err(_) => Err(failed(format!("{what} did not respond within {:?}", flags.timeout))),
    }
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

async fn request(listen: &Listen, path: &str) -> io::Result<Response> {
    match listen {
        Listen::Tcp(address) => exchange(TcpStream::connect(address).await?, path).await,
        Listen::Unix(file) => exchange(UnixStream::connect(file).await?, path).await,
    }
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
    let line = body.lines().next().unwrap_or_default();
    let text = line.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c });
    Some((head.code?, text.collect()))
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
    fn response_is_reduced_to_status_and_one_printable_line() {
        let response = parse(b"HTTP/1.1 503 x\r\n\r\nno issuer\x1b has keys\nmore").unwrap();
        assert_eq!(response, (503, "no issuer  has keys".to_owned()));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Some((200, String::new())));
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
