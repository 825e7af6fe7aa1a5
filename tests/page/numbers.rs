//! The page's numbers are those that the client and the simulator have counted, and it shows no
//! secret.

use juspay_bff::{COMMIT, VERSION};

use crate::{
    opened::{Opened, cell_is},
    support::World,
};

/// Requests of every kind: 4 responses with 200, of which 2 from the cache, and 3 errors.
async fn requests(world: &World) {
    let alice = world.client("alice");
    for _ in 0..3 {
        assert_eq!(alice.me().await.status, 200);
    }
    assert_eq!(world.client("bob").me().await.status, 200);
    assert_eq!(world.client("sim_not_found").me().await.status, 404);
    for _ in 0..2 {
        assert_eq!(world.anonymous().me().await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_match_those_of_client_and_simulator() {
    let mut opened = Opened::with("").await;
    requests(&opened.world).await;
    opened.until_shown(7).await;
    let calls = opened.world.simulator().total_requests().to_string();
    assert_eq!(calls, "3");
    for (table, heading, cells) in [
        ("answers", "200 ok", ["4", "4"]),
        ("answers", "401 missing_token", ["2", "2"]),
        ("answers", "404 customer_not_found", ["1", "1"]),
        ("lookups", "hit", ["2", "2"]),
        ("lookups", "miss", ["3", "3"]),
        ("calls", "success", ["2", "2"]),
        ("calls", "not_found", ["1", "1"]),
        ("handouts", "up to 15 min", ["", "4"]),
    ] {
        assert_eq!(opened.row(table, heading).await, cells, "{table} {heading}");
    }
    let figures = [
        ("#failed", "0.0 %"),
        ("#failed-note", "5xx; 4xx 42.9 %; last minute"),
        ("#hits", "40.0 %"),
        ("#hits-note", "40.0 % with no call of their own; last minute"),
        ("#breaker", "Closed"),
        ("#warnings", "Nothing needs attention."),
    ];
    for (selector, text) in figures {
        assert_eq!(opened.browser.text(selector).await, text, "{selector}");
    }
    let tokens = "[...document.querySelectorAll('#tokens dd')].map((it) => it.innerText)";
    let tokens = opened.browser.evaluate(tokens).await;
    assert_eq!(tokens, serde_json::json!(["2", "0", "10 responses"]));
    let p99 = opened.browser.text("#p99").await;
    assert!(p99.ends_with(" ms") || p99.ends_with(" s"), "{p99}");
    let host = host();
    let juspay = opened.world.simulator().base_url();
    let who = format!("{host} · {VERSION} · {COMMIT} · sim_merchant at {juspay}");
    assert_eq!(opened.browser.text("#who").await, who);
    assert_eq!(opened.browser.evaluate("document.title").await, format!("{host} juspay-bff"));
    // The sweep counts remaining lives every five seconds.
    opened.browser.until(&cell_is("lives", "≥ 10 min", 2, "2")).await;
    assert_eq!(opened.browser.text("#cover").await, "≥ 10 min");
    let keys = opened.row("keysets", "main").await;
    assert_eq!((&*keys[0], &*keys[2]), ("1", "0"));
    assert!(keys[1].ends_with(" s"), "an age: {}", keys[1]);

    // More traffic, and the page updates itself.
    for _ in 0..5 {
        opened.world.client("alice").me().await;
    }
    opened.until_shown(12).await;
    assert_eq!(opened.row("answers", "200 ok").await, ["9", "9"]);
    assert_eq!(opened.row("lookups", "hit").await, ["7", "7"]);
    opened.browser.close().await;
}

/// In a pod, `HOSTNAME` is the pod's name.
fn host() -> String {
    std::env::var("HOSTNAME")
        .unwrap_or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap())
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_by_route_and_failed_share_of_the_routes_that_return_tokens() {
    let mut opened = Opened::with("sdk = { profile = \"ec\", environment = \"sandbox\" }").await;
    let payload = "/me/sdk-payload?action=process";
    assert_eq!(opened.world.client("alice").get(payload).await.status, 200);
    assert_eq!(opened.world.client("sim_500").get(payload).await.status, 502);
    for _ in 0..6 {
        let alice = opened.world.client("alice");
        let reply = alice.request("POST", "/me/prepare", "Content-Length: 0\r\n").await;
        assert_eq!(reply.status, 202);
    }
    opened.until_shown(8).await;
    assert_eq!(opened.row("routes", "/me/sdk-payload").await, ["2", "2"]);
    assert_eq!(opened.row("routes", "/me/prepare").await, ["6", "6"]);
    assert!(opened.row("routes", "/me/customer").await.is_empty(), "no requests");
    assert_eq!(opened.row("answers", "202 ok").await, ["6", "6"]);
    assert_eq!(opened.browser.text("#failed").await, "50.0 %");
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_requests_count_as_requests_with_no_call_of_their_own() {
    let mut opened = Opened::with("").await;
    let gate = opened.world.simulator().hold("alice");
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let client = opened.world.client("alice");
            tokio::spawn(async move { client.me().await })
        })
        .collect();
    opened.world.until_waiting(4).await;
    gate.release();
    for reply in waiting {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    opened.until_shown(4).await;
    assert_eq!(opened.row("lookups", "joined").await, ["3", "3"]);
    assert_eq!(opened.browser.text("#hits").await, "0.0 %");
    let note = "75.0 % with no call of their own; last minute";
    assert_eq!(opened.browser.text("#hits-note").await, note);
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_page_shows_settings_but_no_secret_and_no_customer() {
    let mut opened = Opened::with("").await;
    requests(&opened.world).await;
    opened.until_shown(7).await;
    let settings = opened.browser.evaluate("document.querySelector('#settings').textContent").await;
    let in_force = opened.world.admin().get("/settings").await.text();
    assert_eq!(settings.as_str(), Some(&*in_force));
    assert!(in_force.contains("api_key = \"********\""), "{in_force}");
    let all = opened.browser.evaluate("document.documentElement.outerHTML").await;
    let all = all.as_str().unwrap();
    assert!(all.contains("Calls to Juspay"));
    for secret in [&*opened.world.api_key, "tkn_", "eyJ", "alice", "bob", "sim_not_found", "cst_"] {
        assert!(!all.contains(secret), "{secret} is on the page");
    }
    opened.browser.close().await;
}

/// Tracks the timers that the page waits for.
const WATCH_TIMERS: &str = "
    window.timers = new Set();
    const [set, clear] = [window.setTimeout, window.clearTimeout];
    window.setTimeout = (then, ms) => {
        const timer = set(() => { timers.delete(timer); then(); }, ms);
        timers.add(timer);
        return timer;
    };
    window.clearTimeout = (timer) => { timers.delete(timer); clear(timer); };";

fn hide(hidden: bool) -> String {
    format!(
        "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }});
         document.dispatchEvent(new Event('visibilitychange'));"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_tab_stops_polling_until_it_is_visible() {
    let mut opened = Opened::with("").await;
    opened.browser.evaluate(WATCH_TIMERS).await;
    requests(&opened.world).await;
    opened.until_shown(7).await;
    assert_eq!(opened.browser.evaluate("timers.size").await, 1, "the next update");

    opened.browser.evaluate(&hide(true)).await;
    opened.browser.until("document.querySelector('#word').textContent === 'Paused'").await;
    assert_eq!(opened.browser.evaluate("timers.size").await, 0, "no update scheduled");
    requests(&opened.world).await;
    assert_eq!(opened.browser.text("#rate-note").await, "7 since start");

    opened.browser.evaluate(&hide(false)).await;
    opened.until_shown(14).await;
    assert_eq!(opened.browser.text("#word").await, "Ready");
    assert_eq!(opened.browser.evaluate("timers.size").await, 1);
    opened.browser.close().await;
}
