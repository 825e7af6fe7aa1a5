//! Decodes a chunked body (RFC 9112 §7.1). Ignores chunk extensions and trailers.

use super::{MAX_HEAD, Rejection};

/// Maximum length of a line with a chunk size in bytes, including extensions.
const MAX_SIZE_LINE: usize = 256;

/// Maximum size of all framing: lines with sizes, and trailers.
const MAX_FRAMING: usize = MAX_HEAD;

/// Decodes the body at the start of `received`. Also returns its length including framing; `None`
/// if it isn't complete yet.
pub(super) fn decode(received: &[u8], most: usize) -> Result<Option<(Vec<u8>, usize)>, Rejection> {
    let mut rest = received;
    let mut body = Vec::new();
    loop {
        if received.len().saturating_sub(rest.len()).saturating_sub(body.len()) > MAX_FRAMING {
            return Err(Rejection::BodyTooLarge);
        }
        // httparse accepts a line without digits as zero.
        if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(Rejection::Malformed);
        }
        let (line_length, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((length, size))) => (length, size),
            Ok(httparse::Status::Partial) if rest.len() <= MAX_SIZE_LINE => return Ok(None),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Rejection::Malformed),
        };
        rest = rest.get(line_length..).unwrap_or_default();
        if size == 0 {
            let Some(trailers) = trailers_length(rest)? else { return Ok(None) };
            rest = rest.get(trailers..).unwrap_or_default();
            return Ok(Some((body, received.len().saturating_sub(rest.len()))));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if body.len().saturating_add(size) > most {
            return Err(Rejection::BodyTooLarge);
        }
        let Some((data, after)) = rest.split_at_checked(size) else { return Ok(None) };
        body.extend_from_slice(data);
        rest = match after {
            [b'\r', b'\n', next @ ..] => next,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Rejection::Malformed),
        };
    }
}

/// The length of the trailers including the final empty line; `None` if they aren't complete yet.
fn trailers_length(rest: &[u8]) -> Result<Option<usize>, Rejection> {
    let mut fields = [httparse::EMPTY_HEADER; super::MAX_FIELDS];
    match httparse::parse_headers(rest, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if rest.len() <= MAX_HEAD => Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => Err(Rejection::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"3\r\nabc\r\n A;x=y\r\n0123456789\r\n0\r\nDigest: x\r\n\r\nGET";

    #[test]
    fn body_is_decoded_once_complete() {
        let text: Vec<u8> = BODY.iter().copied().filter(|byte| *byte != b' ').collect();
        let whole = text.len() - 3;
        let text = [&text[..whole], b"GET"].concat();
        for end in 0..whole {
            assert!(matches!(decode(&text[..end], 13), Ok(None)), "{end}");
        }
        let (body, length) = decode(&text, 13).unwrap().unwrap();
        assert_eq!((&*body, length), (&b"abc0123456789"[..], whole));
        assert!(matches!(decode(&text, 12), Err(Rejection::BodyTooLarge)));
        assert!(matches!(decode(b"0\r\n\r\n", 0), Ok(Some((body, 5))) if body.is_empty()));
    }

    #[test]
    fn broken_framing_is_malformed_and_endless_framing_is_too_large() {
        for broken in ["x\r\n", "-1\r\n", "\r\n", "3\r\nabcd", "0\r\n \r\n\r\n", "1\nab"] {
            let decoded = decode(broken.as_bytes(), 99);
            assert!(matches!(decoded, Err(Rejection::Malformed)), "{broken:?} {decoded:?}");
        }
        assert!(matches!(decode(b"ffffffffffffffff\r\n", 99), Err(Rejection::BodyTooLarge)));
        let long = format!("1;{}", "x".repeat(MAX_SIZE_LINE));
        assert!(matches!(decode(long.as_bytes(), 99), Err(Rejection::Malformed)));
        let tiny = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(1000);
        assert!(matches!(decode(tiny.as_bytes(), 9999), Err(Rejection::BodyTooLarge)));
    }
}
