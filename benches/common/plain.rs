//! A client with minimal cost: one connection, blocking, without an allocation per exchange.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// Maximum length of a response, in bytes.
const LONGEST: usize = 1 << 14;

/// A connection.
#[derive(Debug)]
pub struct BlockingClient {
    stream: TcpStream,
    space: Vec<u8>,
}

impl BlockingClient {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, space: vec![0; LONGEST] })
    }

    /// Sends a whole request, and returns the whole response.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<&[u8]> {
        self.exchange_until(request, is_whole)
    }

    /// The same, for callers that know when a response is complete.
    pub fn exchange_until(
        &mut self,
        request: &[u8],
        is_whole: impl Fn(&[u8]) -> bool,
    ) -> io::Result<&[u8]> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.space[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => filled += length,
            }
            if is_whole(&self.space[..filled]) {
                return Ok(&self.space[..filled]);
            }
        }
    }
}

/// A client's request.
pub fn request(token: &str) -> Vec<u8> {
    let head = "GET /me/customer HTTP/1.1\r\nHost: localhost\r\n";
    format!("{head}Authorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// Whether a response of the service or the baseline is complete.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else { return false };
    let field = head.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let body = field.and_then(|it| std::str::from_utf8(it.value).ok()?.parse::<usize>().ok());
    body.is_some_and(|body| bytes.len() >= length + body)
}

/// Whether the status is 200.
pub fn is_ok(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200 ")
}
