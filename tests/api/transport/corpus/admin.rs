//! The same corpus on the admin listener, which forwards bodies and therefore measures them: the rows with
//! other responses, and their responses.

use std::collections::BTreeSet;

use super::{Row, answered, count, rows};
use crate::support::{World, guard};

/// A path that has no need of a good `Authorization`.
const PATH: &str = "/livez";

const TAKEN: &[&str] = &["200"];
const NOT_FOUND: &[&str] = &["404 not_found"];
const LENGTH_REQUIRED: &[&str] = &["411"];
const TOO_LARGE: &[&str] = &["413"];
const HEAD_TOO_LARGE: &[&str] = &["431"];

/// Beginnings of names of rows, and the answers to them.
const OTHERWISE: &[(&str, &[&str])] = &[
    // A body of bounded length is taken on any path, and isn't read on this one.
    ("Content-Length \"00\"", TAKEN),
    ("Content-Length \"5\"", TAKEN),
    ("Content-Length \"18446744073709551615\"", TOO_LARGE),
    ("Expect with a body", &["100", "200"]),
    ("a request in a body", TAKEN),
    ("a request behind a body", TAKEN),
    // One without a length isn't, whatever else is wrong with it.
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
    // Heads have no room for an access token.
    ("target of 39000", HEAD_TOO_LARGE),
    // Another path, which looks at neither query nor token.
    ("two Authorizations", TAKEN),
    ("target \"/me/customer?access_token=x\"", TAKEN),
    ("target \"/me/customer?acc%65ss_token=x\"", TAKEN),
    ("target \"/me/customer?options.get_client_auth_token=maybe\"", TAKEN),
    ("target /me/%63ustomer", NOT_FOUND),
    ("target /%6d%65/customer", NOT_FOUND),
];

/// The row as it is on this listener, and by which line of the table.
fn here(row: Row) -> (Row, Option<&'static str>) {
    match OTHERWISE.iter().find(|(beginning, _)| row.name.starts_with(beginning)) {
        Some((beginning, answers)) => {
            assert_ne!(row.answers, *answers, "{} isn't answered otherwise", row.name);
            (Row { answers, ..row }, Some(beginning))
        }
        None => (row, None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_admin_listener_answers_each_row_of_the_corpus_as_it_says() {
    let world = World::new().await;
    let admin = world.admin();
    let mut rows = rows::all(PATH, "Authorization: Bearer x\r\n");
    // The one row about the root, which on this listener is the page for people.
    rows.retain(|row| row.name != "target http://localhost");
    let (rows, otherwise): (Vec<_>, Vec<_>) = rows.into_iter().map(here).unzip();
    for row in &rows {
        for reply in answered(row, &admin).await {
            guard::answered("", &reply);
            if reply.status == 200 {
                assert_eq!(reply.text(), "ok\n", "{}", row.name);
            }
        }
        assert_eq!(admin.get(PATH).await.status, 200, "after {}", row.name);
    }
    println!("corpus of raw requests, admin listener: {}", count(&rows));
    let used: BTreeSet<_> = otherwise.into_iter().flatten().collect();
    assert_eq!(used.len(), OTHERWISE.len(), "a line of the table names no row");
}
