//! A client: raw HTTP/1.1, so that tests see every byte and can send malformed requests.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{guard, with_timeout};

/// A client of one listener, with a new connection for each request.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    /// The bearer token to send.
    pub token: Option<String>,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token }
    }

    /// `GET /me/customer`
    pub async fn me(&self) -> Reply {
        self.get("/me/customer").await
    }

    pub async fn get(&self, target: &str) -> Reply {
        self.request("GET", target, "").await
    }

    /// Sends a request with additional header lines, each ending in CR LF.
    pub async fn request(&self, method: &str, target: &str, lines: &str) -> Reply {
        let authorization = match &self.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        self.raw(&format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{lines}\r\n"
        ))
        .await
    }

    /// Sends a `POST` with a JSON body.
    pub async fn post(&self, target: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let lines = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let authorization = match &self.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        self.raw(&format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{lines}\r\n{body}"
        ))
        .await
    }

    /// Sends these bytes and reads until the connection closes.
    pub async fn raw(&self, request: &str) -> Reply {
        self.try_raw(request).await.expect("an answer")
    }

    pub async fn try_raw(&self, request: &str) -> std::io::Result<Reply> {
        let exchange = async {
            let mut stream = self.open(request).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.map(|_| bytes)
        };
        let bytes = with_timeout("an answer", exchange).await?;
        let reply = Reply::parse(&bytes)
            .ok_or_else(|| std::io::Error::other(format!("no answer in {} bytes", bytes.len())))?;
        guard::answered(request, &reply);
        Ok(reply)
    }

    /// Sends these bytes, HTTP or not, and reads until the connection closes.
    pub async fn garbage(&self, bytes: &[u8]) -> Vec<u8> {
        self.bytes(bytes, false).await
    }

    /// The same, but also shuts down the sending side. Otherwise the service waits for the rest of
    /// anything that begins like HTTP.
    pub async fn garbage_and_end(&self, bytes: &[u8]) -> Vec<u8> {
        self.bytes(bytes, true).await
    }

    async fn bytes(&self, bytes: &[u8], and_end: bool) -> Vec<u8> {
        with_timeout("the end of the connection", async {
            let mut stream = TcpStream::connect(self.address).await.expect("a connection");
            // The service may close before it has read everything.
            drop(stream.write_all(bytes).await);
            if and_end {
                drop(stream.shutdown().await);
            }
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            answer
        })
        .await
    }

    /// Sends these bytes and leaves the response to the caller. Dropping the stream disconnects.
    pub async fn open(&self, request: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        // Sends each write at once, so that split requests arrive split.
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }
}

impl Reply {
    /// Parses a complete response; `None` if it is incomplete.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
        let headers = head
            .headers
            .iter()
            .map(|field| {
                (field.name.to_lowercase(), String::from_utf8_lossy(field.value).into_owned())
            })
            .collect();
        Some(Self { status: head.code?, headers, body: bytes[length..].to_vec() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The client auth token.
    pub fn token(&self) -> String {
        self.json()["juspay"]["client_auth_token"].as_str().expect("a token").to_owned()
    }

    pub fn cache_status(&self) -> &str {
        self.header("cache-status").unwrap_or("")
    }

    /// The code of a problem response, after checking all its parts.
    pub fn code(&self) -> String {
        let Self { status, headers, .. } = self;
        let is_problem = self.header("content-type") == Some("application/problem+json");
        assert!(is_problem, "{status} {headers:?} {:?}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        let retry_after = self.header("retry-after").map(|value| value.parse::<u64>().unwrap());
        assert_eq!(problem["retry_after"].as_u64(), retry_after);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
        assert!(problem["retryable"].is_boolean());
        problem["code"].as_str().expect("a code").to_owned()
    }
}
