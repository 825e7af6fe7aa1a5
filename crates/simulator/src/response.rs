//! HTTP responses as data, and their bytes. [`super::fault`] decides how they are sent.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::http::{AfterResponse, Script, Step};

/// How the end of a body is indicated (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A Content-Length, whether correct or not.
    Length(usize),
    /// Chunked transfer coding.
    Chunked,
    /// Not at all: the body ends with the connection.
    None,
}

/// A response without framing.
#[derive(Debug, Clone)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Response {
    fn new(status: u16, content_type: &str, body: Bytes) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status, headers, body }
    }

    /// A response with a JSON body.
    pub(super) fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status, "application/json", body.into()),
            Err(error) => Self::text(500, &format!("{error}\n")),
        }
    }

    /// A response with a body that is JSON already.
    pub(super) fn raw_json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json", Bytes::copy_from_slice(body.as_bytes()))
    }

    /// A response with a plain text body.
    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
    }

    /// A response with an HTML body.
    pub(super) fn html(status: u16, body: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
    }

    /// Replaces the status.
    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Replaces the body.
    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// Sets a header field, replacing others with the same name.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header field.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self
    }

    /// Sets `Date` (RFC 9110 §6.6.1).
    pub(super) fn dated(self, now: Timestamp) -> Self {
        self.with("Date", &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    /// The head's bytes, including the empty line.
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

    /// Head and body with a correct Content-Length.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = self.head(Framing::Length(self.body.len()));
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// A script that sends the response without a fault.
    pub(super) fn script(&self) -> Script {
        Script { steps: vec![Step::Write(self.to_bytes())], then: AfterResponse::KeepAlive }
    }
}

/// The reason phrase (RFC 9110 §15), or an empty one.
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
