//! What must hold whatever bytes come over a connection. For the fuzz targets and the tests only:
//! no program has this in it.

#![expect(clippy::expect_used, reason = "what can't be is a finding")]

use bytes::BytesMut;

use super::gate::Gate;

/// What leaves when an answer begins.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// Takes the bytes of a connection behind two that say how many come at once and how long a head may
/// be, and panics where a promise is broken.
pub fn request_gate(input: &[u8]) {
    let [size, max_head, stream @ ..] = input else { return };
    let size = usize::from(*size).max(1);
    let max_head = usize::from(*max_head).saturating_mul(4);
    let (heads, rest) = heads(stream);
    let fit: Vec<&[u8]> = heads.iter().take_while(|it| it.len() <= max_head).copied().collect();
    let is_too_long = fit.len() < heads.len() || rest.len() > max_head;
    for size in [size, 1, stream.len().max(1)] {
        let passed = passed(stream, size, max_head);
        assert_eq!(passed.heads, fit, "other heads than there are, by {size}");
        assert_eq!(passed.is_too_long, is_too_long, "by {size}");
    }
}

/// What a gate has let through.
#[derive(Default)]
struct Passed {
    /// Each up to the shutting of the gate.
    heads: Vec<Vec<u8>>,
    is_too_long: bool,
}

/// Sends the stream in pieces, and answers each head as soon as it is through.
fn passed(stream: &[u8], size: usize, max_head: usize) -> Passed {
    let mut gate = Gate::new(max_head);
    let mut passed = Passed::default();
    let (mut seen, mut came) = (Vec::new(), 0_usize);
    for piece in stream.chunks(size) {
        came = came.saturating_add(piece.len());
        let Ok(fresh) = gate.pass(piece) else {
            return Passed { is_too_long: true, ..passed };
        };
        seen.extend_from_slice(piece.get(..fresh).expect("no more than came"));
        while gate.is_shut() {
            passed.heads.push(std::mem::take(&mut seen));
            let told = passed.heads.iter().map(Vec::len).sum::<usize>();
            assert_eq!(told.checked_add(gate.held()), Some(came), "bytes are lost or made up");
            let Some(held) = next(&mut gate) else {
                return Passed { is_too_long: true, ..passed };
            };
            seen.extend_from_slice(&held);
        }
    }
    passed
}

/// Answers, and lets through what was held; nothing when that is too long.
fn next(gate: &mut Gate) -> Option<BytesMut> {
    assert!(!gate.is_amid_head(), "shut amid a head");
    assert_eq!(gate.pass(b""), Ok(0), "something passes a shut gate");
    assert_eq!(gate.pass_held(usize::MAX), Ok(BytesMut::new()), "something passes a shut gate");
    assert!(gate.left(ANSWER), "an answer doesn't open it");
    gate.pass_held(usize::MAX).ok()
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

    proptest! {
        #[test]
        fn whatever_comes_over_a_connection_one_head_passes_at_a_time(
            size in 1_u8..40,
            max_head in 0_u8..40,
            parts in vec(select(&["\r", "\n", "\r\n", "\r\n\r\n", "GET / HTTP/1.1", "a: b", "x"][..]), 0..24),
        ) {
            request_gate(&[&[size, max_head], parts.concat().as_bytes()].concat());
        }
    }
}
