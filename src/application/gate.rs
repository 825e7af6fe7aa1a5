//! Which bytes of a connection the HTTP parser gets to see, and when: one request at a time.
//!
//! actix decodes whatever has come before it answers, and answers by what it decoded last: a `HEAD`
//! behind a `GET` would take the `GET`'s body away, and requests behind `Connection: close` would be
//! answered. So what comes behind a head is held until the answer has begun to leave. Where bodies
//! are taken (the admin listener), a head's own body is let through besides, as long as the head
//! says (`frame`). Owns where a head ends and how long it may get; knows no sockets.

use bytes::{Buf as _, BytesMut};

use super::frame::{Frame, Refusal};

/// What goes before the answer to `Expect: 100-continue`, and is none (RFC 9110 §15.2).
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Lets requests through.
#[derive(Debug)]
pub(super) struct Gate {
    head: Head,
    /// Longest head let through, in bytes.
    max_head: usize,
    /// Where bodies are taken; elsewhere no byte behind a head is.
    frame: Option<Frame>,
    /// How many bytes of a body are still to come.
    body: usize,
    held: BytesMut,
    /// Shut behind a head, but for its body: what of [`INTERIM`] may still leave without being an
    /// answer.
    shut: Option<&'static [u8]>,
    /// The answer came before the body's end: nobody can tell any more what follows is part of.
    is_last: bool,
}

impl Gate {
    /// For heads of that many bytes, and for bodies where there is a bound for them.
    pub(super) fn new(max_head: usize, max_body: Option<usize>) -> Self {
        Self {
            head: Head::default(),
            max_head,
            frame: max_body.map(Frame::new),
            body: 0,
            held: BytesMut::new(),
            shut: None,
            is_last: false,
        }
    }

    /// Whether a request is being answered, all of which has been let through.
    pub(super) const fn is_shut(&self) -> bool {
        self.shut.is_some() && self.body == 0
    }

    /// How many bytes have come that nobody has seen.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether a part of a request has been let through, but not all of it.
    pub(super) const fn is_amid_request(&self) -> bool {
        self.is_amid_body() || (self.head.length > 0 && self.shut.is_none())
    }

    /// Whether a head has been let through, but not all of its body.
    pub(super) const fn is_amid_body(&self) -> bool {
        self.body > 0
    }

    /// Whether there is more to come that nobody will read: the rest of a request whose answer came
    /// before its end.
    pub(super) const fn is_last(&self) -> bool {
        self.is_last
    }

    /// Keeps what has come for later.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// How many of `fresh` may be seen now. The others are kept.
    pub(super) fn pass(&mut self, fresh: &[u8]) -> Result<usize, Refusal> {
        let passed = self.advance(fresh)?;
        self.hold(fresh.get(passed..).unwrap_or_default());
        Ok(passed)
    }

    /// What was kept and may be seen now, at most `room` bytes of it.
    pub(super) fn pass_held(&mut self, room: usize) -> Result<BytesMut, Refusal> {
        let held = std::mem::take(&mut self.held);
        let passed = self.advance(held.get(..room.min(held.len())).unwrap_or_default());
        self.held = held;
        Ok(self.held.split_to(passed?))
    }

    fn advance(&mut self, fresh: &[u8]) -> Result<usize, Refusal> {
        if self.shut.is_some() {
            return Ok(self.advance_body(fresh.len()));
        }
        let end = self.head.end_in(fresh);
        let passed = end.unwrap_or(fresh.len());
        self.head.length = self.head.length.saturating_add(passed);
        if self.head.length > self.max_head {
            return Err(Refusal::HeadTooLarge);
        }
        if let Some(frame) = &mut self.frame {
            frame.passes(fresh.get(..passed).unwrap_or_default());
        }
        if end.is_none() {
            return Ok(passed);
        }
        self.shut = Some(INTERIM);
        let Some(frame) = &mut self.frame else { return Ok(passed) };
        self.body = frame.body()?;
        let behind = fresh.len().saturating_sub(passed);
        Ok(passed.saturating_add(self.advance_body(behind)))
    }

    /// How many of the next `come` bytes are the body's.
    fn advance_body(&mut self, come: usize) -> usize {
        let passed = come.min(self.body);
        self.body = self.body.saturating_sub(passed);
        passed
    }

    /// Notes what has left. With an answer's first bytes the gate opens for the next request, which
    /// is told; but not before the body has been let through, behind which actix closes.
    pub(super) fn left(&mut self, mut written: &[u8]) -> bool {
        let Some(interim) = self.shut else { return false };
        let common = interim.iter().zip(written).take_while(|(one, other)| one == other).count();
        written.advance(common);
        if written.is_empty() {
            self.shut = interim.get(common..);
            return false;
        }
        self.is_last |= self.is_amid_body();
        self.body = 0;
        if self.is_last {
            return false;
        }
        self.shut = None;
        self.head = Head::default();
        true
    }
}

/// Finds the end of a head as httparse does: at the first empty line behind one that isn't, lines
/// ending in LF with or without CR before it.
#[derive(Debug, Default)]
struct Head {
    length: usize,
    has_text: bool,
    line: Line,
}

#[derive(Debug, Default, Clone, Copy)]
enum Line {
    #[default]
    Empty,
    OneCr,
    Text,
}

