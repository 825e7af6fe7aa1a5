//! A scripted server in place of Juspay. It sends bytes that even the simulator doesn't send, or
//! checks that the service never connects.

use std::{io::ErrorKind, net::SocketAddr, os::fd::AsFd as _};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::with_timeout;

/// A listener on its own port.
#[derive(Debug)]
pub struct ScriptedServer {
    pub address: SocketAddr,
    pub(super) listener: TcpListener,
}

/// A connection of a client to the scripted server.
#[derive(Debug)]
pub struct ScriptedConnection(pub(super) TcpStream);

impl ScriptedServer {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// The setting that makes the service call this server.
    pub fn as_base_url(&self) -> String {
        format!("juspay.base_url = \"http://{}\"\n", self.address)
    }

    /// The next connection.
    pub async fn accept(&self) -> ScriptedConnection {
        let (stream, _) =
            with_timeout("a connection", self.listener.accept()).await.expect("a connection");
        stream.set_nodelay(true).unwrap();
        ScriptedConnection(stream)
    }

    /// Whether a client has tried to connect, according to the kernel.
    pub fn was_contacted(&self) -> bool {
        let twin = self.listener.as_fd().try_clone_to_owned().unwrap();
        match std::net::TcpListener::from(twin).accept() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

impl ScriptedConnection {
    /// The head of the next request.
    pub async fn request(&mut self) -> String {
        let reading = async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(char::from(self.0.read_u8().await.expect("a request")));
            }
            head
        };
        with_timeout("a request", reading).await
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may disconnect before the end.
        drop(with_timeout("sending", self.0.write_all(bytes.as_ref())).await);
    }

    /// Ends the server's side of the connection.
    pub async fn end(&mut self) {
        // The client may have disconnected.
        drop(self.0.shutdown().await);
    }

    /// The next byte from the client.
    pub async fn byte(&mut self) -> u8 {
        with_timeout("a byte", self.0.read_u8()).await.expect("a byte")
    }

    /// What the client still sends until it closes or resets the connection.
    pub async fn closed(mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let reading = self.0.read_to_end(&mut heard);
        drop(with_timeout("the end of the connection", reading).await);
        heard
    }
}
