//! Which lines the parser sees, and of which heads.

use super::*;

const START: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

/// What was found in these lines after the first two of a head.
fn found(lines: &str) -> Found {
    let mut head = Head::default();
    assert_eq!(head.look(START.as_bytes()), Found { end: None, special: None });
    head.look(lines.as_bytes())
}

#[test]
fn lines_that_the_parser_may_not_see_are_found_whole_or_begun() {
    for special in [
        "Upgrade: h2c\r\n",
        "UPGRADE:websocket\n",
        "Transfer-Encoding: chunked\r\n",
        "expect: 100-continue\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\n",
        "connection:close,upgrade\r\n",
        "Connection: keep-alive\t,\tUPGRADE \r\n",
        "U",
        "upgrade",
        "Upgrade-",
        "Transfer-Encoding: chun",
        "conn",
        "Connection: keep",
    ] {
        assert_eq!(found(special).special, Some(0), "{special:?}");
        let later = format!("X: y\r\n{special}");
        assert_eq!(found(&later).special, Some(6), "{later:?}");
    }
    for plain in [
        "",
        "\r",
        "Upgrade-Insecure-Requests: 1\r\n",
        "Upgrade : h2c\r\n",
        "Connection: keep-alive\r\n",
        "Connection: upgrades\r\n",
        "Content-Length: 0\r\n",
        "X-Upgrade: h2c\r\n",
        "X: Upgrade: h2c\r\n",
        "User-Agent",
        "TE: chunked\r\n",
        " Upgrade: h2c\r\n",
    ] {
        assert_eq!(found(plain).special, None, "{plain:?}");
    }
    let mut head = Head::default();
    assert_eq!(head.look(b"Upgrade: / HTTP/1.1\r\n").special, None, "a request line is none");
    assert_eq!(head.look(b"X").special, None);
    assert_eq!(head.look(b"Upgrade: h2c\r\n").special, None, "it is the middle of a line");
}

#[test]
fn upgrades_do_not_reach_the_parser() {
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
fn only_a_head_that_everybody_reads_alike_announces_chunks() {
    let said = |lines: &str| read(format!("{START}{lines}\r\n").as_bytes());
    let chunked = |is_chunked, expects| Some(Said { is_chunked, expects });
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
        assert_eq!(said(lines), expected, "{lines:?}");
    }
    let old = read(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, chunked(false, false));
    let many = format!("{START}{}\r\n", "X: y\r\n".repeat(MAX_LINES));
    assert_eq!(read(many.as_bytes()), None);
}

#[test]
fn a_lone_last_chunk_is_five_bytes_and_no_others() {
    for behind in ["0\r\n\r\n", "0\r\n\r\nGET / HTTP/1.1\r\n"] {
        assert_eq!(chunks(behind.as_bytes()), Chunks::Empty(5));
    }
    for behind in ["", "0", "0\r", "0\r\n", "0\r\n\r"] {
        assert_eq!(chunks(behind.as_bytes()), Chunks::Unknown, "{behind:?}");
    }
    for behind in
        ["5", "00\r\n\r\n", "0\n\n", "0;a=b\r\n\r\n", "0 \r\n\r\n", "0\r\nX: y\r\n\r\n", "\r\n"]
    {
        assert_eq!(chunks(behind.as_bytes()), Chunks::Body, "{behind:?}");
    }
}
