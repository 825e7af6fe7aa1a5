//! What must hold whatever bytes come over a connection. For the fuzz targets and the tests only:
//! no program has this in it.

#![expect(clippy::expect_used, clippy::panic, reason = "what can't be is a finding")]

use actix_codec::Decoder as _;
use actix_http::{
    ServiceConfig,
    h1::{Codec, Message, MessageType},
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
    let (heads, rest) = heads(stream);
    let fit: Vec<&[u8]> = heads.iter().take_while(|it| it.len() <= max_head).copied().collect();
    let is_too_long = fit.len() < heads.len() || rest.len() > max_head;
    for size in sizes {
        let passed = passed(stream, size, Gate::new(max_head, None));
        assert_eq!(passed.requests, fit, "other heads than there are, by {size}");
        let refusal = is_too_long.then_some(Refusal::HeadTooLarge);
        assert_eq!(passed.refusal, refusal, "by {size}");
    }
    let taken = sizes.map(|size| passed(stream, size, Gate::new(max_head, Some(max_body))));
    for other in &taken {
        assert_eq!(taken.first(), Some(other), "it depends on how the bytes come");
        other.requests.iter().for_each(|request| is_one(request, max_head, max_body));
    }
    answered_early(stream, sizes, Gate::new(max_head, Some(max_body)));
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
    let (mut seen, mut came) = (Vec::new(), 0_usize);
    for piece in stream.chunks(size) {
        came = came.saturating_add(piece.len());
        match gate.pass(piece) {
            Ok(fresh) => seen.extend_from_slice(piece.get(..fresh).expect("no more than came")),
            Err(refusal) => return Passed { refusal: Some(refusal), ..passed },
        }
        while gate.is_shut() {
            passed.requests.push(std::mem::take(&mut seen));
            let told = passed.requests.iter().map(Vec::len).sum::<usize>();
            assert_eq!(told.checked_add(gate.held()), Some(came), "bytes are lost or made up");
            answer(&mut gate);
            match gate.pass_held(usize::MAX) {
                Ok(held) => seen.extend_from_slice(&held),
                Err(refusal) => return Passed { refusal: Some(refusal), ..passed },
            }
        }
        assert_eq!(gate.held(), 0, "something is kept by an open gate");
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
        Ok(Some(Message::Item(_))) => {}
        Ok(_) => panic!("no request to the parser"),
    }
    if codec.message_type() == MessageType::Payload {
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
        let Ok(fresh) = gate.pass(piece) else { return };
        assert!(!is_answered || fresh == 0, "something passes behind an early answer");
        while gate.is_shut() && !is_answered {
            answer(&mut gate);
            if gate.pass_held(usize::MAX).is_err() {
                return;
            }
        }
        if gate.is_amid_body() {
            assert!(!gate.left(ANSWER), "it opens for the rest of a body");
            assert!(gate.is_last() && gate.is_shut());
            is_answered = true;
        }
    }
}

/// The whole heads in the stream, and the rest, found the plain way: a head ends at the first empty
/// line behind one that isn't.
fn heads(stream: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut heads = Vec::new();
    let mut rest = stream;
    while let Some(end) = end_of_head(rest) {
        let (head, behind) = rest.split_at_checked(end).expect("an end within");
        heads.push(head);
        rest = behind;
    }
    (heads, rest)
}

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
        "Upgrade: websocket\r\n",
        "Upgrade: h2c\r\n",
        "Connection: close, upgrade\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        "X: y\r\n z\r\n",
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
            requests in vec((select(METHODS), vec(select(LINES), 0..5), 0_usize..9), 1..4),
        ) {
            let requests = requests.iter().map(|(method, lines, body)| {
                format!("{method} / HTTP/1.1\r\nHost: a\r\n{}\r\n{}", lines.concat(), "x".repeat(*body))
            });
            request_gate(&[&[size, 90], &*requests.collect::<String>().into_bytes()].concat());
        }
    }
}
