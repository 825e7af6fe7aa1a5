//! Which bytes of a connection the HTTP parser gets to see, and when: one request at a time.
//!
//! actix decodes whatever has come before it answers, and answers by what it decoded last: a `HEAD`
//! behind a `GET` would take the `GET`'s body away, and requests behind `Connection: close` would be
//! answered. So what comes behind a head is held until the answer has begun to leave. Where bodies
//! are taken (the admin listener), a head's own body is let through besides, as long as the head
//! says (`frame`). Lines that the parser may not see are held until their head is whole, and left out
//! (`head`). Knows no sockets.

use bytes::{Buf as _, BytesMut};

use super::{
    frame::{self, Refusal},
    head::{self, Chunks, Found, Head, Without},
};

/// What goes before the answer to `Expect: 100-continue`, and is none (RFC 9110 §15.2).
pub(super) const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Lets requests through.
#[derive(Debug)]
pub(super) struct Gate {
    head: Head,
    /// Longest head let through, in bytes.
    max_head: usize,
    /// Longest body, in bytes, where bodies are taken; elsewhere no byte behind a head is.
    max_body: Option<usize>,
    /// What the parser has seen of a head that comes in pieces.
    seen: BytesMut,
    /// How many bytes of a body are still to come.
    body: usize,
    held: BytesMut,
    /// How many of the held bytes the parser may see, from the first one on.
    clear: usize,
    chunks: Awaited,
    /// The client sends no more.
    has_ended: bool,
    /// Shut behind a head, but for its body: what of [`INTERIM`] may still leave without being an
    /// answer.
    shut: Option<&'static [u8]>,
    /// The answer came before the body's end: nobody can tell any more what follows is part of.
    is_last: bool,
}

/// Whether a whole head is held until its chunked body begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    No,
    Yes,
    /// The client waits for an interim answer.
    AfterInterim,
    /// It has had one.
    InterimSent,
}

/// What becomes of the next bytes.
enum Passed {
    /// The parser may see so many of them.
    Plain(usize),
    /// The parser sees other bytes instead of the first so many.
    Instead(usize, BytesMut),
}

impl Gate {
    /// For heads of that many bytes, and for bodies where there is a bound for them.
    pub(super) fn new(max_head: usize, max_body: Option<usize>) -> Self {
        Self {
            head: Head::default(),
            max_head,
            max_body,
            seen: BytesMut::new(),
            body: 0,
            held: BytesMut::new(),
            clear: 0,
            chunks: Awaited::No,
            has_ended: false,
            shut: None,
            is_last: false,
        }
    }

    /// Whether a request is being answered, all of which has been let through.
    pub(super) const fn is_shut(&self) -> bool {
        self.shut.is_some() && self.body == 0 && self.clear == 0
    }

    /// How many bytes have come that nobody has seen.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether a part of a request has been let through, but not all of it.
    pub(super) const fn is_amid_request(&self) -> bool {
        self.is_amid_body() || self.clear > 0 || (self.head.length > 0 && self.shut.is_none())
    }

    /// Whether a whole head has come, but not all of its body.
    pub(super) const fn is_amid_body(&self) -> bool {
        self.body > 0 || !matches!(self.chunks, Awaited::No)
    }

    /// Whether there is more to come that nobody will read: the rest of a request whose answer came
    /// before its end.
    pub(super) const fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether the client now waits for [`INTERIM`]; true once for each request.
    pub(super) fn takes_interim(&mut self) -> bool {
        let is_due = self.chunks == Awaited::AfterInterim;
        if is_due {
            self.chunks = Awaited::InterimSent;
        }
        is_due
    }

    /// Keeps what has come for later.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Notes that the client sends no more: what is held to be looked at as a whole is let through.
    pub(super) const fn end(&mut self) {
        self.has_ended = true;
    }

    /// How many of `fresh` may be seen now. The others are kept.
    pub(super) fn pass(&mut self, fresh: &[u8]) -> Result<usize, Refusal> {
        if !self.held.is_empty() {
            self.hold(fresh);
            return Ok(0);
        }
        let passed = match self.advance(fresh)? {
            Passed::Plain(passed) => passed,
            Passed::Instead(taken, seen) => {
                self.replace(fresh.get(taken..).unwrap_or_default(), seen);
                return Ok(0);
            }
        };
        self.hold(fresh.get(passed..).unwrap_or_default());
        Ok(passed)
    }

