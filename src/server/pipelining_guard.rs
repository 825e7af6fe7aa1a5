//! Forwards one request at a time to actix; pipelined requests are buffered until the response starts.
//! Knows no sockets.
//!
//! actix decodes all received requests before it responds, and frames a response by the request that it
//! decoded last: a `HEAD` after a `GET` removes the `GET`'s body, and requests after `Connection: close`
//! run. So a head is forwarded when it is complete, and on the admin listener its body with it, by the
//! body's `Content-Length`. The public listener forwards no bodies.
//!
//! Plain actix-web with keep-alive off was tried on the admin listener: 91 of its 293 raw requests
//! (`tests/api/transport/corpus/admin.rs`) got other responses, many only 400 instead of 411, but a purge
//! after `Connection: close` or after a rejected request ran in 7 of 15 cases
//! (`tests/api/admin/connections.rs`). actix-http 3.20 also has no time limit for bodies: its timer ends
//! with the head.

use bytes::{Buf as _, BytesMut};

use super::request_head::{LAST_CHUNK, Rejection, RequestHead, Without, for_parser};

/// Precedes the response to `Expect: 100-continue`, and is not a response itself (RFC 9110 §15.2).
pub(super) const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The state of a connection's current request.
#[derive(Debug)]
pub(super) struct PipeliningGuard {
    /// Maximum length of a head, in bytes.
    max_head: usize,
    /// Maximum length of a body, in bytes, if bodies are forwarded.
    max_body: Option<usize>,
    /// Received, but not forwarded yet.
    buffer: BytesMut,
    /// How many bytes of the buffer's start can be forwarded.
    forwardable: usize,
    /// How many bytes of the body have not been received or forwarded yet.
    body: usize,
    chunks: Chunks,
    /// The client sends no more.
    has_ended: bool,
    /// Set while a head has been forwarded and its response has not started: the rest of [`INTERIM`] that
    /// may still be written without starting the response.
    interim: Option<&'static [u8]>,
    /// The response started before the request was complete, so the next request's start is unknown.
    is_last: bool,
}

/// Whether a complete head waits for the start of its chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    NotExpected,
    Expected,
    /// The client waits for [`INTERIM`].
    InterimDue,
    InterimSent,
}

/// What to do with received bytes.
enum Step {
    /// Forward this number of bytes.
    Forward(usize),
    /// Forward other bytes instead of this number of bytes.
    Replace(usize, BytesMut),
}

impl PipeliningGuard {
    pub(super) fn new(max_head: usize, max_body: Option<usize>) -> Self {
        Self {
            max_head,
            max_body,
            buffer: BytesMut::new(),
            forwardable: 0,
            body: 0,
            chunks: Chunks::NotExpected,
            has_ended: false,
            interim: None,
            is_last: false,
        }
    }

    /// Whether a complete request has been forwarded and its response has not started.
    pub(super) const fn awaits_response(&self) -> bool {
        self.interim.is_some() && self.body == 0 && self.forwardable == 0
    }

    /// The number of bytes in the buffer.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a request has started to arrive and is not complete.
    pub(super) fn is_reading_request(&self) -> bool {
        self.is_reading_body()
            || self.forwardable > 0
            || (self.interim.is_none() && !self.buffer.is_empty())
    }

    /// Whether a complete head has arrived, but not all of its body.
    pub(super) const fn is_reading_body(&self) -> bool {
        self.body > 0 || !matches!(self.chunks, Chunks::NotExpected)
    }

    /// Whether no further request can be read, because the response to an incomplete one has started.
    pub(super) const fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether the client waits for [`INTERIM`]; true once per request.
    pub(super) fn take_interim(&mut self) -> bool {
        let is_due = self.chunks == Chunks::InterimDue;
        if is_due {
            self.chunks = Chunks::InterimSent;
        }
        is_due
    }

    /// Keeps received bytes.
    pub(super) fn buffer(&mut self, received: &[u8]) {
        self.buffer.extend_from_slice(received);
    }

    /// Notes that the client sends no more, so that no chunk is awaited.
    pub(super) const fn end(&mut self) {
        self.has_ended = true;
    }

