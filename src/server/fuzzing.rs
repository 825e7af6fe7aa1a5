//! Properties of the pipelining guard for any bytes of a connection. Only fuzz targets and tests include
//! this module.

#![expect(clippy::expect_used, clippy::panic, reason = "a panic is a finding")]

use actix_codec::Decoder as _;
use actix_http::{
    ConnectionType, ServiceConfig,
    h1::{Codec, Message, MessageType},
    header::UPGRADE,
};
use bytes::BytesMut;
use tokio::task::LocalSet;

use super::{
    pipelining_guard::PipeliningGuard,
    request_head::{LAST_CHUNK, Rejection},
};

/// The start of a response.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n";

thread_local! {
    /// The parser's settings, with the task for their date, which is unused.
    static PARSER: (LocalSet, ServiceConfig) = {
        let tasks = LocalSet::new();
        let entered = tasks.enter();
        let config = ServiceConfig::default();
        drop(entered);
        (tasks, config)
    };
}

/// Reads the bytes of a connection after two bytes: the size of the pieces in which they arrive, and the
/// maximum length of heads and bodies. Panics if a property is violated.
pub fn pipelining_guard(input: &[u8]) {
    let [size, most, stream @ ..] = input else { return };
    let sizes = [usize::from(*size).max(1), 1, stream.len().max(1)];
    let (max_head, max_body) = (usize::from(*most).saturating_mul(4), usize::from(*most));
    let sent = Sent::read(stream, max_head);
    for size in sizes {
        let forwarded = forwarded(stream, size, PipeliningGuard::new(max_head, None));
        assert_eq!(
            forwarded.requests.len(),
            sent.heads.len(),
            "other heads than were sent, by {size}"
        );
        for (received, (head, is_empty_chunked)) in forwarded.requests.iter().zip(&sent.heads) {
            is_as_sent(received, head, *is_empty_chunked);
            is_one(received, max_head, 0);
        }
        assert_eq!(forwarded.rejection, sent.rejection, "by {size}");
    }
    let guard = || PipeliningGuard::new(max_head, Some(max_body));
    let all = sizes.map(|size| forwarded(stream, size, guard()));
    for other in &all {
        assert_eq!(all.first(), Some(other), "the result depends on the pieces");
        other.requests.iter().for_each(|request| is_one(request, max_head, max_body));
    }
    early_response(stream, sizes, guard());
}

/// What a client has sent to a listener without bodies, read in one piece.
#[derive(Default)]
struct Sent<'a> {
    /// Complete heads, each with whether an empty chunked body follows.
    heads: Vec<(&'a [u8], bool)>,
    rejection: Option<Rejection>,
}

impl<'a> Sent<'a> {
    fn read(mut stream: &'a [u8], max_head: usize) -> Self {
        let mut sent = Self::default();
        loop {
            let mut lines = [httparse::EMPTY_HEADER; 96];
            let mut request = httparse::Request::new(&mut lines);
            let start = stream.get(..max_head).unwrap_or(stream);
            let end = match request.parse(start) {
                Ok(httparse::Status::Complete(end)) => end,
                Ok(httparse::Status::Partial) => {
                    let is_too_long = stream.len() > max_head;
                    sent.rejection = is_too_long.then_some(Rejection::HeadTooLarge);
                    return sent;
                }
                Err(error) => {
                    let has_too_many = error == httparse::Error::TooManyHeaders;
                    sent.rejection = Some(if has_too_many {
                        Rejection::HeadTooLarge
                    } else {
                        Rejection::Malformed
                    });
                    return sent;
                }
            };
            assert_eq!(end_of_head(stream), Some(end), "the parser finds another end of the head");
            let (head, following) = stream.split_at_checked(end).expect("an end within");
            let is_chunked = parsed(head).is_some_and(|head| head.is_chunked());
            // A request is complete when the next bytes show whether it has a body.
            if is_chunked && LAST_CHUNK.starts_with(following) && following.len() < LAST_CHUNK.len()
            {
                return sent;
            }
            let body = following.strip_prefix(LAST_CHUNK).filter(|_| is_chunked);
            sent.heads.push((head, body.is_some()));
            stream = body.unwrap_or(following);
        }
    }
}

/// A head's request line, and its lines with names in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    line: (String, String, u8),
    lines: Vec<(String, Vec<u8>)>,
}

