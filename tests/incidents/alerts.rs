//! The shipped alert rules, evaluated by promtool over the scrapes of a minute that repeats for 90
//! minutes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use crate::{
    played::{Played, Scrape},
    shipped,
};

const RULES: &str = "deploy/prometheus/alert-rules.yml";
const RUNBOOKS: &str = "deploy/prometheus/RUNBOOKS.md";

/// For each incident, the alerts that fire after 90 minutes, with their severities.
///
/// promtool only compares, so the expectation is empty, and its message has what was found.
pub fn firing(played: &[Played]) -> Vec<BTreeSet<String>> {
    let directory = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let file = directory.path().join("incidents.test.yml");
    let mut text = String::from("rule_files:\n");
    for rules in ["recording-rules.yml", "alert-rules.yml"] {
        writeln!(text, "  - {}", root.join(rules).display()).unwrap();
    }
    text.push_str("evaluation_interval: 1m\ntests:\n");
    for (number, played) in played.iter().enumerate() {
        writeln!(text, "  - interval: 1m\n    input_series:").unwrap();
        for (series, values) in series(played) {
            writeln!(text, "      - {{series: '{series}', values: '{values}'}}").unwrap();
        }
        // One incident's labels end in its number.
        writeln!(
            text,
            "    promql_expr_test:\n      - expr: label_replace(count by (alertname, severity) \
             (ALERTS{{alertstate=\"firing\"}}), \"incident\", \"{number}\", \"\", \"\")\n        \
             eval_time: 90m\n        exp_samples: [{{labels: '{{none=\"\"}}', value: -1}}]"
        )
        .unwrap();
    }
    fs::write(&file, text).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&file).output();
    let output = output.expect("promtool is there: tests/incidents/run installs it");
    let message = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    (0..played.len()).map(|number| found(&message, number)).collect()
}

/// The alerts in promtool's message with this incident's number.
fn found(message: &str, incident: usize) -> BTreeSet<String> {
    let wanted = format!("incident=\"{incident}\"");
    let labels = message.split('{').filter_map(|part| part.split_once('}')).map(|(text, _)| text);
    let value = |labels: &str, name: &str| {
        let (_, rest) = labels.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    labels
        .filter(|labels| labels.contains(&wanted))
        .filter_map(|labels| {
            Some(format!("{} {}", value(labels, "alertname")?, value(labels, "severity")?))
        })
        .collect()
}

/// The series of an incident and their values, in promtool's notation.
fn series(played: &Played) -> Vec<(String, String)> {
    let before = played.before.as_ref().expect("a scrape before the incident");
    let Some(after) = &played.after else {
        // The minute before the incident repeats for an hour, then nothing is scraped.
        let healthy = played.healthy.as_ref().expect("a scrape of the healthy service");
        let mut series = repeated(healthy, before, None, 59);
        for (_, values) in &mut series {
            values.push_str(" _x60");
        }
        series.push((with_target("up"), "1x59 0x60".to_owned()));
        return series;
    };
    let mut series = repeated(before, after, played.stopped, 120);
    series.push((with_target("up"), "1x120".to_owned()));
    series
}

fn repeated(
    before: &Scrape,
    after: &Scrape,
    stopped: Option<&str>,
    minutes: u32,
) -> Vec<(String, String)> {
    let earlier: BTreeMap<_, _> =
        samples(before).map(|(series, value, _)| (series, value)).collect();
    let shift = before.at.as_duration().as_secs_f64();
    samples(after)
        .map(|(series, value, is_counter)| {
            let old = earlier.get(series).copied();
            let (start, step) = if series.contains("_timestamp_seconds") {
                // Times of the last success keep up with the clock. promtool's clock starts at 0.
                let stands = stopped.is_some_and(|stopped| series.starts_with(stopped))
                    || !series.contains("_last_");
                (old.unwrap_or(value) - shift, if stands { 0.0 } else { 60.0 })
            } else if is_counter {
                let old = old.unwrap_or(0.0);
                (old, value - old)
            } else {
                (value, 0.0)
            };
            let sign = if step < 0.0 { '-' } else { '+' };
            (with_target(series), format!("{start}{sign}{}x{minutes}", step.abs()))
        })
        .collect()
}

/// The service's own series: their name with labels, value, and whether they only grow.
fn samples(scrape: &Scrape) -> impl Iterator<Item = (&str, f64, bool)> {
    let mut is_counter = false;
    scrape.metrics.lines().filter_map(move |line| {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            is_counter = kind.ends_with(" counter") || kind.ends_with(" histogram");
        }
        let (series, value) = line.strip_prefix("juspay_bff_").map(|_| line)?.rsplit_once(' ')?;
        Some((series, value.parse().ok()?, is_counter))
    })
}

/// A series with the labels that Prometheus adds.
fn with_target(series: &str) -> String {
    let target = "job=\"juspay-bff\",instance=\"pod\"";
    match series.split_once('{') {
        Some((name, labels)) => format!("{name}{{{target},{labels}"),
        None => format!("{series}{{{target}}}"),
    }
}

/// The runbook of an alert: the section that its `runbook_url` names.
pub fn section(alert: &str) -> String {
    let text = shipped(RUNBOOKS);
    let (_, rest) = text.split_once(&format!("\n## {alert}\n")).expect("a runbook");
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Summary and description of an alert, of all severities, after a check of its link.
pub fn texts(alert: &str) -> String {
    let text = shipped(RULES);
    let marker = format!("- alert: {alert}\n");
    let rules: Vec<_> = text.split(&marker).skip(1).collect();
    let rules: Vec<_> = rules.iter().filter_map(|rule| rule.split("- alert: ").next()).collect();
    for rule in &rules {
        let link = format!("runbook_url: {RUNBOOKS}#{}", alert.to_lowercase());
        assert!(rule.contains(&link), "{alert} has another runbook");
    }
    rules.iter().filter_map(|rule| rule.split("annotations:").nth(1)).collect()
}