    /// How many of the received bytes to forward now. The others are buffered.
    pub(super) fn forward(&mut self, received: &[u8]) -> Result<usize, Rejection> {
        if !self.buffer.is_empty() {
            self.buffer(received);
            return Ok(0);
        }
        let count = match self.step(received)? {
            Step::Forward(count) => count,
            Step::Replace(count, head) => {
                self.replace(head, received.get(count..).unwrap_or_default());
                return Ok(0);
            }
        };
        self.buffer(received.get(count..).unwrap_or_default());
        Ok(count)
    }

    /// Buffered bytes to forward now, at most `max`.
    pub(super) fn forward_buffered(&mut self, max: usize) -> Result<BytesMut, Rejection> {
        if self.forwardable == 0 {
            let buffer = std::mem::take(&mut self.buffer);
            match self.step(&buffer)? {
                Step::Forward(count) => (self.buffer, self.forwardable) = (buffer, count),
                Step::Replace(count, head) => {
                    self.replace(head, buffer.get(count..).unwrap_or_default());
                }
            }
        }
        let count = self.forwardable.min(max);
        self.forwardable = self.forwardable.saturating_sub(count);
        let forwarded = self.buffer.split_to(count);
        if self.buffer.is_empty() {
            // Frees the buffer of an idle connection.
            self.buffer = BytesMut::new();
        }
        Ok(forwarded)
    }

    fn replace(&mut self, head: BytesMut, rest: &[u8]) {
        self.forwardable = head.len();
        self.buffer = head;
        self.buffer(rest);
    }

    fn step(&mut self, received: &[u8]) -> Result<Step, Rejection> {
        if self.interim.is_some() {
            return Ok(Step::Forward(self.advance_body(received.len())));
        }
        let Some(head) = RequestHead::parse(received, self.max_head)? else {
            return Ok(Step::Forward(0));
        };
        let (lines, following) = received.split_at_checked(head.length).unwrap_or((received, &[]));
        let is_empty_chunked = head.is_chunked && following.starts_with(LAST_CHUNK);
        let is_undecided =
            head.is_chunked && !is_empty_chunked && LAST_CHUNK.starts_with(following);
        if is_undecided && !self.has_ended {
            if self.chunks == Chunks::NotExpected {
                let is_due = head.expects_continue;
                self.chunks = if is_due { Chunks::InterimDue } else { Chunks::Expected };
            }
            return Ok(Step::Forward(0));
        }
        if let Some(max_body) = self.max_body {
            self.body = if is_empty_chunked { 0 } else { head.body_length? };
            if self.body > max_body {
                return Err(Rejection::BodyTooLarge);
            }
        }
        let expectation = is_empty_chunked || self.chunks == Chunks::InterimSent;
        self.chunks = Chunks::NotExpected;
        self.interim = Some(INTERIM);
        if head.offers_upgrade || expectation {
            let last_chunk = if is_empty_chunked { LAST_CHUNK.len() } else { 0 };
            let without = Without { coding: is_empty_chunked, expectation };
            let count = head.length.saturating_add(last_chunk);
            return Ok(Step::Replace(count, for_parser(lines, without)));
        }
        Ok(Step::Forward(head.length.saturating_add(self.advance_body(following.len()))))
    }

    /// How many of the next `received` bytes belong to the body.
    fn advance_body(&mut self, received: usize) -> usize {
        let count = received.min(self.body);
        self.body = self.body.saturating_sub(count);
        count
    }

    /// Notes written bytes. Returns whether they start the response to a complete request, so that the
    /// next request can be forwarded.
    pub(super) fn response_written(&mut self, mut written: &[u8]) -> bool {
        let Some(interim) = self.interim else { return false };
        let common = interim.iter().zip(written).take_while(|(one, other)| one == other).count();
        written.advance(common);
        if written.is_empty() {
            self.interim = interim.get(common..);
            return false;
        }
        // actix closes the connection after this response.
        self.is_last |= self.body > 0 || self.forwardable > 0;
        (self.body, self.forwardable) = (0, 0);
        if !self.is_last {
            self.interim = None;
        }
        !self.is_last
    }
}

#[cfg(test)]
mod tests;