fn parsed(head: &[u8]) -> Option<Parsed> {
    let mut lines = [httparse::EMPTY_HEADER; 96];
    let mut request = httparse::Request::new(&mut lines);
    let is_whole = request.parse(head) == Ok(httparse::Status::Complete(head.len()));
    is_whole.then(|| Parsed {
        line: (
            request.method.unwrap_or("").into(),
            request.path.unwrap_or("").into(),
            request.version.unwrap_or(0),
        ),
        lines: request
            .headers
            .iter()
            .map(|line| (line.name.to_ascii_lowercase(), line.value.trim_ascii().to_vec()))
            .collect(),
    })
}

impl Parsed {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.lines.iter().filter(|line| line.0 == name);
        named.map(|line| &*line.1).collect()
    }

    /// Whether chunks follow, to every reader.
    fn is_chunked(&self) -> bool {
        let codings = self.values("transfer-encoding");
        let is_coded = matches!(&*codings, [coding] if coding.eq_ignore_ascii_case(b"chunked"));
        self.line.2 == 1 && is_coded && self.values("content-length").is_empty()
    }

    /// Without the lines that are removed before the parser.
    fn for_parser(mut self, is_empty_chunked: bool) -> Self {
        let is_forwarded = |(name, _): &(String, Vec<u8>)| match &**name {
            "upgrade" => false,
            "transfer-encoding" | "expect" => !is_empty_chunked,
            _ => true,
        };
        self.lines.retain(is_forwarded);
        for (name, value) in &mut self.lines {
            let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let options: Vec<_> = options.collect();
            if name == "connection" && options.iter().any(|it| it.eq_ignore_ascii_case(b"upgrade"))
            {
                let stays = |it: &&[u8]| !it.is_empty() && !it.eq_ignore_ascii_case(b"upgrade");
                *value = options.into_iter().filter(stays).collect::<Vec<_>>().join(&b',');
            }
        }
        self.lines.retain(|(name, value)| name != "connection" || !value.is_empty());
        self
    }
}

/// Checks that a forwarded head equals the sent one, except for removed lines.
fn is_as_sent(received: &[u8], head: &[u8], is_empty_chunked: bool) {
    let sent = parsed(head).expect("a well-formed head").for_parser(is_empty_chunked);
    let mut received = parsed(received).expect("a well-formed head");
    received.lines.retain(|(name, value)| name != "connection" || !value.is_empty());
    assert_eq!(received, sent, "another request than was sent");
}

/// What a guard has forwarded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded {
    /// Each up to the wait for its response.
    requests: Vec<Vec<u8>>,
    rejection: Option<Rejection>,
}

/// Sends the stream in pieces, and responds to each request as soon as it is forwarded.
fn forwarded(stream: &[u8], size: usize, mut guard: PipeliningGuard) -> Forwarded {
    let mut forwarded = Forwarded::default();
    let mut received = Vec::new();
    for piece in stream.chunks(size) {
        let mut fresh = match guard.forward(piece) {
            Ok(fresh) => piece.get(..fresh).expect("at most the piece").to_vec(),
            Err(rejection) => return Forwarded { rejection: Some(rejection), ..forwarded },
        };
        loop {
            received.append(&mut fresh);
            while guard.awaits_response() {
                forwarded.requests.push(std::mem::take(&mut received));
                respond(&mut guard);
            }
            match guard.forward_buffered(usize::MAX) {
                Ok(buffered) if buffered.is_empty() && !guard.awaits_response() => break,
                Ok(buffered) => fresh.extend_from_slice(&buffered),
                Err(rejection) => return Forwarded { rejection: Some(rejection), ..forwarded },
            }
        }
    }
    forwarded
}

/// Responds to the forwarded request.
fn respond(guard: &mut PipeliningGuard) {
    assert!(!guard.is_reading_request(), "a response is awaited within a request");
    assert_eq!(guard.forward(b""), Ok(0), "bytes are forwarded before the response");
    assert_eq!(
        guard.forward_buffered(usize::MAX),
        Ok(BytesMut::new()),
        "bytes are forwarded before the response"
    );
    assert!(guard.response_written(RESPONSE), "a response does not start the next request");
}

