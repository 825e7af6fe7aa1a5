//! What heads announce, and which lines are removed.

use super::*;

const START: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

/// The announced length of the body after a head with these lines.
fn body(lines: &str) -> Result<usize, Rejection> {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    RequestHead::parse(head.as_bytes(), 1000)?.unwrap().body_length
}

#[test]
fn body_is_as_long_as_its_content_length() {
    for (lines, length) in [
        ("", 0),
        ("Content-Length: 0\r\n", 0),
        ("Content-Length: 7\r\n", 7),
        ("content-LENGTH:\t007 \r\n", 7),
        ("Content-Length: 100\n", 100),
        ("Content-Length: 18446744073709551615\r\n", usize::MAX),
        ("Content_Length: 7\r\nX-Content-Length: 8\r\nX: Content-Length: 9\r\n", 0),
        ("Upgrade: h2c\r\n", 0),
    ] {
        assert_eq!(body(lines), Ok(length), "{lines:?}");
    }
}

#[test]
fn ambiguous_body_lengths_are_rejected() {
    use Rejection::{HeadTooLarge, LengthRequired, Malformed};
    for (lines, rejection) in [
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
        (&"X: y\r\n".repeat(MAX_HEADERS), HeadTooLarge),
    ] {
        assert_eq!(body(lines), Err(rejection), "{lines:?}");
    }
    assert_eq!(body(&"X: y\r\n".repeat(MAX_HEADERS - 1)), Ok(0));
}

#[test]
fn upgrades_are_found_under_any_spelling() {
    let offers = |lines: &str| {
        let head = format!("{START}{lines}\r\n");
        RequestHead::parse(head.as_bytes(), 1000).unwrap().unwrap().offers_upgrade
    };
    for lines in [
        "Upgrade: h2c\r\n",
        "UPGRADE:websocket\n",
        "Connection: Upgrade, HTTP2-Settings\r\n",
        "connection:close,upgrade\r\n",
        "Connection: keep-alive\t,\tUPGRADE \r\n",
        "X: y\r\nUpgrade: h2c\r\n",
    ] {
        assert!(offers(lines), "{lines:?}");
    }
    for lines in [
        "",
        "Upgrade-Insecure-Requests: 1\r\n",
        "Connection: keep-alive\r\n",
        "Connection: upgrades\r\n",
        "Content-Length: 0\r\n",
        "X-Upgrade: h2c\r\n",
        "X: Upgrade: h2c\r\n",
        "TE: chunked\r\n",
    ] {
        assert!(!offers(lines), "{lines:?}");
    }
    // A request line, a line with a space before the colon, and a folded line.
    for head in [
        "Upgrade: / HTTP/1.1\r\n\r\n".to_owned(),
        format!("{START}Upgrade : h2c\r\n\r\n"),
        format!("{START}X: y\r\n Upgrade: h2c\r\n\r\n"),
    ] {
        assert_eq!(
            RequestHead::parse(head.as_bytes(), 1000),
            Err(Rejection::Malformed),
            "{head:?}"
        );
    }
}

#[test]
fn upgrades_are_removed() {
    for (lines, seen) in [
        ("Upgrade: h2c\r\nX: y\r\n", "X: y\r\n"),
        ("Connection: Upgrade\r\nupgrade: websocket\n\r\n", "\r\n"),
        ("Connection: Upgrade, HTTP2-Settings\r\n", "Connection: HTTP2-Settings\r\n"),
        ("connection: close ,,upgrade, x\n", "Connection: close,x\r\n"),
        ("Connection: close\r\nExpect: x\r\n", "Connection: close\r\nExpect: x\r\n"),
        ("Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n"),
    ] {
        let nothing = Without { coding: false, expectation: false };
        assert_eq!(for_parser(lines.as_bytes(), nothing), seen.as_bytes(), "{lines:?}");
    }
    let lines = "A: b\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nUpgrade: x\r\n\r\n";
    for (coding, expectation, seen) in [
        (true, true, "A: b\r\n\r\n"),
        (true, false, "A: b\r\nExpect: 100-continue\r\n\r\n"),
        (false, true, "A: b\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        assert_eq!(for_parser(lines.as_bytes(), Without { coding, expectation }), seen.as_bytes());
    }
}

#[test]
fn only_an_unambiguous_head_announces_chunks() {
    let parse = |head: String| {
        let head = RequestHead::parse(head.as_bytes(), 1000).ok()?.unwrap();
        Some((head.is_chunked, head.expects_continue))
    };
    let chunked = |is_chunked, expects| Some((is_chunked, expects));
    for (lines, expected) in [
        ("", chunked(false, false)),
        ("Transfer-Encoding: chunked\r\n", chunked(true, false)),
        ("transfer-encoding:\tChunked \r\n", chunked(true, false)),
        ("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", chunked(true, true)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked(false, false)),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunked(false, false)),
        ("Transfer-Encoding: chunked, chunked\r\n", chunked(false, false)),
        ("Transfer-Encoding: gzip, chunked\r\n", chunked(false, false)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", chunked(false, false)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunked(false, false)),
        ("Transfer-Encoding : chunked\r\n", None),
        ("Transfer-Encoding:\r\n chunked\r\n", None),
        ("X\0: y\r\nTransfer-Encoding: chunked\r\n", None),
    ] {
        assert_eq!(parse(format!("{START}{lines}\r\n")), expected, "{lines:?}");
    }
    let old = parse("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned());
    assert_eq!(old, chunked(false, false));
    let many = format!("{START}{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    assert_eq!(parse(many), None);
}
