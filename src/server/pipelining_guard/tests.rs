//! Tests of the bytes that are forwarded, and when.

use super::*;

/// The bytes that are forwarded from the next piece and the buffer.
fn feed(guard: &mut PipeliningGuard, piece: &[u8]) -> Vec<u8> {
    let count = guard.forward(piece).unwrap();
    let mut forwarded = piece[..count].to_vec();
    loop {
        match guard.forward_buffered(7).unwrap() {
            more if more.is_empty() => return forwarded,
            more => forwarded.extend_from_slice(&more),
        }
    }
}

/// The bytes that are forwarded if bytes arrive in pieces of `size`.
fn forwarded(guard: &mut PipeliningGuard, bytes: &[u8], size: usize) -> String {
    text(bytes.chunks(size).flat_map(|piece| feed(guard, piece)).collect())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// How many of `bytes` are forwarded if they arrive in pieces of `size`.
fn count(bytes: &[u8], size: usize) -> usize {
    forwarded(&mut PipeliningGuard::new(1000, None), bytes, size).len()
}

#[test]
fn one_head_is_forwarded_for_any_split() {
    for (head, rest) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n"),
        ("GET / HTTP/1.1\nHost: a\n\n", "\n"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "body"),
        ("\r\n\n\r\nGET / HTTP/1.1\r\n\r\n", "x"),
    ] {
        let both = format!("{head}{rest}");
        for size in 1..=both.len() {
            assert_eq!(count(both.as_bytes(), size), head.len(), "{both:?} by {size}");
        }
    }
}

#[test]
fn head_ends_where_the_parser_ends_it() {
    let strategy = proptest::collection::vec(
        proptest::sample::select(&["\r", "\n", "\r\n", "GET / HTTP/1.1", "a: b", " ", "x"][..]),
        0..12,
    );
    proptest::proptest!(|(parts in strategy)| {
        let bytes = parts.concat();
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let parsed = httparse::Request::new(&mut headers).parse(bytes.as_bytes());
        if let Ok(httparse::Status::Complete(end)) = parsed {
            assert_eq!(count(bytes.as_bytes(), bytes.len()), end, "{bytes:?}");
        }
    });
}

#[test]
fn next_head_waits_for_the_response_and_not_for_an_interim_one() {
    let mut guard = PipeliningGuard::new(1000, None);
    let (one, two) = (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"GET /2 HTTP/1.1\r\n\r\n"[..]);
    assert_eq!(guard.forward(&[one, two].concat()), Ok(one.len()));
    assert!(guard.awaits_response() && !guard.is_reading_request());
    assert_eq!(guard.forward_buffered(1000), Ok(BytesMut::new()));
    for piece in [&INTERIM[..7], &INTERIM[7..20], &INTERIM[20..]] {
        assert!(!guard.response_written(piece), "{piece:?}");
    }
    assert!(guard.response_written(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(guard.forward_buffered(3).unwrap(), two[..3]);
    assert!(guard.is_reading_request());
    assert_eq!(guard.forward_buffered(1000).unwrap(), two[3..]);
    assert!(guard.awaits_response());
    assert!(guard.response_written(&[INTERIM, b"HTTP/1.1 404"].concat()), "both at once");
    assert_eq!((guard.buffered(), guard.awaits_response()), (0, false));
    assert!(!guard.response_written(b"more of it"), "the response has started already");
}

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";

#[test]
fn one_head_and_its_body_are_forwarded_if_bodies_are_allowed() {
    // A body may look like a head, and end like one.
    for (body, behind) in [
        ("GET /\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n"),
        ("\r\n\r\n\r\n\r\n\r", "GET /3 HTTP/1.1\r\n\r\n"),
    ] {
        let all = [POST, body.as_bytes(), behind.as_bytes()].concat();
        for size in 1..=all.len() {
            let mut guard = PipeliningGuard::new(1000, Some(9));
            let count = forwarded(&mut guard, &all, size).len();
            assert_eq!(count, POST.len() + body.len(), "{body:?} by {size}");
            assert!(guard.awaits_response() && !guard.is_reading_request());
            assert_eq!(guard.buffered(), behind.len());
            assert!(guard.response_written(b"HTTP/1.1 200 OK\r\n"));
            assert_eq!(guard.forward_buffered(1000).unwrap(), *behind.as_bytes());
        }
    }
    let mut small = PipeliningGuard::new(1000, Some(8));
    assert_eq!(small.forward(POST), Err(Rejection::BodyTooLarge));
    for length in ["101", "18446744073709551615"] {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
        let rejection = PipeliningGuard::new(1000, Some(100)).forward(head.as_bytes());
        assert_eq!(rejection, Err(Rejection::BodyTooLarge), "{length}");
    }
}

#[test]
fn nothing_is_forwarded_after_a_response_that_precedes_the_body() {
    let mut guard = PipeliningGuard::new(1000, Some(9));
    assert_eq!(guard.forward(POST), Ok(POST.len()));
    assert!(guard.is_reading_body() && guard.is_reading_request() && !guard.awaits_response());
    assert!(!guard.response_written(INTERIM), "the body is still expected");
    assert_eq!(guard.forward(b"12"), Ok(2));
    assert!(!guard.response_written(b"HTTP/1.1 403 Forbidden\r\n"));
    assert!(guard.awaits_response() && guard.is_last() && !guard.is_reading_request());
    assert_eq!(guard.forward(b"3456789GET / HTTP/1.1\r\n\r\n"), Ok(0));
    assert!(!guard.response_written(b"more of it"));
    assert_eq!(guard.forward_buffered(1000), Ok(BytesMut::new()));
}

#[test]
fn heads_have_a_maximum_length() {
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100));
    assert_eq!(PipeliningGuard::new(head.len(), None).forward(head.as_bytes()), Ok(head.len()));
    assert_eq!(
        PipeliningGuard::new(head.len() - 1, None).forward(head.as_bytes()),
        Err(Rejection::HeadTooLarge)
    );
    let mut guard = PipeliningGuard::new(10, None);
    guard.buffer(head.as_bytes());
    assert_eq!(guard.forward_buffered(1000), Err(Rejection::HeadTooLarge));
}

