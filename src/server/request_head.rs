//! Parses a request head before actix does: where it ends, how long its body is (RFC 9112 §6), and which
//! lines must not reach actix. Knows no connections.
//!
//! actix never receives an upgrade (RFC 9110 §7.8 lets a server ignore one): it would respond with
//! `connection: upgrade` and close without notice. A transfer coding is removed too if the body is
//! empty, because a lone last chunk is no body. httparse is actix's own parser, so both find the same end.

use std::mem::MaybeUninit;

use bytes::{BufMut as _, BytesMut};

/// Maximum number of header lines, as in actix.
const MAX_HEADERS: usize = 96;

/// An empty chunked body. Extensions or trailers would make it a body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why a request is not forwarded to actix. Its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The head has too many bytes or lines.
    HeadTooLarge,
    /// The head is invalid or ambiguous.
    Malformed,
    /// The body has no `Content-Length`.
    LengthRequired,
    /// The body exceeds the maximum.
    BodyTooLarge,
    /// The request did not arrive in time.
    TooSlow,
}

impl Rejection {
    /// A response without a body, like those of actix's parser.
    pub(super) fn response(self) -> String {
        let status = match self {
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Malformed => "400 Bad Request",
            Self::LengthRequired => "411 Length Required",
            Self::BodyTooLarge => "413 Content Too Large",
            Self::TooSlow => "408 Request Timeout",
        };
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }
}

/// What a complete, well-formed head announces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    /// In bytes.
    pub(super) length: usize,
    /// The length of the body; an error if readers could disagree about it.
    pub(super) body_length: Result<usize, Rejection>,
    /// A chunked body follows, without ambiguity.
    pub(super) is_chunked: bool,
    /// The client waits for 100 before it sends the body (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
    pub(super) offers_upgrade: bool,
}

impl RequestHead {
    /// Parses the head at the start of `bytes`; `None` if it is incomplete.
    pub(super) fn parse(bytes: &[u8], max_length: usize) -> Result<Option<Self>, Rejection> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let start = bytes.get(..max_length).unwrap_or(bytes);
        let length = match request.parse_with_uninit_headers(start, &mut headers) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() <= max_length => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Rejection::HeadTooLarge);
            }
            Err(_) => return Err(Rejection::Malformed),
        };
        let headers = &*request.headers;
        let values = |name| {
            let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value.trim_ascii())
        };
        let (mut codings, mut lengths) = (values("transfer-encoding"), values("content-length"));
        let (coding, body_length) = (codings.next(), lengths.next());
        let is_chunked = request.version == Some(1)
            && coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
            && codings.next().is_none()
            && body_length.is_none();
        let body_length = match (coding, body_length, lengths.next()) {
            (Some(_), ..) => Err(Rejection::LengthRequired),
            (None, None, _) => Ok(0),
            (None, Some(length), None) => digits(length).ok_or(Rejection::Malformed),
            (None, Some(_), Some(_)) => Err(Rejection::Malformed),
        };
        let mut expectations = values("expect").flat_map(options);
        let mut connection_options = values("connection").flat_map(options);
        Ok(Some(Self {
            length,
            body_length,
            is_chunked,
            expects_continue: expectations.any(|it| it.eq_ignore_ascii_case(b"100-continue")),
            offers_upgrade: values("upgrade").next().is_some()
                || connection_options.any(is_upgrade),
        }))
    }
}

fn digits(text: &[u8]) -> Option<usize> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// The members of a list, such as the options of a `Connection` line (RFC 9110 §5.6.1, §7.6.1).
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn is_upgrade(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"upgrade")
}

/// Lines that actix must not see, in addition to upgrades.
#[derive(Debug, Clone, Copy)]
pub(super) struct Without {
    /// The announcement of a chunked body, which is empty.
    pub(super) coding: bool,
    /// An expectation that has been met.
    pub(super) expectation: bool,
}

/// A well-formed head as actix receives it.
pub(super) fn for_parser(head: &[u8], without: Without) -> BytesMut {
    let mut forwarded = BytesMut::with_capacity(head.len());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let is = |name| named(line, name).is_some();
        if is("upgrade")
            || (without.coding && is("transfer-encoding"))
            || (without.expectation && is("expect"))
        {
            continue;
        }
        match named(line, "connection") {
            Some(value) if options(value).any(is_upgrade) => {
                let stays = |option: &&[u8]| !option.is_empty() && !is_upgrade(option);
                let others: Vec<_> = options(value).filter(stays).collect();
                if !others.is_empty() {
                    forwarded.put_slice(b"Connection: ");
                    forwarded.put_slice(&others.join(&b","[..]));
                    forwarded.put_slice(b"\r\n");
                }
            }
            _ => forwarded.put_slice(line),
        }
    }
    forwarded
}

/// The value of a line with this name. httparse rejects spaces before the colon and folded lines.
fn named<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
}

#[cfg(test)]
mod tests;
