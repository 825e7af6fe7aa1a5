//! The sockets: TCP addresses and unix socket files, bound before anything else is started.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use tokio::net::TcpSocket;

use crate::{loopback::is_loopback_address, settings::Listen};

/// Connections that wait to be accepted; the kernel's own bound is lower in places.
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

/// What to do about it.
fn fix(key: &str, error: io::ErrorKind) -> String {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "stop the process that listens there, or write another address or port",
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
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The bound sockets of one listener of ours.
pub(super) struct Listeners {
    pub(super) sockets: Vec<Listener>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) files: Vec<SocketFile>,
}

/// Removes a unix socket's file when it isn't used any more.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Listener {
    /// Whether nobody else's machine reaches it. The address that we listen on tells, not a peer's:
    /// port forwarding and proxies make any peer look near.
    pub(super) fn is_on_this_machine(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(listener) => Ok(is_loopback_address(listener.local_addr()?.ip())),
            Self::Unix(_) => Ok(true),
        }
    }
}

impl Listeners {
    /// Binds all of `key`'s addresses.
    pub(super) fn bind(key: &'static str, listen: &[Listen]) -> Result<Self, ListenError> {
        let mut listeners = Self { sockets: Vec::new(), addresses: Vec::new(), files: Vec::new() };
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
        remove_left_behind(path)?;
        let listener = UnixListener::bind(path)?;
        let file = SocketFile(path.to_owned());
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        self.files.push(file);
        self.sockets.push(Listener::Unix(listener));
        Ok(())
    }
}

/// Removes the socket of a process that has ended, never a file of another kind nor a socket that
/// is in use.
fn remove_left_behind(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let nobody_there = || {
        UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && nobody_there() { fs::remove_file(path) } else { Ok(()) }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the socket's file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unix_socket_is_for_its_group_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        let listen = [Listen::Unix(path.clone())];
        let listeners = Listeners::bind("server.listen", &listen).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let taken = Listeners::bind("server.listen", &listen).err().unwrap().to_string();
        assert!(taken.starts_with("server.listen: can't listen on "), "{taken}");
        assert!(path.exists(), "a socket in use isn't taken away");
        drop(listeners);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_other_files_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bff.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listeners::bind("server.listen", &[Listen::Unix(path.clone())]).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(Listeners::bind("server.listen", &[Listen::Unix(path.clone())]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_taken_port_is_told_with_its_key() {
        let free = [Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        let listeners = Listeners::bind("server.listen", &free).unwrap();
        let taken = Listen::Tcp(listeners.addresses[0]);
        let error = Listeners::bind("server.admin_listen", &[taken]).err().unwrap().to_string();
        assert!(error.starts_with("server.admin_listen: can't listen on 127.0.0.1:"), "{error}");
    }
}
