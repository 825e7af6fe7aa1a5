//! Requests whose responses arrive late or are never read.

use std::{io::ErrorKind, os::fd::AsFd as _};

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{Client, Reply, guard, with_timeout};

/// A request in progress. Dropping it disconnects.
#[derive(Debug)]
pub struct Pending {
    request: String,
    stream: TcpStream,
}

impl Client {
    /// Sends `GET /me/customer` without waiting for the response.
    pub async fn begin(&self) -> Pending {
        let token = self.token.as_deref().expect("a client with a token");
        let request = format!(
            "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        let stream = self.open(&request).await.expect("a connection");
        Pending { request, stream }
    }
}

impl Pending {
    /// Whether a response or the connection's end has arrived, according to the kernel.
    pub fn is_answered(&self) -> bool {
        let twin = self.stream.as_fd().try_clone_to_owned().unwrap();
        match std::net::TcpStream::from(twin).peek(&mut [0]) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn reply(mut self) -> Reply {
        let mut bytes = Vec::new();
        with_timeout("an answer", self.stream.read_to_end(&mut bytes)).await.expect("an answer");
        let reply = Reply::parse(&bytes).expect("a whole answer");
        guard::answered(&self.request, &reply);
        reply
    }
}
