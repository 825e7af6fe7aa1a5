//! `docs/metrics.md` explains the metrics of the tier, which only this feature has.

use std::{collections::BTreeSet, fs, path::Path};

use super::{replica::SetUp, server::Server};

#[tokio::test]
async fn metrics_are_documented_and_start_at_zero() {
    let server = Server::start();
    let replica = SetUp::new(server.url()).connected().await;
    let metrics = String::from_utf8(replica.metrics.render().unwrap()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let document = fs::read_to_string(path).unwrap();
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let family = |line: &str, keyword: &str| {
        let rest = line.strip_prefix(keyword)?.split_once(' ')?;
        rest.0.starts_with("juspay_bff_shared_").then(|| (rest.0.to_owned(), rest.1.to_owned()))
    };
    let helps: Vec<_> = metrics.lines().filter_map(|line| family(line, "# HELP ")).collect();
    let kinds: Vec<_> = metrics.lines().filter_map(|line| family(line, "# TYPE ")).collect();
    assert_eq!(helps.len(), 3, "{helps:?}");
    for ((name, help), (_, kind)) in helps.iter().zip(&kinds) {
        let (start, end) = (format!("| `{name}` | {kind} |"), format!("| {help} |"));
        assert!(rows.iter().any(|row| row.starts_with(&start) && row.ends_with(&end)), "{name}");
    }
    for (label, section) in
        [("outcome", "## Outcomes of the shared tier"), ("state", "## States of the shared tier")]
    {
        let (_, section) = document.split_once(section).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let documented: BTreeSet<_> =
            section.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        let values = metrics.lines().filter_map(|line| {
            let (_, value) =
                line.strip_prefix("juspay_bff_shared_")?.split_once(&format!("{{{label}=\""))?;
            value.split('"').next()
        });
        assert_eq!(documented, values.collect(), "{label}");
    }
}