    /// What was kept and may be seen now, at most `room` bytes of it.
    pub(super) fn pass_held(&mut self, room: usize) -> Result<BytesMut, Refusal> {
        if self.clear == 0 {
            let held = std::mem::take(&mut self.held);
            match self.advance(&held)? {
                Passed::Plain(passed) => (self.held, self.clear) = (held, passed),
                Passed::Instead(taken, seen) => {
                    self.replace(held.get(taken..).unwrap_or_default(), seen);
                }
            }
        }
        let passed = self.clear.min(room);
        self.clear = self.clear.saturating_sub(passed);
        Ok(self.held.split_to(passed))
    }

    /// Holds `seen`, which the parser may see, and `rest`.
    fn replace(&mut self, rest: &[u8], seen: BytesMut) {
        self.clear = seen.len();
        self.held = seen;
        self.hold(rest);
    }

    fn advance(&mut self, fresh: &[u8]) -> Result<Passed, Refusal> {
        if self.shut.is_some() {
            return Ok(Passed::Plain(self.advance_body(fresh.len())));
        }
        let Found { end, special } = self.head.look(fresh);
        let length = self.head.length.saturating_add(end.unwrap_or(fresh.len()));
        if length > self.max_head {
            return Err(Refusal::HeadTooLarge);
        }
        let Some(end) = end else {
            let special = special.filter(|_| !self.has_ended);
            return Ok(self.pass_part(fresh, special.unwrap_or(fresh.len())));
        };
        if special.is_none() && self.max_body.is_none() {
            self.shut = Some(INTERIM);
            return Ok(Passed::Plain(end));
        }
        self.advance_whole(fresh, end, special.unwrap_or(end))
    }

    /// A head ends at `end`; its lines from `special` on must be looked at.
    fn advance_whole(
        &mut self,
        fresh: &[u8],
        end: usize,
        special: usize,
    ) -> Result<Passed, Refusal> {
        let (lines, behind) = fresh.split_at_checked(end).unwrap_or((fresh, &[]));
        let (plain, lines) = lines.split_at_checked(special).unwrap_or((lines, &[]));
        let said = head::read(&[&self.seen, plain, lines].concat());
        let mut chunk = None;
        if let Some(said) = &said
            && said.is_chunked
        {
            match head::chunks(behind) {
                Chunks::Empty(length) => chunk = Some(length),
                Chunks::Unknown if !self.has_ended => {
                    if self.chunks == Awaited::No {
                        self.chunks =
                            if said.expects { Awaited::AfterInterim } else { Awaited::Yes };
                    }
                    return Ok(self.pass_part(fresh, special));
                }
                Chunks::Body | Chunks::Unknown => {}
            }
        }
        let expectation = chunk.is_some() || self.chunks == Awaited::InterimSent;
        let without = Without { coding: chunk.is_some(), expectation };
        let seen = said.map(|_| head::for_parser(lines, without));
        let seen = seen.as_deref().unwrap_or(lines);
        if let Some(max_body) = self.max_body {
            self.body = frame::body(&[&self.seen, plain, seen].concat(), max_body)?;
        }
        self.chunks = Awaited::No;
        self.shut = Some(INTERIM);
        if seen == lines {
            return Ok(Passed::Plain(end.saturating_add(self.advance_body(behind.len()))));
        }
        let taken = end.saturating_add(chunk.unwrap_or(0));
        Ok(Passed::Instead(taken, BytesMut::from(&*[plain, seen].concat())))
    }

    /// The first `length` bytes of `fresh` are a part of a head.
    fn pass_part(&mut self, fresh: &[u8], length: usize) -> Passed {
        self.seen.extend_from_slice(fresh.get(..length).unwrap_or_default());
        self.head.length = self.head.length.saturating_add(length);
        if length < fresh.len() {
            self.head.back_to_line();
        }
        Passed::Plain(length)
    }

    /// How many of the next `come` bytes are the body's.
    fn advance_body(&mut self, come: usize) -> usize {
        let passed = come.min(self.body);
        self.body = self.body.saturating_sub(passed);
        passed
    }

    /// Notes what has left. With an answer's first bytes the gate opens for the next request, which
    /// is told; but not before the whole request has been let through, behind which actix closes.
    pub(super) fn left(&mut self, mut written: &[u8]) -> bool {
        let Some(interim) = self.shut else { return false };
        let common = interim.iter().zip(written).take_while(|(one, other)| one == other).count();
        written.advance(common);
        if written.is_empty() {
            self.shut = interim.get(common..);
            return false;
        }
        self.is_last |= self.is_amid_body() || self.clear > 0;
        (self.body, self.clear) = (0, 0);
        if self.is_last {
            return false;
        }
        self.shut = None;
        self.head = Head::default();
        self.seen.clear();
        true
    }
}

#[cfg(test)]
mod tests;
