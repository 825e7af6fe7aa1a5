//! The picture in docs/operations.md: the dashboard's panels up to the row after "Tokens", drawn
//! here from Prometheus' range queries, because Debian has no package of Grafana.
//! `deploy/grafana/picture` runs it. It takes seven minutes of real time, so it is not part of the
//! tests.

mod chart;
mod day;

use std::{fs, path::Path, process::Stdio};

use tokio::process::Command;

use self::{chart::Chart, day::Day};
use crate::{
    prometheus::Prometheus,
    queries::{DASHBOARD, named, queries, substituted},
    scenario::now,
};

/// Interval of scrapes and points, in seconds.
const STEP: u32 = 5;
/// Grafana's rate interval for this step.
const RATE_INTERVAL: &str = "20s";
/// The first row that isn't in the picture of the documents. `target/tmp/dashboard.png` has all rows.
const BELOW: &str = "Signing keys and secrets";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "draws dashboard.png in seven minutes: run deploy/grafana/picture"]
async fn picture() {
    let day = Day::begin().await;
    let prometheus = Prometheus::of(day.admin, &format!("{STEP}s")).await;
    let begun = now();
    day.pass().await;
    prometheus.until_scraped(now()).await;
    let time = (begun, now());

    let mut annotations = Vec::new();
    for annotation in DASHBOARD["annotations"]["list"].as_array().unwrap() {
        let query = substituted(annotation["expr"].as_str().unwrap(), RATE_INTERVAL);
        let found = prometheus.query_range(&query, time, STEP).await;
        let runs = found.iter().flat_map(|(_, values)| runs(values)).collect();
        annotations.push((annotation["iconColor"].as_str().unwrap().to_owned(), runs));
    }

    let mut svg = String::new();
    for panel in DASHBOARD["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            svg += &chart::heading(panel);
            continue;
        }
        let mut series = Vec::new();
        let targets = panel["targets"].as_array().unwrap();
        for (query, target) in queries(panel, RATE_INTERVAL).iter().zip(targets) {
            let legend = target["legendFormat"].as_str().unwrap();
            let found = prometheus.query_range(query, time, STEP).await;
            series
                .extend(found.into_iter().map(|(labels, values)| (named(legend, &labels), values)));
        }
        svg += &Chart::new(panel, time, &annotations).draw(&series);
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let page = scratch.join("dashboard.svg");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/dashboard.png");
    let complete = scratch.join("dashboard.png");
    for (picture, height) in [(Path::new(shipped), top_of(BELOW)), (&complete, bottom())] {
        fs::write(&page, chart::page(&svg, height)).unwrap();
        take_picture(&page, picture, height).await;
    }
}

/// The position of a row, in the dashboard's units.
fn top_of(row: &str) -> u64 {
    let rows = DASHBOARD["panels"].as_array().unwrap();
    let row = rows.iter().find(|panel| panel["title"] == row).expect("that row");
    row["gridPos"]["y"].as_u64().unwrap()
}

/// The end of the last panel.
fn bottom() -> u64 {
    let last = &DASHBOARD["panels"].as_array().unwrap().last().expect("a panel")["gridPos"];
    last["y"].as_u64().unwrap() + last["h"].as_u64().unwrap()
}

/// The times from which to which a series has values.
fn runs(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let gap = f64::from(STEP) * 1.5;
    let runs = values.chunk_by(|(one, _), (next, _)| next - one < gap);
    runs.map(|run| (run[0].0, run[run.len() - 1].0)).collect()
}

async fn take_picture(page: &Path, picture: &Path, height: u64) {
    let (width, height) = chart::size(height);
    let status = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("file://{}", page.display()))
        .stderr(Stdio::null())
        .status()
        .await
        .expect("Chromium is there: deploy/grafana/picture installs it");
    assert!(status.success(), "{status}");
}
