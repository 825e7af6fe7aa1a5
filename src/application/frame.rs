//! Where a request ends: how long the body behind its head is, by that head alone (RFC 9112 §6).
//!
//! For a gate that lets bodies through. The parser reads the same head after it, so this is the
//! stricter of the two: a head by which others could see another end is refused, and so is a body
//! without a length told in front, or a larger one than is taken.

use super::head::MAX_LINES;

/// What a request isn't let through for. Its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The head is longer than it may be, or has more lines.
    HeadTooLarge,
    /// It may mean different things, or nothing.
    Malformed,
    /// The body has no length that is told in front.
    LengthRequired,
    /// The body is longer than any that is taken.
    BodyTooLarge,
    /// The body isn't there in time.
    TooSlow,
}

impl Refusal {
    /// As bare as the parser's own.
    pub(super) fn answer(self) -> String {
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

/// The length of the body behind a whole head, at most `max_body`.
pub(super) fn body(head: &[u8], max_body: usize) -> Result<usize, Refusal> {
    let length = body_length(head)?;
    if length > max_body { Err(Refusal::BodyTooLarge) } else { Ok(length) }
}

fn body_length(head: &[u8]) -> Result<usize, Refusal> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Ok(_) | Err(_) => return Err(Refusal::Malformed),
    }
    let lines = &*request.headers;
    let values = |name| {
        let named = lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name));
        named.map(|line| line.value.trim_ascii())
    };
    if values("transfer-encoding").next().is_some() {
        return Err(Refusal::LengthRequired);
    }
    let mut lengths = values("content-length");
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(0),
        (Some(length), None) => digits(length).ok_or(Refusal::Malformed),
        (Some(_), Some(_)) => Err(Refusal::Malformed),
    }
}

fn digits(text: &[u8]) -> Option<usize> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(lines: &str) -> Result<usize, Refusal> {
        super::body(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes(), 100)
    }

    #[test]
    fn a_body_is_as_long_as_its_one_length_says() {
        for (lines, length) in [
            ("", 0),
            ("Content-Length: 0\r\n", 0),
            ("Content-Length: 7\r\n", 7),
            ("content-LENGTH:\t007 \r\n", 7),
            ("Content-Length: 100\n", 100),
            ("Content_Length: 7\r\nX-Content-Length: 8\r\nX: Content-Length: 9\r\n", 0),
            ("Upgrade: h2c\r\n", 0),
        ] {
            assert_eq!(body(lines), Ok(length), "{lines:?}");
        }
    }

    #[test]
    fn what_could_be_measured_otherwise_is_refused() {
        use Refusal::{BodyTooLarge, HeadTooLarge, LengthRequired, Malformed};
        for (lines, refusal) in [
            ("Content-Length: 101\r\n", BodyTooLarge),
            ("Content-Length: 18446744073709551615\r\n", BodyTooLarge),
            ("Content-Length: 18446744073709551616\r\n", Malformed),
            ("Content-Length:\r\n", Malformed),
            ("Content-Length: +7\r\n", Malformed),
            ("Content-Length: -7\r\n", Malformed),
            ("Content-Length: 7 7\r\n", Malformed),
            ("Content-Length: 7, 7\r\n", Malformed),
            ("Content-Length: 0x7\r\n", Malformed),
            ("Content-Length: \u{667}\r\n", Malformed),
            ("Content-Length: 7\r\nContent-Length: 7\r\n", Malformed),
            ("Content-Length: 7\r\ncontent-length: 0\r\n", Malformed),
            ("Content-Length : 7\r\n", Malformed),
            ("X: a\r\n Content-Length: 7\r\n", Malformed),
            ("Transfer-Encoding: chunked\r\n", LengthRequired),
            ("Transfer-Encoding: identity\r\n", LengthRequired),
            ("transfer-encoding:\r\n", LengthRequired),
            ("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", LengthRequired),
            ("Transfer-Encoding : chunked\r\n", Malformed),
            ("nothing\r\n", Malformed),
            (&"X: y\r\n".repeat(MAX_LINES), HeadTooLarge),
        ] {
            assert_eq!(body(lines), Err(refusal), "{lines:?}");
        }
        assert_eq!(body(&"X: y\r\n".repeat(MAX_LINES - 1)), Ok(0));
    }
}
