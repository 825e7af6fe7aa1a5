//! What must hold whatever bytes come over a connection. For the fuzz targets and the tests only:
//! no program has this in it.

#![expect(clippy::expect_used, clippy::panic, reason = "what can't be is a finding")]

use actix_codec::Decoder as _;
use actix_http::{
    ConnectionType, ServiceConfig,
    h1::{Codec, Message, MessageType},
    header::UPGRADE,
};
use bytes::BytesMut;
use tokio::task::LocalSet;

use super::{frame::Refusal, gate::Gate};

/// What leaves when an answer begins.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n";

thread_local! {
    /// The parser's settings, with a task for the date, which nobody asks for.
    static PARSER: (LocalSet, ServiceConfig) = {
        let tasks = LocalSet::new();
        let entered = tasks.enter();
        let config = ServiceConfig::default();
        drop(entered);
        (tasks, config)
    };
}

/// Takes the bytes of a connection behind two that say how many come at once and how long a head, or
/// a body, may be, and panics where a promise is broken.
pub fn request_gate(input: &[u8]) {
    let [size, most, stream @ ..] = input else { return };
    let sizes = [usize::from(*size).max(1), 1, stream.len().max(1)];
    let (max_head, max_body) = (usize::from(*most).saturating_mul(4), usize::from(*most));
    let sent = Sent::read(stream, max_head);
    for size in sizes {
        let passed = passed(stream, size, Gate::new(max_head, None));
        assert_eq!(
            passed.requests.len(),
            sent.heads.len(),
            "other heads than there are, by {size}"
        );
        for (seen, (head, is_empty_chunked)) in passed.requests.iter().zip(&sent.heads) {
            is_as_sent(seen, head, *is_empty_chunked);
            is_one(seen, max_head, 0);
        }
        let refusal = sent.is_too_long.then_some(Refusal::HeadTooLarge);
        assert_eq!(passed.refusal, refusal, "by {size}");
    }
    let taken = sizes.map(|size| passed(stream, size, Gate::new(max_head, Some(max_body))));
    for other in &taken {
        assert_eq!(taken.first(), Some(other), "it depends on how the bytes come");
        other.requests.iter().for_each(|request| is_one(request, max_head, max_body));
    }
    answered_early(stream, sizes, Gate::new(max_head, Some(max_body)));
}

/// What a client has sent to a listener without bodies, read the plain way.
#[derive(Default)]
struct Sent<'a> {
    /// Whole heads, and whether an empty chunked body is behind them.
    heads: Vec<(&'a [u8], bool)>,
    /// A head is longer than it may be.
    is_too_long: bool,
}

