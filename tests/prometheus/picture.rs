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
    queries::{DASHBOARD, queries},
    scenario::now,
};

/// Interval of scrapes and points, in seconds.
const STEP: u32 = 5;
/// Grafana's rate interval for this step.
const RATE_INTERVAL: &str = "20s";
/// The first row that isn't drawn.
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

    let end = height_of_the_picture();
    let mut svg = String::new();
    let panels = DASHBOARD["panels"].as_array().unwrap().iter();
    for panel in panels.filter(|panel| panel["gridPos"]["y"].as_u64().unwrap() < end) {
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
        svg += &Chart::new(panel, time).draw(&series);
    }
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.svg");
    fs::write(&page, chart::page(&svg, end)).unwrap();
    take_picture(&page, end).await;
}

/// In the dashboard's units.
fn height_of_the_picture() -> u64 {
    let rows = DASHBOARD["panels"].as_array().unwrap();
    let below = rows.iter().find(|panel| panel["title"] == BELOW).expect("that row");
    below["gridPos"]["y"].as_u64().unwrap()
}

/// Grafana's `legendFormat`.
fn named(legend: &str, labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().fold(legend.to_owned(), |legend, (name, value)| {
        legend.replace(&format!("{{{{{name}}}}}"), value)
    })
}

async fn take_picture(page: &Path, height: u64) {
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/dashboard.png");
    let (width, height) = chart::size(height);
    let status = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--screenshot={picture}"))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("file://{}", page.display()))
        .stderr(Stdio::null())
        .status()
        .await
        .expect("Chromium is there: deploy/grafana/picture installs it");
    assert!(status.success(), "{status}");
}
