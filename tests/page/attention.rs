//! Each attention rule of the page, tested with replaced metrics: it applies just beyond its limit,
//! and not at the limit. Metrics that a case does not name are the service's own.

mod cases;

use std::collections::BTreeSet;

use self::cases::CASES;
use crate::opened::Opened;

/// Lets a test replace metrics: each line of `replaced` stands for all series of its name.
const REPLACE_METRICS: &str = "(() => {
    window.replaced = [];
    window.kept = () => true;
    window.first = false;
    const name = (line) => /^\\w*/.exec(line)[0];
    const original = window.fetch;
    window.fetch = async (path, options) => {
        const reply = await original(path, options);
        if (path !== 'metrics') return reply;
        const text = await reply.text();
        // An update that was already in progress may have been counted before.
        if (first) looks = [];
        first = false;
        const names = new Set(replaced.map(name));
        const lines = text.split('\\n').filter((line) => !names.has(name(line)) && kept(name(line)));
        const date = reply.headers.get('date');
        const at = (_, seconds) => Date.parse(date) / 1000 + Number(seconds);
        const made = replaced.map((line) => line.replace(/now([+-]\\d+)$/, at));
        return new Response([...lines, ...made].join('\\n'), { headers: { date } });
    };
})()";

fn responses(route: &str, status: &str, code: &str, count: &str) -> String {
    format!(
        "juspay_bff_http_requests_total{{code=\"{code}\",route=\"{route}\",status=\"{status}\"}} {count}"
    )
}

/// The line of `/metrics` for a case's line.
fn series(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        [status, code, count] => responses("/me/customer", status, code, count),
        [route, status, code, count] => responses(route, status, code, count),
        _ => format!("juspay_bff_{line}"),
    }
}