impl Head {
    /// The index behind the head's end, if it is in `bytes`.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut start: usize = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let is_empty = self.is_still_empty(bytes.get(start..end).unwrap_or_default());
            start = end.saturating_add(1);
            self.line = Line::Empty;
            if is_empty && self.has_text {
                return Some(start);
            }
            self.has_text |= !is_empty;
        }
        self.line = match (self.line, bytes.get(start..).unwrap_or_default()) {
            (line, []) => line,
            (Line::Empty, [b'\r']) => Line::OneCr,
            (Line::Empty | Line::OneCr | Line::Text, _) => Line::Text,
        };
        None
    }

    /// Whether the line that ends with `rest` has nothing in it but a CR.
    fn is_still_empty(&self, rest: &[u8]) -> bool {
        match self.line {
            Line::Empty => matches!(rest, [] | [b'\r']),
            Line::OneCr => rest.is_empty(),
            Line::Text => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of `bytes` is let through when they come in pieces of `size`.
    fn passed(bytes: &[u8], size: usize) -> usize {
        let mut gate = Gate::new(1000, None);
        bytes.chunks(size).map(|piece| gate.pass(piece).unwrap()).sum()
    }

    #[test]
    fn one_head_is_let_through_however_it_comes() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.1\nHost: a\n\n", "\n"),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", "body"),
            ("\r\n\n\r\nGET / HTTP/1.1\r\n\r\n", "x"),
            ("GET /\r\n\n", "x"),
            ("x\r\r\n\r\n", "x"),
            ("\rGET / HTTP/1.1\r\n\r\n", "x"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", ""),
            ("\r\n\r\n", ""),
        ] {
            let both = format!("{head}{rest}");
            for size in 1..=both.len() {
                assert_eq!(passed(both.as_bytes(), size), head.len(), "{both:?} by {size}");
            }
        }
    }

    #[test]
    fn the_end_of_a_head_is_where_the_parser_sees_it() {
        let strategy = proptest::collection::vec(
            proptest::sample::select(&["\r", "\n", "\r\n", "GET / HTTP/1.1", "a: b", " ", "x"][..]),
            0..12,
        );
        proptest::proptest!(|(parts in strategy)| {
            let bytes = parts.concat();
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let parsed = httparse::Request::new(&mut headers).parse(bytes.as_bytes());
            if let Ok(httparse::Status::Complete(end)) = parsed {
                assert_eq!(passed(bytes.as_bytes(), bytes.len()), end, "{bytes:?}");
            }
        });
    }

    #[test]
    fn the_next_head_waits_for_the_answer_and_an_interim_one_is_none() {
        let mut gate = Gate::new(1000, None);
        let (one, two) = (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"GET /2 HTTP/1.1\r\n\r\n"[..]);
        assert_eq!(gate.pass(&[one, two].concat()), Ok(one.len()));
        assert!(gate.is_shut() && !gate.is_amid_request());
        assert_eq!(gate.pass_held(1000), Ok(BytesMut::new()));
        for piece in [&INTERIM[..7], &INTERIM[7..20], &INTERIM[20..]] {
            assert!(!gate.left(piece), "{piece:?}");
        }
        assert!(gate.left(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(gate.pass_held(3).unwrap(), two[..3]);
        assert!(gate.is_amid_request());
        assert_eq!(gate.pass_held(1000).unwrap(), two[3..]);
        assert!(gate.is_shut());
        assert!(gate.left(&[INTERIM, b"HTTP/1.1 404"].concat()), "both at once");
        assert_eq!((gate.held(), gate.is_shut()), (0, false));
        assert!(!gate.left(b"more of it"), "it is open already");
    }

    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";

    #[test]
    fn where_bodies_are_taken_one_head_and_its_body_are_let_through() {
        // A body may look like a head, and end like one.
        for (body, behind) in
            [("GET /\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n"), ("\r\n\r\n\r\n\r\n\r", "x")]
        {
            let all = [POST, body.as_bytes(), behind.as_bytes()].concat();
            for size in 1..=all.len() {
                let mut gate = Gate::new(1000, Some(9));
                let passed: usize = all.chunks(size).map(|piece| gate.pass(piece).unwrap()).sum();
                assert_eq!(passed, POST.len() + body.len(), "{body:?} by {size}");
                assert!(gate.is_shut() && !gate.is_amid_request());
                assert_eq!(gate.held(), behind.len());
                assert!(gate.left(b"HTTP/1.1 200 OK\r\n"));
                assert_eq!(gate.pass_held(1000).unwrap(), *behind.as_bytes());
            }
        }
        let mut small = Gate::new(1000, Some(8));
        assert_eq!(small.pass(POST), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn nothing_is_let_through_behind_an_answer_that_came_before_the_body() {
        let mut gate = Gate::new(1000, Some(9));
        assert_eq!(gate.pass(POST), Ok(POST.len()));
        assert!(gate.is_amid_body() && gate.is_amid_request() && !gate.is_shut());
        assert!(!gate.left(INTERIM), "the body is waited for");
        assert_eq!(gate.pass(b"12"), Ok(2));
        assert!(!gate.left(b"HTTP/1.1 403 Forbidden\r\n"));
        assert!(gate.is_shut() && gate.is_last() && !gate.is_amid_request());
        assert_eq!(gate.pass(b"3456789GET / HTTP/1.1\r\n\r\n"), Ok(0));
        assert!(!gate.left(b"more of it"));
        assert_eq!(gate.pass_held(1000), Ok(BytesMut::new()));
    }

    #[test]
    fn a_head_has_a_longest_length() {
        let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100));
        assert_eq!(Gate::new(head.len(), None).pass(head.as_bytes()), Ok(head.len()));
        assert_eq!(
            Gate::new(head.len() - 1, None).pass(head.as_bytes()),
            Err(Refusal::HeadTooLarge)
        );
        let mut gate = Gate::new(10, None);
        gate.hold(head.as_bytes());
        assert_eq!(gate.pass_held(1000), Err(Refusal::HeadTooLarge));
    }
}
