//! Reads requests from a connection: a head, then a body with a Content-Length or in chunks, which
//! Juspay's npm client sends. Rejects requests that are too large.

mod chunked;

use std::{borrow::Cow, io};

use bytes::{Buf, Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::response::Response;

/// Maximum size of a head in bytes, far above that of any client.
const MAX_HEAD: usize = 64 * 1024;

/// Maximum size of a body in bytes. A customer's form has a few hundred.
const MAX_BODY: usize = 64 * 1024;

/// Maximum number of header fields.
const MAX_FIELDS: usize = 96;

/// A request as received.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The number of its connection, from 1.
    pub(crate) connection: u64,
    /// Whether it is the first request on its connection.
    pub(crate) is_first: bool,
    pub(crate) method: String,
    /// Percent-encoded.
    pub(crate) path: String,
    /// After the first `?`; empty if absent.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    http_1_0: bool,
}

impl Request {
    /// The first header field with this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// Whether the connection closes after the response (RFC 9112 §9.3).
    pub(super) fn wants_close(&self) -> bool {
        let has_option = |option| {
            self.header("connection").is_some_and(|value| {
                value.split(',').any(|named| named.trim().eq_ignore_ascii_case(option))
            })
        };
        has_option("close") || (self.http_1_0 && !has_option("keep-alive"))
    }

    /// The decoded value of `name` in the query.
    pub(crate) fn query_value(&self, name: &str) -> Option<String> {
        form_value(&self.query, name)
    }

    /// The decoded value of `name` in a form body.
    pub(crate) fn form_value(&self, name: &str) -> Option<String> {
        form_value(&String::from_utf8_lossy(&self.body), name)
    }
}

/// The first header field with this name, ignoring case.
pub(crate) fn find_header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let of_that_name = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
    headers.iter().find(of_that_name).map(|(_, value)| value.as_str())
}

/// The first value of `name` in `application/x-www-form-urlencoded` text.
fn form_value(form: &str, name: &str) -> Option<String> {
    form_fields(form).find_map(|(key, value)| (key == name).then_some(value))
}

/// The decoded names and values of `application/x-www-form-urlencoded` text, in order.
pub(crate) fn form_fields(form: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| match percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy()
    {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    };
    form.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

/// What a connection delivered next.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole request.
    Request(Request),
    /// Something malformed; the connection ends after this response.
    Rejected(Response),
    /// The client has closed.
    Ended,
}

/// The unprocessed bytes of a connection.
#[derive(Debug)]
pub(super) struct Incoming {
    connection: u64,
    has_had_request: bool,
    buffer: BytesMut,
}

impl Incoming {
    /// No bytes yet.
    pub(super) fn of(connection: u64) -> Self {
        Self { connection, has_had_request: false, buffer: BytesMut::new() }
    }

    /// Waits for the next request.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Received> {
        loop {
            match self.parse() {
                Ok(Some((request, length))) => {
                    self.buffer.advance(length);
                    self.has_had_request = true;
                    return Ok(Received::Request(request));
                }
                Ok(None) => {}
                Err(rejection) => return Ok(Received::Rejected(rejection.response())),
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Received::Ended);
            }
        }
    }

    /// The first complete request in the buffer, and its length.
    fn parse(&self) -> Result<Option<(Request, usize)>, Rejection> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let head_length = match head.parse(&self.buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                return Err(Rejection::HeadTooLarge);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Rejection::HeadTooLarge),
            Err(_) => return Err(Rejection::Malformed),
        };
        let mut request = self.request(&head);
        let received = self.buffer.get(head_length..).unwrap_or_default();
        let (body, body_length) = match framing(&request)? {
            Framing::Length(length) => match received.get(..length) {
                Some(body) => (Bytes::copy_from_slice(body), length),
                None => return Ok(None),
            },
            Framing::Chunked => match chunked::decode(received, MAX_BODY)? {
                Some((body, length)) => (body.into(), length),
                None => return Ok(None),
            },
        };
        request.body = body;
        Ok(Some((request, head_length.saturating_add(body_length))))
    }

    fn request(&self, head: &httparse::Request<'_, '_>) -> Request {
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let field = |field: &httparse::Header<'_>| {
            (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())
        };
        Request {
            connection: self.connection,
            is_first: !self.has_had_request,
            method: head.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: head.headers.iter().map(field).collect(),
            body: Bytes::new(),
            http_1_0: head.version == Some(0),
        }
    }
}

/// How the end of a body is found.
enum Framing {
    Length(usize),
    Chunked,
}

/// The framing of the body (RFC 9112 §6.3). Two kinds at once are an error.
fn framing(request: &Request) -> Result<Framing, Rejection> {
    match (request.header("transfer-encoding"), request.header("content-length")) {
        (Some(_), Some(_)) => Err(Rejection::Malformed),
        (Some(coding), None) if coding.trim().eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(Rejection::UnknownCoding),
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(length)) => match length.parse() {
            Ok(length) if length > MAX_BODY => Err(Rejection::BodyTooLarge),
            Ok(length) => Ok(Framing::Length(length)),
            Err(_) => Err(Rejection::Malformed),
        },
    }
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy)]
enum Rejection {
    Malformed,
    HeadTooLarge,
    BodyTooLarge,
    UnknownCoding,
}

impl Rejection {
    fn response(self) -> Response {
        let (status, text) = match self {
            Self::Malformed => (400, "Malformed request.\n"),
            Self::HeadTooLarge => (431, "The request head is too large.\n"),
            Self::BodyTooLarge => (413, "The request body is too large.\n"),
            Self::UnknownCoding => (501, "The only supported transfer coding is chunked.\n"),
        };
        Response::text(status, text).with("Connection", "close")
    }
}
