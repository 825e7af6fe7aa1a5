//! The rows of the corpus, grouped by the part of a request that they attack.

use super::Row;

/// Rejected by the parser.
const BARE: &[&str] = &["400"];
const INVALID: &[&str] = &["400 invalid_request"];
const BODY: &[&str] = &["413 body_not_allowed"];
const OK: &[&str] = &["200"];
const NOT_FOUND: &[&str] = &["404 not_found"];
const METHOD: &[&str] = &["405 method_not_allowed"];
const TOO_LARGE: &[&str] = &["431"];

/// The path in the rows. On the other listener, its own path replaces this one.
const PATH: &str = "/me/customer";
const LINE: &str = "GET /me/customer HTTP/1.1";
const HOST: &str = "Host: localhost\r\n";

/// The rows for one client.
struct Corpus<'a> {
    path: &'a str,
    authorization: &'a str,
    rows: Vec<Row>,
}

/// Every row. `path` must accept `GET` and `HEAD`; `authorization` is a valid header line.
pub(super) fn all(path: &str, authorization: &str) -> Vec<Row> {
    let mut corpus = Corpus { path, authorization, rows: Vec::new() };
    corpus.lengths();
    corpus.codings();
    corpus.lines();
    corpus.hosts();
    corpus.forms();
    corpus.methods();
    corpus.versions();
    corpus.upgrades();
    corpus.targets();
    corpus.sizes();
    corpus.chunks();
    corpus.pipelines();
    corpus.accepted();
    corpus.rows
}

