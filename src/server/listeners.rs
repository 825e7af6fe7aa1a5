//! TCP and unix sockets: bound before the workers start, and closed without losing a connection
//! (promise P8).

use std::{
    fs, io,
    net::{self, Shutdown, SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{self as unix, UnixListener},
    },
    path::{Path, PathBuf},
    task::{Context, Poll, ready},
};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::TcpSocket;

use crate::{net::is_loopback_address, settings::Listen};

/// Maximum number of connections that wait to be accepted. The kernel may have a lower limit.
const BACKLOG: u32 = 1024;

/// Owner and group may connect. A sidecar's app shares a group, not a user.
const SOCKET_MODE: u32 = 0o660;

/// An address that can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{key}: can't listen on {address}: {}; {}", .source, fix(.key, .source.kind()))]
pub struct ListenError {
    key: &'static str,
    address: String,
    source: io::Error,
}

/// The advice in the error message.
fn fix(key: &str, error: io::ErrorKind) -> String {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "stop the process that uses it, or write another address or port",
        ),
        (io::ErrorKind::AddrNotAvailable, "write an address of this machine"),
        (
            io::ErrorKind::PermissionDenied,
            "write a port from 1024 on, or the path of a socket that this process may create",
        ),
    ];
    let words = known.into_iter().find(|(kind, _)| *kind == error).map(|(_, words)| words);
    format!("{} in {key}", words.unwrap_or("write another address"))
}

/// A bound socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    /// The file is removed before the socket closes.
    Unix(Option<SocketFile>, UnixListener),
}

/// A socket, registered with the runtime.
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(Option<SocketFile>, tokio::net::UnixListener),
}

/// An accepted connection, not registered with a runtime.
pub(super) enum Accepted {
    Tcp(net::TcpStream),
    Unix(unix::UnixStream),
}

/// The bound sockets of the public or the admin listener.
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<Listener>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// A unix socket's file. It is removed when the listener closes.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Another process may have replaced the file.
    identity: Identity,
}

/// A file's device and inode.
type Identity = (u64, u64);

impl Listener {
    /// Whether no other machine can reach it, by the bound address.
    pub(super) fn is_local(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(listener) => Ok(is_loopback_address(listener.local_addr()?.ip())),
            Self::Unix(..) => Ok(true),
        }
    }

    /// Must be called within a runtime.
    pub(super) fn accepting(self) -> io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(file, listener) => {
                Accepting::Unix(file, tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    /// The next waiting connection; an error if there is none.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Accepted::Tcp(stream))
            }
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Accepted::Unix(stream))
            }
        }
    }
}

impl Accepting {
    /// The next connection.
    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                Poll::Ready(stream.into_std().map(Accepted::Tcp))
            }
            // After `stop_handshakes` it is always readable, and its queue is accepted at the end.
            Self::Unix(None, _) => Poll::Pending,
            Self::Unix(Some(_), listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                Poll::Ready(stream.into_std().map(Accepted::Unix))
            }
        }
    }

    /// Prevents further connections; waiting ones can still be accepted. If the socket closed while
    /// connections wait, the kernel would reset them.
    ///
    /// A unix socket rejects new connections at once. TCP drops the first packet of a handshake; the
    /// client repeats it after 1 s and is refused, because the socket is closed by then.
    pub(super) fn stop_handshakes(&mut self) {
        let stopped = match self {
            Self::Tcp(listener) => drop_handshakes(&SockRef::from(&*listener)),
            Self::Unix(file, listener) => {
                drop(file.take());
                SockRef::from(&*listener).shutdown(Shutdown::Read)
            }
        };
        if let Err(error) = stopped {
            tracing::debug!(%error, "connections begin until the listener is closed");
        }
    }

    /// To accept the connections that still wait, whether or not the runtime has noticed them.
    pub(super) fn into_std(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(listener.into_std()?),
            Self::Unix(file, listener) => Listener::Unix(file, listener.into_std()?),
        })
    }
}

