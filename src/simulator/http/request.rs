//! Reads requests off a connection: head, then a body with a Content-Length or in chunks, as Juspay's
//! own npm client sends it. Rejects what is too large.

mod chunked;

use std::{borrow::Cow, io};

use bytes::{Buf, Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::simulator::answer::Answer;

/// Largest head taken, in bytes. Far above any client's.
const MAX_HEAD: usize = 64 * 1024;

/// Largest body taken, in bytes. A customer's form has some hundred.
const MAX_BODY: usize = 64 * 1024;

/// Most header fields taken.
const MAX_FIELDS: usize = 96;

/// A request as it came.
#[derive(Debug, Clone)]
pub(in crate::simulator) struct Request {
    /// The number of its connection, from 1.
    pub(in crate::simulator) connection: u64,
    /// Whether it is the first request on its connection.
    pub(in crate::simulator) is_first: bool,
    pub(in crate::simulator) method: String,
    /// Still percent-encoded.
    pub(in crate::simulator) path: String,
    /// Behind the first `?`; empty when there is none.
    pub(in crate::simulator) query: String,
    pub(in crate::simulator) headers: Vec<(String, String)>,
    pub(in crate::simulator) body: Bytes,
    http_1_0: bool,
}

impl Request {
    /// The first header field of that name.
    pub(in crate::simulator) fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// Whether the connection is to be closed behind the answer (RFC 9112 §9.3).
    pub(super) fn wants_close(&self) -> bool {
        let says = |option| {
            self.header("connection").is_some_and(|value| {
                value.split(',').any(|named| named.trim().eq_ignore_ascii_case(option))
            })
        };
        says("close") || (self.http_1_0 && !says("keep-alive"))
    }

    /// The value of `name` in the query, decoded.
    pub(in crate::simulator) fn query_value(&self, name: &str) -> Option<String> {
        form_value(&self.query, name)
    }

    /// The value of `name` in a form body, decoded.
    pub(in crate::simulator) fn form_value(&self, name: &str) -> Option<String> {
        form_value(&String::from_utf8_lossy(&self.body), name)
    }
}

/// The first field of that name, whatever its case.
pub(in crate::simulator) fn find_header<'h>(
    headers: &'h [(String, String)],
    name: &str,
) -> Option<&'h str> {
    let of_that_name = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
    headers.iter().find(of_that_name).map(|(_, value)| value.as_str())
}

/// `name`'s first value in `application/x-www-form-urlencoded` text.
fn form_value(form: &str, name: &str) -> Option<String> {
    let decoded = |text: &str| match percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy()
    {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    };
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

/// What came next on a connection.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole request.
    Request(Request),
    /// Something that can't be answered otherwise; the connection must end.
    Refused(Answer),
    /// The peer has closed.
    Ended,
}

/// The bytes of a connection that no request was made of yet.
#[derive(Debug)]
pub(super) struct Incoming {
    connection: u64,
    has_had_request: bool,
    buffer: BytesMut,
}

impl Incoming {
    /// Nothing yet.
    pub(super) fn of(connection: u64) -> Self {
        Self { connection, has_had_request: false, buffer: BytesMut::new() }
    }

    /// Waits for the next request.
    pub(super) async fn next(&mut self, stream: &mut TcpStream) -> io::Result<Received> {
        loop {
            match self.parse() {
                Ok(Some((request, length))) => {
                    self.buffer.advance(length);
                    self.has_had_request = true;
                    return Ok(Received::Request(request));
                }
                Ok(None) => {}
                Err(refusal) => return Ok(Received::Refused(refusal.answer())),
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Received::Ended);
            }
        }
    }

    /// The first request in the buffer and its length, when it is there as a whole.
    fn parse(&self) -> Result<Option<(Request, usize)>, Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let head_length = match head.parse(&self.buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                return Err(Refusal::HeadTooLarge);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
            Err(_) => return Err(Refusal::Malformed),
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

/// The framing that the head announces (RFC 9112 §6.3); both at once are an error.
fn framing(request: &Request) -> Result<Framing, Refusal> {
    match (request.header("transfer-encoding"), request.header("content-length")) {
        (Some(_), Some(_)) => Err(Refusal::Malformed),
        (Some(coding), None) if coding.trim().eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(Refusal::UnknownCoding),
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(length)) => match length.parse() {
            Ok(length) if length > MAX_BODY => Err(Refusal::BodyTooLarge),
            Ok(length) => Ok(Framing::Length(length)),
            Err(_) => Err(Refusal::Malformed),
        },
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Malformed,
    HeadTooLarge,
    BodyTooLarge,
    UnknownCoding,
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, text) = match self {
            Self::Malformed => (400, "Malformed request.\n"),
            Self::HeadTooLarge => (431, "The request head is too large.\n"),
            Self::BodyTooLarge => (413, "The request body is too large.\n"),
            Self::UnknownCoding => (501, "The only supported transfer coding is chunked.\n"),
        };
        Answer::text(status, text).with("Connection", "close")
    }
}
