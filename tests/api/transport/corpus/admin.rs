//! The same corpus on the admin listener, which forwards bodies and therefore measures them: the rows with
//! other responses, and their responses.

use std::collections::BTreeSet;

use super::{Row, count, rows, send};
use crate::support::{World, guard};

/// A path that needs no valid `Authorization`.
const PATH: &str = "/livez";

const OK: &[&str] = &["200"];
const NOT_FOUND: &[&str] = &["404 not_found"];
const LENGTH_REQUIRED: &[&str] = &["411"];
const TOO_LARGE: &[&str] = &["413"];
const HEAD_TOO_LARGE: &[&str] = &["431"];

/// Prefixes of row names, and the responses on this listener.
const DIFFERENT: &[(&str, &[&str])] = &[
    // A body of bounded length is accepted on any path, and ignored on this one.
    ("Content-Length \"00\"", OK),
    ("Content-Length \"5\"", OK),
    ("Content-Length \"18446744073709551615\"", TOO_LARGE),
    ("Expect with a body", &["100", "200"]),
    ("a request in a body", OK),
    ("a request after a body", OK),
    // A body without a length is rejected, whatever other errors the request has.
    ("length, then coding", LENGTH_REQUIRED),
    ("coding, then length", LENGTH_REQUIRED),
    ("coding and length of none", LENGTH_REQUIRED),
    ("Transfer-Encoding twice", LENGTH_REQUIRED),
    ("Transfer-Encoding in HTTP/1.0", LENGTH_REQUIRED),
    ("Transfer-Encoding\" chunked,", LENGTH_REQUIRED),
    ("Transfer-Encoding\" ,chunked\"", LENGTH_REQUIRED),
    ("Transfer-Encoding\" identity", LENGTH_REQUIRED),
    ("Transfer-Encoding\" gzip, chunked\"", LENGTH_REQUIRED),
    ("Transfer-Encoding\" xchunked\"", LENGTH_REQUIRED),
    ("Transfer-Encoding\" chunked;q=1\"", LENGTH_REQUIRED),
    ("Transfer-Encoding\" \\\"chunked\\\"\"", LENGTH_REQUIRED),
    ("Transfer-Encoding\" chunke\"", LENGTH_REQUIRED),
    ("Transfer-Encoding\"\"", LENGTH_REQUIRED),
    ("chunked, then identity", LENGTH_REQUIRED),
    ("identity, then chunked", LENGTH_REQUIRED),
    ("chunks ", LENGTH_REQUIRED),
    ("elsewhere ", LENGTH_REQUIRED),
    ("LF hides no header", LENGTH_REQUIRED),
    ("Expect with a chunk", LENGTH_REQUIRED),
    // The limit on heads allows for no access token.
    ("target of 39000", HEAD_TOO_LARGE),
    // Another path, which ignores query and token.
    ("two Authorizations", OK),
    ("target \"/me/customer?access_token=x\"", OK),
    ("target \"/me/customer?acc%65ss_token=x\"", OK),
    ("target \"/me/customer?options.get_client_auth_token=maybe\"", OK),
    ("target /me/%63ustomer", NOT_FOUND),
    ("target /%6d%65/customer", NOT_FOUND),
];

/// The row on this listener, and the prefix in the table that matches it.
fn adapted(row: Row) -> (Row, Option<&'static str>) {
    match DIFFERENT.iter().find(|(prefix, _)| row.name.starts_with(prefix)) {
        Some((prefix, responses)) => {
            assert_ne!(row.responses, *responses, "{} has the same responses", row.name);
            (Row { responses, ..row }, Some(prefix))
        }
        None => (row, None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_each_row_of_the_corpus_gets_its_responses_on_the_admin_listener() {
    let world = World::new().await;
    let admin = world.admin();
    let mut rows = rows::all(PATH, "Authorization: Bearer x\r\n");
    // On this listener, the root is the operator's page.
    rows.retain(|row| row.name != "target http://localhost");
    let (rows, prefixes): (Vec<_>, Vec<_>) = rows.into_iter().map(adapted).unzip();
    for row in &rows {
        for reply in send(row, &admin).await {
            guard::answered("", &reply);
            if reply.status == 200 {
                assert_eq!(reply.text(), "ok\n", "{}", row.name);
            }
        }
        assert_eq!(admin.get(PATH).await.status, 200, "after {}", row.name);
    }
    println!("corpus of raw requests, admin listener: {}", count(&rows));
    let used: BTreeSet<_> = prefixes.into_iter().flatten().collect();
    assert_eq!(used.len(), DIFFERENT.len(), "a prefix in the table matches no row");
}