/// A forwarded request with its body is one request to the parser, or none, and nothing is left.
fn is_one(request: &[u8], max_head: usize, max_body: usize) {
    let (head, body) = request.split_at(end_of_head(request).expect("a head"));
    assert!(head.len() <= max_head && body.len() <= max_body, "longer than allowed");
    let mut codec = PARSER.with(|(_, config)| Codec::new(config.clone()));
    let mut bytes = BytesMut::from(request);
    match codec.decode(&mut bytes) {
        // The parser then reads no further.
        Err(_) => return,
        Ok(Some(Message::Item(request))) => {
            assert_ne!(request.head().connection_type(), ConnectionType::Upgrade);
            assert!(
                !request.head().headers.contains_key(UPGRADE),
                "the parser receives an upgrade"
            );
        }
        Ok(_) => panic!("no request to the parser"),
    }
    // If no bodies are forwarded, that of chunks is not either.
    if max_body > 0 && codec.message_type() == MessageType::Payload {
        let mut parts = std::iter::from_fn(|| codec.decode(&mut bytes).expect("a body"));
        let is_end = |part| matches!(part, Message::Chunk(None));
        assert!(parts.any(is_end), "the parser waits for more of it");
    }
    assert!(bytes.is_empty(), "the parser receives bytes after the request");
}

/// Responds before a body is complete. Then nothing more is forwarded.
fn early_response(stream: &[u8], [size, ..]: [usize; 3], mut guard: PipeliningGuard) {
    let mut has_responded = false;
    for piece in stream.chunks(size) {
        let Ok(mut fresh) = guard.forward(piece) else { return };
        loop {
            assert!(!has_responded || fresh == 0, "bytes are forwarded after an early response");
            while guard.awaits_response() && !has_responded {
                respond(&mut guard);
            }
            let Ok(buffered) = guard.forward_buffered(usize::MAX) else { return };
            if buffered.is_empty() && (has_responded || !guard.awaits_response()) {
                break;
            }
            fresh = buffered.len();
        }
        // Until the body has started, no head has been forwarded that could get a response.
        if guard.is_reading_body() && !guard.response_written(RESPONSE) && guard.is_last() {
            assert!(guard.awaits_response(), "the rest of a body is forwarded");
            has_responded = true;
        }
    }
}

/// A head ends at the first empty line after another line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut end: usize = 0;
    let mut has_text = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        end = end.saturating_add(line.len());
        let text = line.strip_suffix(b"\n")?;
        let is_empty = matches!(text, [] | [b'\r']);
        if is_empty && has_text {
            return Some(end);
        }
        has_text |= !is_empty;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn properties_hold_for_every_stored_input() {
        crate::corpus::replay("pipelining_guard", pipelining_guard);
    }

    const METHODS: &[&str] = &["GET", "POST", "HEAD", "CONNECT", "P\0"];

    const LINES: &[&str] = &[
        "Content-Length: 1\r\n",
        "content-length:8 \r\n",
        "Content-Length: 100\n",
        "Content-Length: +1\r\n",
        "Content-Length : 1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "transfer-encoding:\tChunked \r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Upgrade: websocket\r\n",
        "Upgrade: h2c\r\n",
        "Connection: close, upgrade\r\n",
        "connection: ,UPGRADE,,x\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        "X: y\r\n z\r\n",
    ];

    const BODIES: &[&str] = &[
        "",
        "x",
        "xxxxxxxx",
        "0\r\n\r\n",
        "0\r\n\r",
        "0",
        "00\r\n\r\n",
        "1\r\nx\r\n0\r\n\r\n",
        "0;x\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
    ];

    proptest! {
        #[test]
        fn one_head_is_forwarded_at_a_time(
            size in 1_u8..40,
            max_head in 0_u8..40,
            parts in vec(select(&["\r", "\n", "\r\n", "\r\n\r\n", "GET / HTTP/1.1", "a: b", "x"][..]), 0..24),
        ) {
            pipelining_guard(&[&[size, max_head], parts.concat().as_bytes()].concat());
        }

        #[test]
        fn parser_receives_one_request_for_any_body_headers(
            size in 1_u8..90,
            requests in vec((select(METHODS), vec(select(LINES), 0..5), select(BODIES)), 1..4),
        ) {
            let requests = requests.iter().map(|(method, lines, body)| {
                format!("{method} / HTTP/1.1\r\nHost: a\r\n{}\r\n{body}", lines.concat())
            });
            pipelining_guard(&[&[size, 90], &*requests.collect::<String>().into_bytes()].concat());
        }
    }
}