/// Drops the first packet of each handshake (SYN without ACK), and no other.
#[cfg(target_os = "linux")]
fn drop_handshakes(socket: &Socket) -> io::Result<()> {
    use socket2::SockFilter;

    // Classic BPF, which gets a packet from the TCP header on: `tcp[13] & 0x12 == 0x02`.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    socket.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, 0x12),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, 0x02),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn drop_handshakes(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Listeners {
    /// Binds all of `key`'s addresses.
    pub(crate) fn bind(key: &'static str, listen: &[Listen]) -> Result<Self, ListenError> {
        let mut listeners = Self { sockets: Vec::new(), addresses: Vec::new() };
        for listen in listen {
            let (address, bound) = match listen {
                Listen::Tcp(address) => (address.to_string(), listeners.bind_tcp(*address)),
                Listen::Unix(path) => (path.display().to_string(), listeners.bind_unix(path)),
            };
            bound.map_err(|source| ListenError { key, address, source })?;
        }
        Ok(listeners)
    }

    fn bind_tcp(&mut self, address: SocketAddr) -> io::Result<()> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?.into_std()?;
        self.addresses.push(listener.local_addr()?);
        self.sockets.push(Listener::Tcp(listener));
        Ok(())
    }

    fn bind_unix(&mut self, path: &Path) -> io::Result<()> {
        remove_stale_socket(path)?;
        let listener = UnixListener::bind(path)?;
        let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        self.sockets.push(Listener::Unix(Some(file), listener));
        Ok(())
    }
}

/// Removes the socket file of a process that has ended, never another kind of file or a socket in use.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let stale = identity(path)?;
    // Nonblocking: a live process may be too busy to accept.
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    let is_refused = connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    // Another process may have replaced it meanwhile.
    if is_refused && identity(path)? == stale { fs::remove_file(path) } else { Ok(()) }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let path = self.path.display();
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(%path, %error, "failed to remove the socket file at shutdown; the next start tries again");
                }
            }
            Ok(_) => {
                tracing::info!(
                    %path,
                    "did not remove the socket file at shutdown, because it now belongs to another \
                     process; this is normal on a restart"
                );
            }
            Err(error) => tracing::info!(%path, %error, "socket file already removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn unix_socket_is_for_its_group_and_removed_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        let listen = [Listen::Unix(path.clone())];
        let listeners = Listeners::bind("server.listen", &listen).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let occupied = Listeners::bind("server.listen", &listen).err().unwrap().to_string();
        assert!(occupied.starts_with("server.listen: can't listen on "), "{occupied}");
        assert!(path.exists(), "a socket in use is not removed");
        drop(listeners);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_is_replaced_and_other_files_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listeners::bind("server.listen", &[Listen::Unix(path.clone())]).unwrap());
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(Listeners::bind("server.listen", &[Listen::Unix(path.clone())]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn successors_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        let listen = [Listen::Unix(path.clone())];
        let first = Listeners::bind("server.listen", &listen).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Listeners::bind("server.listen", &listen).unwrap();
        drop(first);
        assert!(unix::UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn socket_of_a_busy_process_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        // Fills the backlog.
        let waiting: Vec<_> = std::iter::from_fn(|| {
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            client.connect(&SockAddr::unix(&path).unwrap()).is_ok().then_some(client)
        })
        .collect();
        assert!(!waiting.is_empty());
        assert!(Listeners::bind("server.listen", &[Listen::Unix(path.clone())]).is_err());
        assert!(path.exists());
    }

    #[tokio::test]
    async fn p8_waiting_connections_are_accepted_after_handshakes_stop() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        let listen = [Listen::Unix(path.clone()), Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        let listeners = Listeners::bind("server.listen", &listen).unwrap();
        let address = listeners.addresses[0];
        let waiting = net::TcpStream::connect(address).unwrap();
        let waiting_too = unix::UnixStream::connect(&path).unwrap();
        for listener in listeners.sockets {
            let mut accepting = listener.accepting().unwrap();
            accepting.stop_handshakes();
            let listener = accepting.into_std().unwrap();
            assert!(listener.accept().is_ok());
            assert_eq!(listener.accept().err().unwrap().kind(), io::ErrorKind::WouldBlock);
            let waiting = match &listener {
                Listener::Unix(..) => unix::UnixStream::connect(&path).map(drop),
                Listener::Tcp(_) => tokio::net::TcpStream::connect(address)
                    .now_or_never()
                    .unwrap_or(Err(io::ErrorKind::WouldBlock.into()))
                    .map(drop),
            };
            assert!(waiting.is_err());
            assert!(!path.exists());
        }
        drop((waiting, waiting_too));
    }

    #[tokio::test]
    async fn error_of_a_used_port_names_the_key() {
        let free = [Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        let listeners = Listeners::bind("server.listen", &free).unwrap();
        let occupied = Listen::Tcp(listeners.addresses[0]);
        let error = Listeners::bind("server.admin_listen", &[occupied]).err().unwrap().to_string();
        assert!(error.starts_with("server.admin_listen: can't listen on 127.0.0.1:"), "{error}");
    }
}