/// Replaces these metrics, and waits until the page has evaluated them as its first update. The
/// number of the update is shown as the number of connections.
async fn show(opened: &mut Opened, update: u32, metrics: &[&str]) {
    let lines: Vec<_> = metrics.iter().map(|line| series(line)).collect();
    let lines = serde_json::to_string(&lines).unwrap();
    let replace = format!(
        "replaced = {lines}; replaced.push('juspay_bff_http_connections {update}'); first = true"
    );
    opened.browser.evaluate(&replace).await;
    let shown = format!(
        "(window.look(), [...document.querySelectorAll('#load dd')].some((it) => it.textContent === '{update}'))"
    );
    opened.browser.until(&shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_apply_beyond_their_limit_and_not_at_it() {
    let mut opened = Opened::with("").await;
    opened.browser.evaluate(REPLACE_METRICS).await;
    let mut update = 100;
    // Readiness isn't a metric; `faults` tests it.
    let mut tested = BTreeSet::from(["see JuspayBffKeySetMissing page".to_owned()]);
    for (alert, severity, text, wrong, right) in CASES.iter().copied().flatten() {
        let sign = if *severity == "page" { "▲" } else { "△" };
        let line = &*format!("{sign} {text} {alert}");
        for (metrics, expected) in [(wrong, true), (right, false)] {
            update += 1;
            show(&mut opened, update, metrics).await;
            let lines = "[...document.querySelectorAll('#warnings li')].map((it) => it.innerText)";
            let lines = opened.browser.evaluate(lines).await;
            let shown = lines.as_array().unwrap().iter().any(|it| it.as_str() == Some(line));
            assert_eq!(shown, expected, "{line}: {metrics:?} gives {lines}");
        }
        tested.insert(format!("{alert} {severity}"));
    }
    let rules =
        "RULES.map(({ alert, runbook, severity }) => `${alert ?? `see ${runbook}`} ${severity}`)";
    let rules = opened.browser.evaluate(rules).await;
    let rules: BTreeSet<_> =
        rules.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    assert_eq!(tested, rules);
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_opens_its_runbook_on_the_page() {
    let mut opened = Opened::with("").await;
    opened.browser.evaluate(REPLACE_METRICS).await;
    let problems =
        ["502 upstream_rejected_credentials 1", "cache_requests_total{outcome=\"outage\"} 1"];
    show(&mut opened, 101, &problems).await;
    for (link, runbook, text) in [
        ("JuspayBffKeyRejected", "juspaybffkeyrejected", "Juspay returns 401"),
        (
            "see JuspayBffRefreshesFail",
            "juspaybffrefreshesfail",
            "a fifth of the background refreshes",
        ),
    ] {
        assert_eq!(
            opened.browser.evaluate("document.querySelector('#runbooks').open").await,
            false
        );
        let click = format!(
            "[...document.querySelectorAll('#warnings a')].find((it) => it.innerText === '{link}').click()"
        );
        opened.browser.evaluate(&click).await;
        assert_eq!(opened.browser.evaluate("location.hash").await, format!("#{runbook}"));
        let shown = opened.browser.text(&format!("#{runbook}")).await;
        assert!(shown.contains(text), "{shown}");
        let shown = format!("document.querySelector('#{runbook}').getBoundingClientRect().top");
        opened.browser.until(&format!("{shown} > -1 && {shown} < innerHeight")).await;
        opened.browser.evaluate("document.querySelector('#runbooks').open = false").await;
    }
    // A link from one runbook to another; the text of a link to a file of the repository stays.
    opened.browser.evaluate("document.querySelector('#juspaybffunserved').open = true").await;
    opened.browser.evaluate("document.querySelector('#juspaybffunserved a').click()").await;
    opened
        .browser
        .until("document.querySelector('#juspaybffkeysunavailable p').checkVisibility()")
        .await;
    let rotation = opened.browser.text("#juspaybffkeyrejected").await;
    assert!(rotation.contains("(rotation)"), "{rotation}");
    let broken = "[...document.querySelectorAll('a')].map((it) => it.getAttribute('href'))
        .filter((href) => !document.querySelector(href))";
    assert_eq!(opened.browser.evaluate(broken).await, serde_json::json!([]));
    let links = "RULES.every(({ alert, runbook }) => document.getElementById((alert ?? runbook).toLowerCase()))";
    assert_eq!(opened.browser.evaluate(links).await, true);
    opened.browser.picture("runbook").await;
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_tier_is_shown_if_it_is_set_up() {
    let mut opened = Opened::with("").await;
    opened.browser.evaluate(REPLACE_METRICS).await;
    let visible = "document.querySelector('#shared-tier').checkVisibility()";
    show(&mut opened, 101, &[]).await;
    assert_eq!(opened.browser.evaluate(visible).await, false);
    let metrics = [
        "shared_state{state=\"connected\"} 0",
        "shared_state{state=\"partly_connected\"} 1",
        "shared_requests_total{outcome=\"found\"} 7",
        "shared_requests_total{outcome=\"refused\"} 0",
        "shared_request_duration_seconds_bucket{le=\"0.001\"} 10",
        "shared_request_duration_seconds_bucket{le=\"+Inf\"} 10",
        "cache_requests_total{outcome=\"hit\"} 1",
        "cache_requests_total{outcome=\"shared\"} 1",
        "cache_requests_total{outcome=\"miss\"} 2",
    ];
    show(&mut opened, 102, &metrics).await;
    assert_eq!(opened.browser.evaluate(visible).await, true);
    let card = opened.browser.text("#shared-tier").await;
    assert_eq!(opened.row("shared", "found").await, ["0", "7"]);
    assert!(opened.row("shared", "refused").await.is_empty());
    assert!(card.contains("partly connected") && card.contains("0.5 ms"), "{card}");
    opened.browser.picture("shared-tier").await;
    assert_eq!(opened.browser.text("#hits").await, "25.0 %");
    let note = "50.0 % with no call of their own; since start";
    assert_eq!(opened.browser.text("#hits-note").await, note);
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_or_absent_series_cause_no_warning() {
    let mut opened = Opened::with("").await;
    opened.browser.evaluate(REPLACE_METRICS).await;
    let zeros = [
        "200 ok 0",
        "401 invalid_token 0",
        "500 internal_error 0",
        "503 keys_unavailable 0",
        "http_request_duration_seconds_bucket{route=\"/me/customer\",le=\"1\"} 0",
        "http_request_duration_seconds_count{route=\"/me/customer\"} 0",
        "upstream_requests_total{outcome=\"timeout\"} 0",
        "cache_requests_total{outcome=\"outage\"} 0",
        "cache_refreshes_total{outcome=\"failure\"} 0",
        "auth_introspections_total{issuer=\"opaque\",outcome=\"unreachable\"} 0",
        "jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"} 0",
        "jwks_last_success_timestamp_seconds{issuer=\"main\"} 0",
        "secret_last_reload_success_timestamp_seconds{secret=\"api_key\"} 0",
        "tls_certificate_not_after_timestamp_seconds{certificate=\"server\"} 0",
        "upstream_clock_skew_seconds 0",
        "log_lines_lost_total 0",
        "shared_state{state=\"connected\"} 1",
        "shared_state{state=\"disconnected\"} 0",
        "shared_requests_total{outcome=\"unreadable\"} 0",
        "shared_requests_total{outcome=\"timeout\"} 0",
    ];
    show(&mut opened, 101, &zeros).await;
    assert_eq!(opened.browser.text("#warnings").await, "Nothing needs attention.");
    assert_eq!(opened.row("keysets", "main").await[1], "never fetched");

    let only =
        "kept = (name) => ['juspay_bff_build_info', 'process_start_time_seconds'].includes(name)";
    opened.browser.evaluate(only).await;
    show(&mut opened, 102, &[]).await;
    assert_eq!(opened.browser.text("#warnings").await, "Nothing needs attention.");
    assert_eq!(opened.browser.text("#word").await, "Ready");
    assert_eq!(opened.browser.text("#breaker").await, "–");
    opened.browser.close().await;
}