impl<'a> Sent<'a> {
    fn read(mut stream: &'a [u8], max_head: usize) -> Self {
        let mut sent = Self::default();
        while let Some(end) = end_of_head(stream) {
            let (head, behind) = stream.split_at_checked(end).expect("an end within");
            sent.is_too_long = head.len() > max_head;
            if sent.is_too_long {
                return sent;
            }
            let is_chunked = parsed(head).is_some_and(|head| head.is_chunked());
            // A request is whole when it is known whether it has a body.
            if is_chunked && LAST_CHUNK.starts_with(behind) && behind.len() < LAST_CHUNK.len() {
                return sent;
            }
            let body = behind.strip_prefix(LAST_CHUNK).filter(|_| is_chunked);
            sent.heads.push((head, body.is_some()));
            stream = body.unwrap_or(behind);
        }
        sent.is_too_long = stream.len() > max_head;
        sent
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

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

    /// Without what the parser doesn't get to see.
    fn for_parser(mut self, is_empty_chunked: bool) -> Self {
        let is_seen = |(name, _): &(String, Vec<u8>)| match &**name {
            "upgrade" => false,
            "transfer-encoding" | "expect" => !is_empty_chunked,
            _ => true,
        };
        self.lines.retain(is_seen);
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

/// What has passed says what was sent, but for what the parser doesn't get to see.
fn is_as_sent(seen: &[u8], head: &[u8], is_empty_chunked: bool) {
    match parsed(head) {
        None => assert_eq!(seen, head, "a malformed head is another one now"),
        Some(sent) => {
            let sent = sent.for_parser(is_empty_chunked);
            let mut seen = parsed(seen).expect("a well-formed head");
            seen.lines.retain(|(name, value)| name != "connection" || !value.is_empty());
            assert_eq!(seen, sent, "another request than was sent");
        }
    }
}

/// What a gate has let through.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passed {
    /// Each up to the shutting of the gate.
    requests: Vec<Vec<u8>>,
    refusal: Option<Refusal>,
}

/// Sends the stream in pieces, and answers each request as soon as it is through.
fn passed(stream: &[u8], size: usize, mut gate: Gate) -> Passed {
    let mut passed = Passed::default();
    let mut seen = Vec::new();
    for piece in stream.chunks(size) {
        let mut fresh = match gate.pass(piece) {
            Ok(fresh) => piece.get(..fresh).expect("no more than came").to_vec(),
            Err(refusal) => return Passed { refusal: Some(refusal), ..passed },
        };
        loop {
            seen.append(&mut fresh);
            while gate.is_shut() {
                passed.requests.push(std::mem::take(&mut seen));
                answer(&mut gate);
            }
            match gate.pass_held(usize::MAX) {
                Ok(held) if held.is_empty() && !gate.is_shut() => break,
                Ok(held) => fresh.extend_from_slice(&held),
                Err(refusal) => return Passed { refusal: Some(refusal), ..passed },
            }
        }
    }
    passed
}

/// Answers the request that a gate is shut behind.
fn answer(gate: &mut Gate) {
    assert!(!gate.is_amid_request(), "shut amid a request");
    assert_eq!(gate.pass(b""), Ok(0), "something passes a shut gate");
    assert_eq!(gate.pass_held(usize::MAX), Ok(BytesMut::new()), "something passes a shut gate");
    assert!(gate.left(ANSWER), "an answer doesn't open it");
}

/// What has passed with its body is one request to the parser, or none, and all of it is.
fn is_one(request: &[u8], max_head: usize, max_body: usize) {
    let (head, body) = request.split_at(end_of_head(request).expect("a head"));
    assert!(head.len() <= max_head && body.len() <= max_body, "longer than it may be");
    let mut codec = PARSER.with(|(_, config)| Codec::new(config.clone()));
    let mut bytes = BytesMut::from(request);
    match codec.decode(&mut bytes) {
        // Then it reads no further.
        Err(_) => return,
        Ok(Some(Message::Item(request))) => {
            assert_ne!(request.head().connection_type(), ConnectionType::Upgrade);
            assert!(!request.head().headers.contains_key(UPGRADE), "the parser sees an upgrade");
        }
        Ok(_) => panic!("no request to the parser"),
    }
    // Where no bodies are taken, that of chunks stays outside.
    if max_body > 0 && codec.message_type() == MessageType::Payload {
        let mut parts = std::iter::from_fn(|| codec.decode(&mut bytes).expect("a body"));
        let is_end = |part| matches!(part, Message::Chunk(None));
        assert!(parts.any(is_end), "the parser waits for more of it");
    }
    assert!(bytes.is_empty(), "the parser sees something behind it");
}

/// Answers before a body is there: then nothing more passes.
fn answered_early(stream: &[u8], [size, ..]: [usize; 3], mut gate: Gate) {
    let mut is_answered = false;
    for piece in stream.chunks(size) {
        let Ok(mut fresh) = gate.pass(piece) else { return };
        loop {
            assert!(!is_answered || fresh == 0, "something passes behind an early answer");
            while gate.is_shut() && !is_answered {
                answer(&mut gate);
            }
            let Ok(held) = gate.pass_held(usize::MAX) else { return };
            if held.is_empty() && (is_answered || !gate.is_shut()) {
                break;
            }
            fresh = held.len();
        }
        // Until the body's beginning has come, no head is there to be answered.
        if gate.is_amid_body() && !gate.left(ANSWER) && gate.is_last() {
            assert!(gate.is_shut(), "it opens for the rest of a body");
            is_answered = true;
        }
    }
}

/// A head ends at the first empty line behind one that isn't.
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
    fn every_kept_stream_is_dealt_with_as_promised() {
        crate::corpus::replay("request_gate", request_gate);
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
        fn whatever_comes_over_a_connection_one_head_passes_at_a_time(
            size in 1_u8..40,
            max_head in 0_u8..40,
            parts in vec(select(&["\r", "\n", "\r\n", "\r\n\r\n", "GET / HTTP/1.1", "a: b", "x"][..]), 0..24),
        ) {
            request_gate(&[&[size, max_head], parts.concat().as_bytes()].concat());
        }

        #[test]
        fn whatever_a_head_says_of_its_body_the_parser_sees_one_request(
            size in 1_u8..90,
            requests in vec((select(METHODS), vec(select(LINES), 0..5), select(BODIES)), 1..4),
        ) {
            let requests = requests.iter().map(|(method, lines, body)| {
                format!("{method} / HTTP/1.1\r\nHost: a\r\n{}\r\n{body}", lines.concat())
            });
            request_gate(&[&[size, 90], &*requests.collect::<String>().into_bytes()].concat());
        }
    }
}