const CHUNKED: &str = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";

#[test]
fn empty_chunked_body_is_removed_for_any_split() {
    let both = format!("{CHUNKED}0\r\n\r\n{CHUNKED}");
    for max_body in [None, Some(9)] {
        for size in 1..=both.len() {
            let mut guard = PipeliningGuard::new(1000, max_body);
            assert_eq!(forwarded(&mut guard, both.as_bytes(), size), PLAIN, "by {size}");
            assert!(guard.awaits_response() && !guard.is_reading_request());
            assert!(guard.response_written(b"HTTP/1.1 200 OK\r\n"));
            // The second request waits for its last chunk.
            let start = text(feed(&mut guard, b"0\r\n"));
            assert!(PLAIN.starts_with(&start), "{start:?} by {size}");
            assert!(
                guard.is_reading_body() && guard.is_reading_request() && !guard.awaits_response()
            );
            assert_eq!(start + &forwarded(&mut guard, b"\r\n", 1), PLAIN, "by {size}");
            assert_eq!(guard.buffered(), 0);
        }
    }
}

#[test]
fn chunk_with_bytes_is_a_body() {
    for body in ["5\r\nhello\r\n0\r\n\r\n", "00\r\n\r\n", "0;x\r\n\r\n", "0\r\nX: y\r\n\r\n"] {
        let all = format!("{CHUNKED}{body}");
        for size in 1..=all.len() {
            let mut guard = PipeliningGuard::new(1000, None);
            assert_eq!(forwarded(&mut guard, all.as_bytes(), size), CHUNKED, "{body:?} by {size}");
            assert!(guard.awaits_response());
        }
        let mut guard = PipeliningGuard::new(1000, Some(9));
        assert_eq!(guard.forward(all.as_bytes()), Err(Rejection::LengthRequired), "{body:?}");
    }
    let mut guard = PipeliningGuard::new(1000, None);
    let start = forwarded(&mut guard, format!("{CHUNKED}0\r\n").as_bytes(), 1);
    guard.end();
    assert_eq!(start + &text(feed(&mut guard, b"")), CHUNKED, "no more can arrive");
}

#[test]
fn client_that_expects_100_gets_one_before_its_chunks() {
    let expecting = CHUNKED.replace("Host", "Expect: 100-continue\r\nHost");
    for (body, expected) in [("0\r\n\r\n", PLAIN), ("5\r\n", CHUNKED)] {
        let mut guard = PipeliningGuard::new(1000, None);
        let start = forwarded(&mut guard, expecting.as_bytes(), 3);
        assert!(guard.take_interim() && !guard.take_interim() && guard.is_reading_body());
        assert_eq!(start + &forwarded(&mut guard, body.as_bytes(), 1), expected);
        assert!(!guard.take_interim() && guard.awaits_response());
    }
    let mut guard = PipeliningGuard::new(1000, None);
    let all = format!("{expecting}0\r\n\r\n");
    assert_eq!(forwarded(&mut guard, all.as_bytes(), all.len()), PLAIN);
    assert!(!guard.take_interim(), "it does not wait");
}

#[test]
fn upgrades_are_removed_for_any_split() {
    let head = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nHost: a\r\n\
                Connection: Upgrade, close\r\nConnection: upgrade\r\nX: y\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: y\r\n\r\n";
    let both = head.repeat(2);
    for max_body in [None, Some(9)] {
        for size in 1..=both.len() {
            let mut guard = PipeliningGuard::new(1000, max_body);
            assert_eq!(forwarded(&mut guard, both.as_bytes(), size), expected, "by {size}");
            assert!(guard.awaits_response());
            assert!(guard.response_written(b"HTTP/1.1 200 OK\r\n"));
            assert_eq!(text(feed(&mut guard, b"")), expected, "by {size}");
        }
    }
}

#[test]
fn incomplete_heads_are_buffered() {
    for head in ["GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n"] {
        for size in 1..=head.len() {
            let mut guard = PipeliningGuard::new(1000, None);
            assert_eq!(forwarded(&mut guard, head.as_bytes(), size), "", "{head:?} by {size}");
            assert!(guard.is_reading_request() && !guard.is_reading_body());
        }
    }
}

#[test]
fn malformed_heads_are_rejected_for_any_split() {
    for head in [
        "GET /\r\n\n",
        "x\r\r\n\r\n",
        "\rGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nX\0: y\r\n\r\n",
    ] {
        for size in 1..=head.len() {
            let mut guard = PipeliningGuard::new(1000, None);
            let rejection = head.as_bytes().chunks(size).find_map(|piece| {
                let forwarded = guard
                    .forward(piece)
                    .and_then(|count| Ok(count + guard.forward_buffered(1000)?.len()));
                assert_eq!(forwarded.unwrap_or(0), 0, "{head:?} by {size}");
                forwarded.err()
            });
            assert_eq!(rejection, Some(Rejection::Malformed), "{head:?} by {size}");
        }
    }
}
