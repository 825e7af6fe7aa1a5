//! Every query in the rules and in the dashboard, against a service under load: its metrics exist,
//! each selector has matched a series, and it returns data.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use jiff::SignedDuration;
use serde_json::Value;

use crate::{prometheus::Prometheus, scenario::now, support::World};

/// The dashboard in its format for imports.
pub static DASHBOARD: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/dashboard.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).expect("JSON")
});

/// Metrics that Prometheus itself adds for a target.
const ITS_OWN: &str = "up";

/// The metrics of the shared tier, which this service does not have. `docs/metrics.md` has them;
/// `tests/shared` compares it with the code.
const SHARED_TIER: &str = "juspay_bff_shared_";

pub async fn all_queries_return_data(prometheus: &Prometheus, world: &World) {
    // A rate needs a second scrape.
    prometheus.until_scraped(now()).await;
    let rules = prometheus.rules(now()).await;
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let recorded: BTreeSet<_> = rules
        .iter()
        .filter(|rule| rule["type"] == "recording")
        .map(|rule| text(&rule["name"]))
        .collect();
    for rule in &rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule}");
    }
    for name in &recorded {
        assert!(!prometheus.query(name).await.is_empty(), "{name} has no value");
    }

    let panels: Vec<_> = panels().flat_map(|panel| queries(panel, "1m")).collect();
    let shipped = rules.iter().map(|rule| text(&rule["query"])).chain(panels.iter().cloned());
    let shipped = shipped.chain(annotations().map(|it| substituted(&text(&it["expr"]), "1m")));
    let exposed = exposed(world).await;
    for query in shipped.filter(|query| !query.contains(SHARED_TIER)) {
        for (name, selector) in selectors(&query) {
            let exists = exposed.contains(name) || recorded.contains(name) || name == ITS_OWN;
            assert!(exists, "there is no metric {name}: {query}");
            let seen = format!("count(last_over_time({selector}[1h]))");
            assert!(!prometheus.query(&seen).await.is_empty(), "nothing is {selector}: {query}");
        }
    }
    let end = now();
    let minute = end.checked_sub(SignedDuration::from_mins(1)).unwrap();
    for query in panels.into_iter().filter(|query| !query.contains(SHARED_TIER)) {
        let found = prometheus.query_range(&query, (minute, end), 1).await;
        let has_value =
            |values: &Vec<(f64, f64)>| values.iter().any(|(_, value)| value.is_finite());
        assert!(found.iter().any(|(_, values)| has_value(values)), "it finds nothing: {query}");
    }
    series_have_colors(prometheus).await;
}

/// Labels whose values have a meaning, and therefore a color.
const MEANINGFUL: [&str; 6] = ["code", "route", "outcome", "state", "cause", "slot"];

/// Counters exist with 0 from the start, so this covers all values of the labels.
async fn series_have_colors(prometheus: &Prometheus) {
    for panel in panels() {
        for target in panel["targets"].as_array().unwrap() {
            let legend = target["legendFormat"].as_str().unwrap();
            let is_shown = |label: &&&str| legend.contains(&format!("{{{{{label}}}}}"));
            let Some(label) = MEANINGFUL.iter().find(is_shown) else { continue };
            let query = substituted(target["expr"].as_str().unwrap(), "1m");
            let (_, selector) = selectors(&query)[0];
            let all = format!("group by (issuer, {label}) (last_over_time({selector}[1h]))");
            for (labels, _) in prometheus.query(&all).await {
                let series = named(legend, &labels);
                let color = color_of(panel, &series);
                assert!(color.is_some(), "{series} has no color in {}", panel["title"]);
            }
        }
    }
}

/// Grafana's `legendFormat`.
pub fn named(legend: &str, labels: &BTreeMap<String, String>) -> String {
    labels.iter().fold(legend.to_owned(), |legend, (name, value)| {
        legend.replace(&format!("{{{{{name}}}}}"), value)
    })
}

/// The color of the panel's override for this series: by its name, or by `/…$/`, its end.
pub fn color_of<'p>(panel: &'p Value, series: &str) -> Option<&'p str> {
    let overrides = panel["fieldConfig"]["overrides"].as_array()?.iter();
    let matches = |matcher: &Value| {
        let options = matcher["options"].as_str().expect("a name");
        let end = options.strip_prefix('/').and_then(|end| end.strip_suffix("$/"));
        end.map_or(series == options, |end| series.ends_with(end))
    };
    let mut found = overrides.filter(|it| matches(&it["matcher"]));
    found.next()?["properties"][0]["value"]["fixedColor"].as_str()
}

