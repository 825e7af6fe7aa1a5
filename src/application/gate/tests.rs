//! What the parser gets to see, and when.

use super::*;

/// What the parser sees of the next piece, and of what was held before it.
fn feed(gate: &mut Gate, piece: &[u8]) -> Vec<u8> {
    let passed = gate.pass(piece).unwrap();
    let mut seen = piece[..passed].to_vec();
    loop {
        match gate.pass_held(7).unwrap() {
            held if held.is_empty() => return seen,
            held => seen.extend_from_slice(&held),
        }
    }
}

/// What the parser sees when bytes come in pieces of `size`.
fn seen(gate: &mut Gate, bytes: &[u8], size: usize) -> String {
    text(bytes.chunks(size).flat_map(|piece| feed(gate, piece)).collect())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// How much of `bytes` is let through when they come in pieces of `size`.
fn passed(bytes: &[u8], size: usize) -> usize {
    seen(&mut Gate::new(1000, None), bytes, size).len()
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
            let passed = seen(&mut gate, &all, size).len();
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
    assert_eq!(Gate::new(head.len() - 1, None).pass(head.as_bytes()), Err(Refusal::HeadTooLarge));
    let mut gate = Gate::new(10, None);
    gate.hold(head.as_bytes());
    assert_eq!(gate.pass_held(1000), Err(Refusal::HeadTooLarge));
}

const CHUNKED: &str = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";

#[test]
fn an_empty_chunked_body_is_none_however_it_comes() {
    let both = format!("{CHUNKED}0\r\n\r\n{CHUNKED}");
    for max_body in [None, Some(9)] {
        for size in 1..=both.len() {
            let mut gate = Gate::new(1000, max_body);
            assert_eq!(seen(&mut gate, both.as_bytes(), size), PLAIN, "by {size}");
            assert!(gate.is_shut() && !gate.is_amid_request());
            assert!(gate.left(b"HTTP/1.1 200 OK\r\n"));
            // The second one waits for its last chunk.
            let begun = text(feed(&mut gate, b"0\r\n"));
            assert!(PLAIN.starts_with(&begun), "{begun:?} by {size}");
            assert!(gate.is_amid_body() && gate.is_amid_request() && !gate.is_shut());
            assert_eq!(begun + &seen(&mut gate, b"\r\n", 1), PLAIN, "by {size}");
            assert_eq!(gate.held(), 0);
        }
    }
}

#[test]
fn a_chunk_with_bytes_is_a_body() {
    for body in ["5\r\nhello\r\n0\r\n\r\n", "00\r\n\r\n", "0;x\r\n\r\n", "0\r\nX: y\r\n\r\n"] {
        let all = format!("{CHUNKED}{body}");
        for size in 1..=all.len() {
            let mut gate = Gate::new(1000, None);
            assert_eq!(seen(&mut gate, all.as_bytes(), size), CHUNKED, "{body:?} by {size}");
            assert!(gate.is_shut());
        }
        let mut gate = Gate::new(1000, Some(9));
        assert_eq!(gate.pass(all.as_bytes()), Err(Refusal::LengthRequired), "{body:?}");
    }
    let mut gate = Gate::new(1000, None);
    let begun = seen(&mut gate, format!("{CHUNKED}0\r\n").as_bytes(), 1);
    gate.end();
    assert_eq!(begun + &text(feed(&mut gate, b"")), CHUNKED, "no more can come");
}

#[test]
fn a_client_that_asks_first_is_told_once_to_send_its_chunks() {
    let expecting = CHUNKED.replace("Host", "Expect: 100-continue\r\nHost");
    for (body, expected) in [("0\r\n\r\n", PLAIN), ("5\r\n", CHUNKED)] {
        let mut gate = Gate::new(1000, None);
        let begun = seen(&mut gate, expecting.as_bytes(), 3);
        assert!(gate.takes_interim() && !gate.takes_interim() && gate.is_amid_body());
        assert_eq!(begun + &seen(&mut gate, body.as_bytes(), 1), expected);
        assert!(!gate.takes_interim() && gate.is_shut());
    }
    let mut gate = Gate::new(1000, None);
    let all = format!("{expecting}0\r\n\r\n");
    assert_eq!(seen(&mut gate, all.as_bytes(), all.len()), PLAIN);
    assert!(!gate.takes_interim(), "it doesn't wait");
}

#[test]
fn the_parser_sees_no_upgrade_in_whatever_pieces_it_comes() {
    let head = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nHost: a\r\n\
                Connection: Upgrade, close\r\nConnection: upgrade\r\nX: y\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: y\r\n\r\n";
    let both = head.repeat(2);
    for max_body in [None, Some(9)] {
        for size in 1..=both.len() {
            let mut gate = Gate::new(1000, max_body);
            assert_eq!(seen(&mut gate, both.as_bytes(), size), expected, "by {size}");
            assert!(gate.is_shut());
            assert!(gate.left(b"HTTP/1.1 200 OK\r\n"));
            assert_eq!(text(feed(&mut gate, b"")), expected, "by {size}");
        }
    }
}

#[test]
fn a_malformed_head_reaches_the_parser_as_it_is() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nX\0: y\r\n\r\n";
    for size in 1..=head.len() {
        assert_eq!(seen(&mut Gate::new(1000, None), head.as_bytes(), size), head);
    }
}
