//! A request's head before the parser sees it: where it ends, and which lines the parser must not see.
//!
//! The parser never sees an upgrade (RFC 9110 §7.8 lets a server ignore one): it would answer with
//! `connection: upgrade` and close without notice. It does not see a transfer coding either when the
//! body behind the head is empty: a lone last chunk is no body. Everything else reaches the parser as
//! it came, malformed heads included, and the parser rejects those. Knows no connections.

use bytes::{BufMut as _, BytesMut};

/// As many header lines as actix accepts.
pub(super) const MAX_LINES: usize = 96;

/// An empty chunked body. Extensions and trailers would make it something to be read.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Names of lines that the parser may not see as they are, in lower case.
const NAMES: [&[u8]; 4] = [b"connection", b"expect", b"transfer-encoding", b"upgrade"];

/// Finds the end of a head as httparse does: at the first empty line after one that isn't, lines
/// ending in LF with or without CR before it.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// How many bytes of it the parser has seen.
    pub(super) length: usize,
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

/// What a piece of a head holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The index after the head's end.
    pub(super) end: Option<usize>,
    /// Where the first line begins that the parser may not see as it is.
    pub(super) special: Option<usize>,
}

impl Head {
    pub(super) fn look(&mut self, bytes: &[u8]) -> Found {
        let mut found = Found { end: None, special: None };
        let mut start: usize = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(start..end).unwrap_or_default();
            if self.is_whole(found.special) && is_special(line) {
                found.special = Some(start);
            }
            let is_empty = self.is_still_empty(line);
            start = end.saturating_add(1);
            self.line = Line::Empty;
            if is_empty && self.has_text {
                found.end = Some(start);
                return found;
            }
            self.has_text |= !is_empty;
        }
        let rest = bytes.get(start..).unwrap_or_default();
        if self.is_whole(found.special) && may_become_special(rest) {
            found.special = Some(start);
        }
        self.line = match (self.line, rest) {
            (line, []) => line,
            (Line::Empty, [b'\r']) => Line::OneCr,
            (Line::Empty | Line::OneCr | Line::Text, _) => Line::Text,
        };
        found
    }

    /// Whether the next bytes are a line from its beginning on, after the request line, and the first
    /// special one is still to be found.
    const fn is_whole(&self, special: Option<usize>) -> bool {
        self.has_text && matches!(self.line, Line::Empty) && special.is_none()
    }

    /// Goes back to the beginning of a line after the request line.
    pub(super) const fn back_to_line(&mut self) {
        self.line = Line::Empty;
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

/// Whether a whole line is one that the parser may not see as it is.
fn is_special(line: &[u8]) -> bool {
    let Some((name, value)) = named(line) else { return false };
    *name != *b"connection" || options(value).any(is_upgrade)
}

/// The same of a line whose end is missing.
fn may_become_special(line: &[u8]) -> bool {
    let begins = |name: &[u8]| {
        let mut both = line.iter().zip(name);
        both.all(|(one, other)| one.eq_ignore_ascii_case(other))
    };
    !line.is_empty() && NAMES.into_iter().any(begins)
}

/// Which of [`NAMES`] a line has, and its value.
fn named(line: &[u8]) -> Option<(&'static [u8], &[u8])> {
    // Most lines of most requests have another first letter.
    if !matches!(line.first()? | 0x20, b'c' | b'e' | b't' | b'u') {
        return None;
    }
    NAMES.into_iter().find_map(|name| {
        let (start, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        start.eq_ignore_ascii_case(name).then_some((name, value))
    })
}

/// The members of a list, such as the options of a `Connection` line (RFC 9110 §5.6.1, §7.6.1).
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn is_upgrade(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"upgrade")
}

/// What a whole head says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// A body in chunks follows, and nothing about that is ambiguous.
    pub(super) is_chunked: bool,
    /// The client waits for an interim answer before it sends the body (RFC 9110 §10.1.1).
    pub(super) expects: bool,
}

/// Reads a whole head; `None` when the parser will reject it.
pub(super) fn read(head: &[u8]) -> Option<Said> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut request = httparse::Request::new(&mut lines);
    let parsed = request.parse(head).ok()?;
    if parsed != httparse::Status::Complete(head.len()) {
        return None;
    }
    let values = |name| {
        let named = request.headers.iter().filter(move |it| it.name.eq_ignore_ascii_case(name));
        named.map(|it| it.value.trim_ascii())
    };
    let (mut codings, mut lengths) = (values("transfer-encoding"), values("content-length"));
    let is_chunked = request.version == Some(1)
        && codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
        && lengths.next().is_none();
    let expects =
        values("expect").flat_map(options).any(|it| it.eq_ignore_ascii_case(b"100-continue"));
    Some(Said { is_chunked, expects })
}

/// What follows a head that announces chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// The lone last chunk, of that many bytes.
    Empty(usize),
    /// Something else.
    Body,
    /// Not enough has come to tell.
    Unknown,
}

pub(super) fn chunks(behind: &[u8]) -> Chunks {
    if behind.starts_with(LAST_CHUNK) {
        Chunks::Empty(LAST_CHUNK.len())
    } else if LAST_CHUNK.starts_with(behind) {
        Chunks::Unknown
    } else {
        Chunks::Body
    }
}

/// What of a head's lines is left out, besides upgrades.
#[derive(Debug, Clone, Copy)]
pub(super) struct Without {
    /// The announcement of a chunked body, which is empty.
    pub(super) coding: bool,
    /// An expectation that has been met.
    pub(super) expectation: bool,
}

/// The `lines` of a well-formed head as the parser sees them.
pub(super) fn for_parser(lines: &[u8], without: Without) -> BytesMut {
    let mut seen = BytesMut::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match named(line) {
            Some((b"upgrade", _)) => {}
            Some((b"transfer-encoding", _)) if without.coding => {}
            Some((b"expect", _)) if without.expectation => {}
            Some((b"connection", value)) if options(value).any(is_upgrade) => {
                let stays = |option: &&[u8]| !option.is_empty() && !is_upgrade(option);
                let others: Vec<_> = options(value).filter(stays).collect();
                if !others.is_empty() {
                    seen.put_slice(b"Connection: ");
                    seen.put_slice(&others.join(&b","[..]));
                    seen.put_slice(b"\r\n");
                }
            }
            _ => seen.put_slice(line),
        }
    }
    seen
}

#[cfg(test)]
mod tests;
