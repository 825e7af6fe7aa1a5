//! `docs/metrics.md` is current: its table is generated from what `/metrics` shows, and every value of
//! `reason` and `outcome` is explained in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use crate::support::{Stage, World, authority::Authority, guard, until};

/// The generated part is between these lines.
const BEGIN: &str = "<!-- Generated from the code: `cargo test --test api metrics_document`. -->\n";
const END: &str = "<!-- End of the generated part. -->\n";

/// Labels whose values depend on the settings.
const OPEN_LABELS: [(&str, &str); 5] = [
    ("issuer", "the name below `auth.issuers`"),
    ("secret", "the setting, such as `api_key`"),
    ("certificate", "`server`"),
    ("commit", "the commit of the build"),
    ("version", "the version of the program"),
];

/// Values that are described elsewhere.
const DESCRIBED: [(&str, &str); 2] =
    [("code", "`ok` or an [error code](api.md#errors)"), ("reason", "[see below](#reasons)")];

const GROUPS: [(&str, &[&str]); 7] = [
    ("Requests", &["http_", "tls_"]),
    ("Authentication", &["auth_", "jwks_"]),
    ("Cache", &["cache_", "token_"]),
    ("Shared tier", &["shared_"]),
    ("Juspay", &["customer_", "upstream_"]),
    ("Process, secrets and logs", &["build_", "secret_", "log_", "trace_"]),
    ("Operating system", &["process_"]),
];

#[derive(Default, Debug)]
struct Metric {
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The metrics of a service whose settings make all of them appear, in order of their names.
async fn metrics() -> BTreeMap<String, Metric> {
    let stage = Stage::set().await;
    let files = tempfile::tempdir().unwrap();
    let [certificate, key] = Authority::new().server(2030).write(files.path());
    let (secret, revocations) = (files.path().join("secret"), files.path().join("revocations"));
    fs::write(&secret, guard::CLIENT_SECRET).unwrap();
    let next_key = files.path().join("next");
    fs::write(&next_key, &stage.api_key).unwrap();
    fs::write(&revocations, r#"{"revocations": []}"#).unwrap();
    let settings = format!(
        "auth.shared_customer_ids = true
        auth.revocations_file = '{revocations}'
        juspay.api_key_next_file = '{next}'
        juspay.create_missing_customers = true
        server.tls = {{ cert_file = '{cert}', key_file = '{key}' }}
        [auth.issuers.opaque]
        issuer = 'https://opaque.example'
        audiences = ['a']
        introspection_url = '{url}'
        introspection_client_id = 'client'
        introspection_client_secret_file = '{secret}'",
        revocations = revocations.display(),
        next = next_key.display(),
        cert = certificate.display(),
        key = key.display(),
        url = stage.issuer().introspection_url(),
        secret = secret.display(),
    );
    let world = stage.open_ready(&settings).await;
    let series = "juspay_bff_tls_certificate_not_after_timestamp_seconds{certificate=\"server\"}";
    until("the certificate's file is read", async || {
        world.admin().get("/metrics").await.text().contains(series)
    })
    .await;
    let mut metrics = parse(&world.admin().get("/metrics").await.text());
    // Some gauges appear with Juspay's first response.
    let world = World::new().await;
    assert_eq!(world.client("alice").me().await.status, 200);
    for (name, metric) in parse(&world.admin().get("/metrics").await.text()) {
        metrics.entry(name).or_insert(metric);
    }
    metrics
}

fn parse(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::<String, Metric>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            name.clone_into(&mut current);
            help.clone_into(&mut metrics.entry(current.clone()).or_default().help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
        {
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
        } else if let Some((_, labels)) =
            line.rsplit_once("} ").and_then(|(series, _)| series.split_once('{'))
        {
            let metric = metrics.get_mut(&current).expect("HELP comes first");
            for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
                let value = value.trim_matches('"').to_owned();
                if label != "le" {
                    metric.labels.entry(label.to_owned()).or_default().insert(value);
                }
            }
        }
    }
    metrics
}

fn labels(metric: &Metric) -> String {
    let values = |(label, values): (&String, &BTreeSet<String>)| {
        let fixed = OPEN_LABELS.iter().chain(&DESCRIBED).find(|(name, _)| name == label);
        let values = fixed.map_or_else(
            || values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
            |(_, described)| (*described).to_owned(),
        );
        format!("`{label}`: {values}")
    };
    metric.labels.iter().map(values).collect::<Vec<_>>().join("; ")
}

fn table(metrics: &BTreeMap<String, Metric>, by_hand: &BTreeMap<String, String>) -> String {
    let generated = metrics.iter().filter(|(name, _)| !BY_HAND.contains(&name.as_str()));
    let mut rows = by_hand.clone();
    rows.extend(generated.map(|(name, metric)| {
        let row = format!("| `{name}` | {} | {} | {} |", metric.kind, labels(metric), metric.help);
        (name.clone(), row)
    }));
    let mut text = String::new();
    for (title, prefixes) in GROUPS {
        writeln!(text, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|")
            .unwrap();
        for (name, row) in &rows {
            let short = name.strip_prefix("juspay_bff_").unwrap_or(name);
            if prefixes.iter().any(|prefix| short.starts_with(prefix)) {
                writeln!(text, "{row}").unwrap();
            }
        }
    }
    text + "\n"
}

/// Only a build with a cargo feature has these, so their rows are written by hand. `tests/traces` and
/// `tests/shared` compare them with the code.
const BY_HAND: [&str; 4] = [
    "juspay_bff_shared_request_duration_seconds",
    "juspay_bff_shared_requests_total",
    "juspay_bff_shared_state",
    "juspay_bff_trace_spans_lost_total",
];

/// The rows of these metrics in the document.
fn rows_by_hand(document: &str) -> BTreeMap<String, String> {
    let row = |name: &&str| {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        ((*name).to_owned(), row.unwrap_or_else(|| panic!("no row of {name}")).to_owned())
    };
    BY_HAND.iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn docs_metrics_is_current() {
    let metrics = metrics().await;
    let name = Path::new("docs/metrics.md");
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_default();
    let (head, rest) = document.split_once(BEGIN).expect("the start of the generated part");
    let (generated, tail) = rest.split_once(END).expect("the end of the generated part");
    let expected = table(&metrics, &rows_by_hand(generated));
    if generated != expected {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.md");
        fs::write(&new, format!("{head}{BEGIN}{expected}{END}{tail}")).expect("a directory");
        panic!("docs/metrics.md is stale: cp {} {}", new.display(), name.display());
    }
    for (metric, label) in [
        ("juspay_bff_auth_failures_total", "reason"),
        ("juspay_bff_upstream_requests_total", "outcome"),
        ("juspay_bff_cache_requests_total", "outcome"),
        ("juspay_bff_customer_creations_total", "outcome"),
    ] {
        for value in &metrics[metric].labels[label] {
            let row = format!("\n| `{value}` |");
            assert!(tail.contains(&row), "docs/metrics.md explains no {label} {value} of {metric}");
        }
    }
    for metric in metrics.keys() {
        assert!(generated.contains(&format!("\n| `{metric}` |")), "{metric} is in no group");
    }
}