/// The dashboard's annotations.
fn annotations() -> impl Iterator<Item = &'static Value> {
    DASHBOARD["annotations"]["list"].as_array().expect("annotations").iter()
}

/// The dashboard's panels with queries.
pub fn panels() -> impl Iterator<Item = &'static Value> {
    let panels = DASHBOARD["panels"].as_array().expect("panels").iter();
    panels.filter(|panel| panel["type"] != "row")
}

/// A panel's queries, with Grafana's variables replaced.
pub fn queries(panel: &Value, rate_interval: &str) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets").iter();
    targets
        .map(|target| substituted(target["expr"].as_str().expect("a query"), rate_interval))
        .collect()
}

pub fn substituted(query: &str, rate_interval: &str) -> String {
    let query = [
        ("$__rate_interval", rate_interval),
        ("$__range", "1h"),
        ("$namespace", ".*"),
        ("$job", "juspay-bff"),
        ("$pod", ".*"),
    ]
    .into_iter()
    .fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!query.contains('$'), "{query}");
    query
}

/// The names of the series that the service exposes.
async fn exposed(world: &World) -> BTreeSet<String> {
    let text = world.admin().get("/metrics").await.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect()
}

/// The metrics in a query, and each with its labels. No label's value contains a brace or a quote.
fn selectors(query: &str) -> Vec<(&str, &str)> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let bytes = query.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < query.len() {
        let end = at + bytes[at..].iter().take_while(|byte| is_name(**byte)).count();
        let name = &query[at..end];
        let is_metric = name == ITS_OWN
            || name.contains(':')
            || ["juspay_bff_", "process_"].iter().any(|prefix| name.starts_with(prefix));
        let after = &query[end..];
        if is_metric && after.starts_with('{') {
            let length = name.len() + after.find('}').expect("a brace") + 1;
            found.push((name, &query[at..at + length]));
        } else if is_metric {
            found.push((name, name));
        }
        at = end.max(at + 1);
        // A label's value is not a metric.
        if let Some(value) = after.strip_prefix('"') {
            at = end + 2 + value.find('"').expect("a quote");
        }
    }
    found
}

#[test]
fn selectors_are_found_in_a_query() {
    let query = r#"sum by (job) (rate(juspay_bff_a{x="up",y=~"process_b"}[5m])) / (ns:juspay_bff_c:d > 0) or up"#;
    let expected = [
        ("juspay_bff_a", r#"juspay_bff_a{x="up",y=~"process_b"}"#),
        ("ns:juspay_bff_c:d", "ns:juspay_bff_c:d"),
        ("up", "up"),
    ];
    assert_eq!(selectors(query), expected);
}

/// The time series of the dashboard.
fn charts() -> impl Iterator<Item = &'static Value> {
    panels().filter(|panel| panel["type"] == "timeseries")
}

#[test]
fn each_axis_has_one_unit() {
    for panel in charts() {
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().expect("a unit");
        for query in queries(panel, "1m") {
            let is_rate = query.contains("rate(")
                && !["histogram_quantile", ") / sum(", "cpu_seconds"]
                    .iter()
                    .any(|it| query.contains(it));
            assert_eq!(is_rate, ["reqps", "cps"].contains(&unit), "{}: {query}", panel["title"]);
            let is_quantile = query.contains("histogram_quantile") && !query.contains("hand_outs");
            let is_time = is_quantile || query.contains("_seconds{");
            let is_count = query.contains("at_least") || is_rate || query.contains("cpu_seconds");
            assert!(is_count || is_time == (unit == "s"), "{}: {query}", panel["title"]);
        }
    }
}

#[test]
fn legends_have_last_and_maximum_and_begin_with_the_highest() {
    for panel in charts() {
        let legend = &panel["options"]["legend"];
        let expected = serde_json::json!({
            "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"],
            "sortBy": "Last *", "sortDesc": true,
        });
        assert_eq!(legend, &expected, "{}", panel["title"]);
    }
}

#[test]
fn series_have_the_same_color_in_all_panels() {
    let mut colors = BTreeMap::new();
    for panel in charts() {
        for rule in panel["fieldConfig"]["overrides"].as_array().unwrap() {
            let color = &rule["properties"][0]["value"]["fixedColor"];
            let before = colors.insert(rule["matcher"]["options"].as_str().unwrap(), color);
            assert!(before.is_none_or(|before| before == color), "{rule}");
        }
    }
    assert_eq!(colors["success"], colors["ok"]);
}

