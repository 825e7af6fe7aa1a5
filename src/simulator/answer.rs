//! HTTP answers as data, and the bytes of them. How they are sent is told by [`super::fault`].

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::http::{Script, Step, Then};

/// How the end of a body is told (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Content-Length, whether or not it is true.
    Length(usize),
    /// Chunks.
    Chunked,
    /// Nothing: the body ends with the connection.
    None,
}

/// An answer, not yet framed.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: Bytes) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status, headers, body }
    }

    /// An answer of JSON.
    pub(super) fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status, "application/json", body.into()),
            Err(error) => Self::text(500, &format!("{error}\n")),
        }
    }

    /// An answer of JSON that is written already.
    pub(super) fn raw_json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json", Bytes::copy_from_slice(body.as_bytes()))
    }

    /// An answer of plain text.
    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
    }

    /// An answer of HTML.
    pub(super) fn html(status: u16, body: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
    }

    /// This answer with another status.
    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// This answer with another body.
    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// This answer with a header field, which takes the place of any of its name.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// This answer without a header field.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self
    }

    /// This answer with a `Date` (RFC 9110 §6.6.1).
    pub(super) fn dated(self, now: Timestamp) -> Self {
        self.with("Date", &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    /// The head's bytes, the empty line included.
    pub(super) fn head(&self, framing: Framing) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut field = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        for (name, value) in &self.headers {
            field(name, value);
        }
        match framing {
            Framing::Length(length) => field("Content-Length", &length.to_string()),
            Framing::Chunked => field("Transfer-Encoding", "chunked"),
            Framing::None => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Head and body, truly framed.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = self.head(Framing::Length(self.body.len()));
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// The script that simply sends it.
    pub(super) fn script(&self) -> Script {
        Script { steps: vec![Step::Write(self.to_bytes())], then: Then::KeepAlive }
    }
}

/// The reason phrase (RFC 9110 §15); empty for those that nobody reads here.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
