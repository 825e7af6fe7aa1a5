//! A phone: a raw HTTP/1.1 client, so that tests see every byte and can send bad ones.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{guard, within_reason};

/// A client of one listener, which makes a new connection for each request.
#[derive(Debug, Clone)]
pub struct Phone {
    pub address: SocketAddr,
    /// Sent as the bearer token.
    pub token: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Phone {
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

    /// A request with further header lines, each ended by CR LF.
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

    /// A `POST` with a JSON body.
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

    /// These bytes, and all that comes back until the connection is closed.
    pub async fn raw(&self, request: &str) -> Reply {
        self.try_raw(request).await.expect("an answer")
    }

    pub async fn try_raw(&self, request: &str) -> std::io::Result<Reply> {
        let exchange = async {
            let mut stream = self.open(request).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.map(|_| bytes)
        };
        let bytes = within_reason("an answer", exchange).await?;
        let reply = Reply::parse(&bytes)
            .ok_or_else(|| std::io::Error::other(format!("no answer in {} bytes", bytes.len())))?;
        guard::answered(request, &reply);
        Ok(reply)
    }

    /// These bytes, be they HTTP or not, and what comes back until the connection is closed.
    pub async fn garbage(&self, bytes: &[u8]) -> Vec<u8> {
        self.bytes(bytes, false).await
    }

    /// The same, but the client says that no more will come: what begins like HTTP is waited for.
    pub async fn garbage_and_end(&self, bytes: &[u8]) -> Vec<u8> {
        self.bytes(bytes, true).await
    }

    async fn bytes(&self, bytes: &[u8], and_end: bool) -> Vec<u8> {
        within_reason("the end of the connection", async {
            let mut stream = TcpStream::connect(self.address).await.expect("a connection");
            // The service may close before it has read all.
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

    /// Sends these bytes, and leaves the answer to the caller; dropped, it hangs up.
    pub async fn open(&self, request: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        // What comes in pieces goes in pieces, at once.
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }
}

impl Reply {
    /// Reads one whole answer; `None` when it isn't whole.
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

    /// The problem's code, of an answer that is one in all its parts.
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