impl Corpus<'_> {
    fn row(
        &mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        responses: &'static [&'static str],
    ) {
        self.rows.push(Row { name: name.into(), bytes: bytes.into(), responses });
    }

    /// A request with this request line, these `Host` lines and these additional lines.
    fn request(&self, line: &str, host: &str, lines: &str) -> String {
        let line = line.replace(PATH, self.path);
        format!("{line}\r\n{host}{}Connection: close\r\n{lines}\r\n", self.authorization)
    }

    fn with_lines(&self, lines: &str) -> String {
        self.request(LINE, HOST, lines)
    }

    /// The same without `Connection: close`.
    fn keep_alive(&self, lines: &str) -> String {
        let line = LINE.replace(PATH, self.path);
        format!("{line}\r\n{HOST}{}{lines}\r\n", self.authorization)
    }

    fn line(&mut self, name: &str, line: &str, responses: &'static [&'static str]) {
        let request = self.request(line, HOST, "");
        self.row(name, request, responses);
    }

    fn lengths(&mut self) {
        for (value, responses) in [
            ("+0", BARE),
            ("-0", BARE),
            ("-1", BARE),
            ("0, 0", BARE),
            ("0,0", BARE),
            ("0 0", BARE),
            ("0x0", BARE),
            ("0.0", BARE),
            ("1e1", BARE),
            ("5;", BARE),
            ("\"0\"", BARE),
            ("", BARE),
            ("\u{b}0", BARE),
            ("\u{660}", BARE),
            ("18446744073709551616", BARE),
            ("99999999999999999999999", BARE),
            ("18446744073709551615", BODY),
            ("00", BODY),
            ("5", BODY),
            ("0", OK),
            (" 0\t", OK),
        ] {
            let request = self.with_lines(&format!("Content-Length: {value}\r\n"));
            self.row(format!("Content-Length {value:?}"), request, responses);
        }
        for (name, lines) in [
            ("the same Content-Length twice", "Content-Length: 0\r\nContent-Length: 0\r\n"),
            ("two Content-Lengths", "Content-Length: 0\r\nContent-Length: 5\r\n"),
            ("length, then coding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            ("coding, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            ("coding and length of none", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
            ("Content-Length with space before the colon", "Content-Length : 5\r\n"),
            ("Content-Length with tab before the colon", "Content-Length\t: 5\r\n"),
        ] {
            let request = self.with_lines(lines) + "0\r\n\r\n";
            self.row(name, request, BARE);
        }
    }

    fn codings(&mut self) {
        for (value, responses) in [
            (" chunked", OK),
            ("chunked", OK),
            (" Chunked", OK),
            ("\tchunked \t", OK),
            (" chunked, identity", BARE),
            (" identity, chunked", BARE),
            (" identity", BARE),
            (" gzip, chunked", BARE),
            (" chunked, chunked", BARE),
            (" chunked,", BARE),
            (" ,chunked", BARE),
            (" xchunked", BARE),
            (" chunked\u{b}", BARE),
            (" \u{b}chunked", BARE),
            (" chunked\0", BARE),
            (" chunked;q=1", BARE),
            (" \"chunked\"", BARE),
            (" chunke", BARE),
            ("", BARE),
            ("\r\n chunked", BARE),
            ("\r\n\tchunked", BARE),
            ("\rchunked", BARE),
        ] {
            let request = self.with_lines(&format!("Transfer-Encoding:{value}\r\n"));
            self.row(format!("Transfer-Encoding{value:?}"), request + "0\r\n\r\n", responses);
        }
        let coding = "Transfer-Encoding: chunked\r\n";
        for (name, lines) in [
            ("Transfer-Encoding twice", coding.repeat(2)),
            ("chunked, then identity", format!("{coding}Transfer-Encoding: identity\r\n")),
            ("identity, then chunked", format!("Transfer-Encoding: identity\r\n{coding}")),
            ("Transfer-Encoding with space before the colon", coding.replace(':', " :")),
        ] {
            let request = self.with_lines(&lines) + "0\r\n\r\n";
            self.row(name, request, BARE);
        }
        let old = self.request("GET /me/customer HTTP/1.0", HOST, coding);
        self.row("Transfer-Encoding in HTTP/1.0", old + "0\r\n\r\n", BARE);
    }

    /// Header lines.
    fn lines(&mut self) {
        for (name, lines) in [
            ("obs-fold", "X: a\r\n b\r\n"),
            ("obs-fold by tab", "X: a\r\n\tb\r\n"),
            ("CR in a value", "X: a\rb\r\n"),
            ("CR CR LF", "X: a\r\r\n"),
            ("NUL in a value", "X: a\0b\r\n"),
            ("NUL in a name", "X\0: a\r\n"),
            ("vertical tab in a value", "X: a\u{b}b\r\n"),
            ("DEL in a value", "X: a\u{7f}b\r\n"),
            ("space before the colon", "X : a\r\n"),
            ("space in a name", "X Y: a\r\n"),
            ("no name", ": a\r\n"),
            ("no colon", "nothing\r\n"),
            ("non-ASCII name", "X\u{e4}: a\r\n"),
            ("parenthesis in a name", "X(: a\r\n"),
        ] {
            let request = self.with_lines(lines);
            self.row(name, request, BARE);
        }
        let folded = self.request(LINE, &format!(" Folded: a\r\n{HOST}"), "");
        self.row("the first line is folded", folded, BARE);
        let crs = self.with_lines("").replace("\r\n", "\r");
        self.row("lines that end in CR", crs + "\r\n\r\n", BARE);
        let authorization = self.authorization.to_owned();
        let twice = self.with_lines(&authorization);
        self.row("two Authorizations", twice, INVALID);
    }

    fn hosts(&mut self) {
        for value in [
            "a b", "a/b", "user@a", "a,b", "a;b", "a:b", "a:123456", "[::1", "::1", "[]", "a?b",
            "a#b", "a\\b", "\"a\"", "<a>", "%41", "a%zz", "ä", "a:80:80", "http://a",
        ] {
            let request = self.request(LINE, &format!("Host: {value}\r\n"), "");
            self.row(format!("Host {value:?}"), request, INVALID);
        }
        for value in ["", "a", "a:", "A.example:8080", "127.0.0.1", "[::1]", "[::1]:8080"] {
            let request = self.request(LINE, &format!("Host: {value}\r\n"), "");
            self.row(format!("Host {value:?}"), request, OK);
        }
        for (name, host) in [
            ("no Host", ""),
            ("two Hosts", "Host: localhost\r\nHost: b\r\n"),
            ("the same Host twice", "Host: localhost\r\nHost: localhost\r\n"),
            ("Host in other letters twice", "Host: localhost\r\nhOST: b\r\n"),
            ("Host with space before the colon", "Host : localhost\r\n"),
        ] {
            let request = self.request(LINE, host, "");
            self.row(name, request, BARE);
        }
        let elsewhere = self.request("GET /nothing HTTP/1.1", "Host: a b\r\n", "");
        self.row("an invalid Host on an unknown path", elsewhere, INVALID);
        let post = self.request("POST /me/customer HTTP/1.1", "Host: a b\r\n", "");
        self.row("an invalid Host with another method", post, INVALID);
        let old = self.request("GET /me/customer HTTP/1.0", "", "");
        self.row("no Host in HTTP/1.0", old, OK);
    }

    /// The forms of a target (RFC 9112 §3.2).
    fn forms(&mut self) {
        for (target, responses) in [
            ("http://localhost/me/customer", OK),
            ("https://LOCALHOST/me/customer", OK),
            ("http://evil.example/me/customer", INVALID),
            ("http://localhost:80/me/customer", INVALID),
            ("http://user@localhost/me/customer", INVALID),
            ("http://evil.example@localhost/me/customer", INVALID),
            ("ftp://localhost/me/customer", INVALID),
            ("javascript://localhost/me/customer", INVALID),
            ("http://localhost", NOT_FOUND),
            ("http:/me/customer", BARE),
            ("http:///me/customer", BARE),
            ("localhost:80", NOT_FOUND),
            ("*", NOT_FOUND),
            ("me/customer", BARE),
            ("?x", BARE),
        ] {
            self.line(&format!("target {target}"), &format!("GET {target} HTTP/1.1"), responses);
        }
    }

    fn methods(&mut self) {
        for (line, responses) in [
            ("CONNECT localhost:80", NOT_FOUND),
            ("CONNECT /me/customer", METHOD),
            ("TRACE /me/customer", METHOD),
            ("OPTIONS /me/customer", METHOD),
            ("OPTIONS *", NOT_FOUND),
            ("get /me/customer", METHOD),
            ("Get /me/customer", METHOD),
            ("PRI /me/customer", METHOD),
            ("G!T /me/customer", METHOD),
            ("G@T /me/customer", BARE),
            ("G\u{c9}T /me/customer", BARE),
            (" GET /me/customer", BARE),
            ("GET  /me/customer", BARE),
            ("GET\t/me/customer", BARE),
            ("/me/customer", BARE),
            ("GET", BARE),
            ("", BARE),
        ] {
            self.line(&format!("line {line:?}"), &format!("{line} HTTP/1.1"), responses);
        }
        let long = format!("{} /me/customer HTTP/1.1", "X".repeat(33));
        self.line("a method of 33 letters", &long, INVALID);
        let body = self.request("POST /me/customer HTTP/1.1", HOST, "Content-Length: 5\r\n");
        self.row("POST with a body", body + "hello", METHOD);
    }

    fn versions(&mut self) {
        for version in [
            "HTTP/0.9",
            "HTTP/1.2",
            "HTTP/1.10",
            "HTTP/2",
            "HTTP/2.0",
            "HTTP/3",
            "http/1.1",
            "HTTP/1",
            "HTTP/1.1 ",
            "HTTP/ 1.1",
            "HTTPS/1.1",
            "",
            "HTTP/1.1\0",
        ] {
            self.line(
                &format!("version {version:?}"),
                &format!("GET /me/customer {version}"),
                BARE,
            );
        }
        self.row("HTTP/0.9 alone", "GET /me/customer\r\n\r\n", BARE);
        self.row("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BARE);
        self.row("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n", BARE);
        self.line("HTTP/1.0", "GET /me/customer HTTP/1.0", OK);
    }

    fn upgrades(&mut self) {
        let h2c = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
        let websocket = "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n";
        for (name, lines) in [
            ("h2c", format!("Connection: Upgrade, HTTP2-Settings\r\n{h2c}")),
            ("a WebSocket", format!("Connection: keep-alive, Upgrade\r\n{websocket}")),
            ("a WebSocket without an option", websocket.to_owned()),
            ("an option without a protocol", "Connection: upgrade\r\n".to_owned()),
            ("two protocols", format!("{h2c}{websocket}Connection: Upgrade\r\n")),
        ] {
            let (kept, last) = (self.keep_alive(&lines), self.with_lines(&lines));
            let requests = kept.repeat(2) + &last;
            self.row(format!("upgrade to {name} is ignored"), requests, &["200"; 3]);
            let old = kept.replace("HTTP/1.1", "HTTP/1.0");
            let responses = if lines.contains("keep-alive") { &["200"; 2][..] } else { OK };
            self.row(format!("upgrade to {name} by HTTP/1.0"), old + &last, responses);
            let elsewhere = kept.replace(self.path, "/nothing") + &last;
            self.row(format!("upgrade to {name} elsewhere"), elsewhere, &["404 not_found", "200"]);
            let malformed = self.with_lines(&format!("{lines}X\0: a\r\n"));
            self.row(format!("upgrade to {name}, malformed"), kept + &malformed, &["200", "400"]);
        }
        let request = self.with_lines("Expect: 100-continue\r\n");
        self.row("Expect without a body", request, &["100", "200"]);
        let request = self.with_lines("Expect: 100-continue\r\nContent-Length: 5\r\n");
        self.row("Expect with a body", request, &["100", "413 body_not_allowed"]);
        let chunked = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
        let request = self.with_lines(chunked) + "0\r\n\r\n";
        self.row("Expect with a lone last chunk", request, OK);
        let request = self.with_lines(chunked) + "5\r\nhello\r\n0\r\n\r\n";
        self.row("Expect with a chunk", request, &["100", "413 body_not_allowed"]);
        let request = self.with_lines("Expect: 200-ok\r\n");
        self.row("an unknown Expect is ignored", request, OK);
    }

    fn targets(&mut self) {
        for (target, responses) in [
            ("//me/customer", NOT_FOUND),
            ("/me//customer", NOT_FOUND),
            ("/me/./customer", NOT_FOUND),
            ("/me/x/../customer", NOT_FOUND),
            ("/me/%2e/customer", NOT_FOUND),
            ("/me/customer/", NOT_FOUND),
            ("/me/customer;x", NOT_FOUND),
            ("/me/customer;x=y?a", NOT_FOUND),
            ("/me/customer%3f", NOT_FOUND),
            ("/me/customer%00", NOT_FOUND),
            ("/me/customer%2f", NOT_FOUND),
            ("/me/customer%0d%0a", NOT_FOUND),
            ("/me%2fcustomer", NOT_FOUND),
            ("/me%5ccustomer", NOT_FOUND),
            ("/me\\customer", NOT_FOUND),
            ("/ME/customer", NOT_FOUND),
            ("/me/customer%", NOT_FOUND),
            ("/me/customer?<>", BARE),
            ("/me/customer?\"", BARE),
            ("/me/customer?a b", BARE),
            ("/me/customer?\u{fffd}", BARE),
            ("/me/customer\u{e4}", BARE),
            ("/me/cust\tomer", BARE),
            ("/me/cust\0omer", BARE),
            ("/me/customer?access_token=x", INVALID),
            ("/me/customer?acc%65ss_token=x", INVALID),
            ("/me/customer?options.get_client_auth_token=maybe", INVALID),
            ("/me/customer?%ff=%zz&%00", OK),
            ("/me/customer?", OK),
        ] {
            self.line(&format!("target {target:?}"), &format!("GET {target} HTTP/1.1"), responses);
        }
        for (name, bytes) in [("target", "/me/\u{ff}"), ("query", "/me/customer?\u{ff}")] {
            let request = self.request(&format!("GET {bytes} HTTP/1.1"), HOST, "");
            let bytes: Vec<u8> = request.chars().map(|c| u8::try_from(c).unwrap()).collect();
            self.row(format!("not UTF-8 in the {name}"), bytes, BARE);
        }
    }

    fn sizes(&mut self) {
        for (length, responses) in
            [(8192, OK), (8193, INVALID), (39_000, INVALID), (70_000, TOO_LARGE)]
        {
            let target = format!("{}?{}", self.path, "x".repeat(length - self.path.len() - 1));
            self.line(&format!("target of {length}"), &format!("GET {target} HTTP/1.1"), responses);
        }
        // In addition to the three of every request.
        for (number, responses) in [(93, OK), (94, TOO_LARGE), (1000, TOO_LARGE)] {
            let request = self.with_lines(&"X: y\r\n".repeat(number));
            self.row(format!("{number} more headers"), request, responses);
        }
        for (length, responses) in [(32_000, OK), (41_000, TOO_LARGE), (1_000_000, TOO_LARGE)] {
            let request = self.with_lines(&format!("X: {}\r\n", "y".repeat(length)));
            self.row(format!("a header of {length}"), request, responses);
            let request = self.with_lines(&format!("{}: y\r\n", "x".repeat(length)));
            self.row(format!("a name of {length}"), request, responses);
        }
        let endless = "X: y\r\n".repeat(100_000);
        self.row("no end of headers", format!("{LINE}\r\n{HOST}{endless}"), TOO_LARGE);
        self.row("no end of a line", "X".repeat(200_000), TOO_LARGE);
    }

    /// Bodies that are not read, and bytes in them that look like a request.
    fn chunks(&mut self) {
        let hidden = self.with_lines("");
        let coding = "Transfer-Encoding: chunked\r\n";
        let empty = self.keep_alive(coding) + "0\r\n\r\n";
        self.row("a lone last chunk", empty.clone() + &hidden, &["200"; 2]);
        self.row("lone last chunks", empty.repeat(20) + &hidden, &["200"; 21]);
        let elsewhere = empty.replace(&format!("GET {}", self.path), "POST /nothing");
        self.row("a lone last chunk elsewhere", elsewhere + &hidden, &["404 not_found", "200"]);
        let last = self.with_lines(coding) + "0\r\n\r\n";
        self.row("a request after a lone last chunk", last + &hidden, OK);
        for body in [
            "00\r\n\r\n",
            "0\n\n",
            "0 \r\n\r\n",
            "0;a=b\r\n\r\n",
            "0\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n0\r\n\r\n",
            "5;\n\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\nhello\n0\n\n",
            "5\r\nhelloX0\r\n\r\n",
            "0\r\nX: trailer\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "g\r\n",
            "\r\n",
            "ffffffffffffffffff\r\n",
            "00000000000000000000000\r\n\r\n",
        ] {
            let request = self.keep_alive(coding);
            self.row(format!("chunks {body:?}"), request + body + &hidden, BODY);
            let post = self.request("POST /nothing HTTP/1.1", HOST, coding);
            let post = post.replace("Connection: close\r\n", "");
            self.row(format!("elsewhere {body:?}"), post + body + &hidden, NOT_FOUND);
        }
        let length = self.keep_alive(&format!("Content-Length: {}\r\n", hidden.len()));
        self.row("a request in a body", length + &hidden, BODY);
        let short = self.keep_alive("Content-Length: 1\r\n");
        self.row("a request after a body", short + "x" + &hidden, BODY);
    }

    /// Pipelined requests.
    fn pipelines(&mut self) {
        let (valid, last) = (self.keep_alive(""), self.with_lines(""));
        let malformed = self.keep_alive("X\0: a\r\n");
        for (name, bytes, responses) in [
            ("two valid ones", format!("{valid}{last}"), &["200", "200"][..]),
            ("a malformed one first", format!("{malformed}{last}"), BARE),
            ("a malformed one second", format!("{valid}{malformed}{last}"), &["200", "400"]),
            ("one after the last", format!("{last}{last}"), OK),
            ("one after HTTP/1.0", valid.replace("HTTP/1.1", "HTTP/1.0") + &last, OK),
            ("one after an invalid Host", valid.replace("localhost", "a b") + &last, INVALID),
            ("garbage after the last", format!("{last}\0\0\0"), OK),
            ("lines between", format!("{valid}\r\n\r\n{last}"), &["200", "200"]),
            ("a hundred", format!("{}{last}", valid.repeat(99)), &["200"; 100]),
        ] {
            self.row(format!("pipelined: {name}"), bytes, responses);
        }
    }

    /// Requests that a stricter parser would reject. This service interprets each in one way, none
    /// hides another request, and SECURITY.md lists them.
    fn accepted(&mut self) {
        let request = self.with_lines("");
        self.row("lines that end in LF", request.replace("\r\n", "\n"), OK);
        let request = self.with_lines("X: y\n");
        self.row("one line that ends in LF", request, OK);
        let request = self.with_lines("X: y\nTransfer-Encoding: chunked\r\n");
        self.row("LF hides no header", request + "5\r\nhello\r\n0\r\n\r\n", BODY);
        self.row("empty lines before", format!("\r\n\n\r\n{}", self.with_lines("")), OK);
        let request = self.with_lines("Transfer_Encoding: chunked\r\nContent_Length: 5\r\n");
        self.row("underscores are no hyphens", request, OK);
        for target in ["/me/customer#x", "/me/customer?#x", "/me/%63ustomer", "/%6d%65/customer"] {
            self.line(&format!("target {target}"), &format!("GET {target} HTTP/1.1"), OK);
        }
        let request = self.with_lines("X: \u{e4}\r\nX-Empty:\r\n");
        self.row("bytes above ASCII in a value", request, OK);
    }
}