/// The variable's value is the path that `deploy/prometheus/customize` replaces, as in the alert rules.
#[test]
fn each_alert_has_a_panel_with_a_link_to_its_runbook() {
    let runbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/RUNBOOKS.md");
    let runbooks = std::fs::read_to_string(runbooks).unwrap();
    let names = runbooks.lines().filter_map(|line| line.strip_prefix("## "));
    let expected: BTreeSet<_> =
        names.map(|name| (format!("Runbook: {name}"), name.to_lowercase())).collect();
    let links = panels().filter_map(|panel| panel["links"].as_array()).flatten();
    let links: BTreeSet<_> = links
        .map(|link| {
            let url = link["url"]
                .as_str()
                .unwrap()
                .strip_prefix("${runbooks:raw}#")
                .expect("the variable");
            (link["title"].as_str().unwrap().to_owned(), url.to_owned())
        })
        .collect();
    assert_eq!(links, expected);
    let variables = DASHBOARD["templating"]["list"].as_array().unwrap();
    let runbooks = variables.iter().find(|it| it["name"] == "runbooks").unwrap();
    assert_eq!(
        (&runbooks["type"], &runbooks["query"]),
        (&"constant".into(), &"deploy/prometheus/RUNBOOKS.md".into())
    );
}

/// The values of `outcome` or `state` in `docs/metrics.md`, of the section with this title.
fn documented(document: &str, section: &str) -> BTreeSet<String> {
    let (_, section) = document.split_once(section).expect("the section");
    let rows = section.split("\n## ").next().unwrap().lines();
    rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn queries_of_the_shared_tier_name_documented_metrics_and_values() {
    let read = |path: &str| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(root.join(path)).unwrap()
    };
    let document = read("docs/metrics.md");
    let values = [
        ("outcome", documented(&document, "## Outcomes of the shared tier")),
        ("state", documented(&document, "## States of the shared tier")),
    ];
    let panels: Vec<_> = panels().flat_map(|panel| queries(panel, "1m")).collect();
    let rules = read("deploy/prometheus/alert-rules.yml");
    let mut selected = 0;
    let queries = panels.iter().map(String::as_str).chain(rules.lines());
    for query in queries.filter(|query| query.contains(SHARED_TIER)) {
        for (name, selector) in selectors(query) {
            selected += 1;
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(document.contains(&format!("\n| `{family}` |")), "there is no {name}: {query}");
            for (label, known) in &values {
                let labels = selector.split_once('{').map_or("", |(_, labels)| labels);
                let matchers = labels.split(',').filter_map(|it| it.strip_prefix(label));
                let matchers = matchers.filter_map(|it| it.split('"').nth(1));
                for value in matchers.flat_map(|it| it.split('|')) {
                    assert!(known.contains(value), "there is no {label} {value}: {query}");
                }
            }
        }
    }
    assert!(selected >= 9, "{selected}");
    for panel in self::panels() {
        let target = &panel["targets"][0];
        let legend = target["legendFormat"].as_str().unwrap();
        for (label, known) in &values {
            let is_shown = target["expr"].as_str().unwrap().contains(SHARED_TIER)
                && legend.contains(&format!("{{{{{label}}}}}"));
            for value in known.iter().filter(|_| is_shown) {
                assert!(color_of(panel, value).is_some(), "{value} has no color in {panel}");
            }
        }
    }
}

#[test]
fn dashboard_can_be_imported() {
    assert!(DASHBOARD["schemaVersion"].as_u64().unwrap() >= 36, "Grafana 10");
    assert!(DASHBOARD["uid"].is_string() && DASHBOARD["id"].is_null());
    let variables = DASHBOARD["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|it| it["name"] == "datasource" && it["type"] == "datasource"));
    let all = DASHBOARD["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "two panels have the same id");
    let mut taken = BTreeSet::new();
    for panel in panels() {
        assert_eq!(panel["datasource"]["uid"], "$datasource", "{}", panel["title"]);
        assert!(panel["title"].is_string() && panel["description"].is_string(), "{panel}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        let (x, y) = (place("x"), place("y"));
        assert!(x + place("w") <= 24, "{}", panel["title"]);
        for cell in (x..x + place("w")).flat_map(|x| (y..y + place("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} is over another panel", panel["title"]);
        }
    }
}
