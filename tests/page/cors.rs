//! The public listener, called by pages of other origins in a real browser (`cors.origins`).

use juspay_bff::clock::SystemClock;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    support::{Stage, World},
};

/// A service that allows the simulator's pages, and a browser with such a page.
async fn opened(origin: impl Fn(&str) -> String) -> (World, Browser) {
    let stage = Stage::set_with(|simulator| simulator.clock = SystemClock::shared()).await;
    let page = stage.simulator().base_url().to_owned();
    let settings = format!(
        "cors.origins = ['{}']\nsdk = {{ profile = 'ec', environment = 'sandbox' }}",
        origin(&page)
    );
    let world = stage.open_ready(&settings).await;
    let mut browser = Browser::start().await;
    browser.open(&format!("{page}/_simulator")).await;
    (world, browser)
}

/// `[status, …]` of a `fetch` with these options, with what the page can read.
async fn fetch(browser: &mut Browser, world: &World, path: &str, options: &Value) -> Value {
    let address = format!("http://{}{path}", world.service.public);
    let script = format!(
        "fetch('{address}', {options}).then(async (it) => ({{
            status: it.status,
            body: await it.text(),
            id: it.headers.get('x-request-id'),
            life: it.headers.get('juspay-token-expires-in'),
            cache: it.headers.get('cache-status'),
            challenge: it.headers.get('www-authenticate'),
            wait: it.headers.get('retry-after'),
        }}), (error) => error.name)"
    );
    browser.evaluate(&script).await
}

fn with_token(world: &World, subject: &str) -> Value {
    let token = world.client(subject).token.unwrap();
    json!({ "headers": {
        "Authorization": format!("Bearer {token}"),
        "Cache-Control": "min-fresh=60",
        "X-Request-Id": "from-the-page",
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn page_of_a_listed_origin_reads_responses_and_their_headers() {
    let (world, mut browser) = opened(str::to_owned).await;
    let options = with_token(&world, "alice");
    let found = fetch(&mut browser, &world, "/me/customer", &options).await;
    assert_eq!((&found["status"], &found["id"]), (&json!(200), &json!("from-the-page")), "{found}");
    assert!(found["body"].as_str().unwrap().contains("\"object_reference_id\":\"alice\""));
    assert!(found["life"].is_string() && found["cache"].as_str().unwrap().contains("uri-miss"));

    let found = fetch(&mut browser, &world, "/me/sdk-payload?action=process", &options).await;
    assert!(found["body"].as_str().unwrap().contains("clientAuthToken"), "{found}");

    let mut prepare = options.clone();
    prepare["method"] = "POST".into();
    assert_eq!(fetch(&mut browser, &world, "/me/prepare", &prepare).await["status"], 202);

    // Errors can be read too.
    let found = fetch(&mut browser, &world, "/me/customer", &json!({})).await;
    assert_eq!(
        (&found["status"], &found["challenge"]),
        (&json!(401), &json!("Bearer realm=\"juspay-bff\""))
    );
    let failing = with_token(&world, "sim_500");
    let found = fetch(&mut browser, &world, "/me/customer", &failing).await;
    assert_eq!(found["status"], 502);
    assert!(
        found["body"].as_str().unwrap().contains("upstream_error") && found["wait"].is_string()
    );
    assert_eq!(fetch(&mut browser, &world, "/elsewhere", &json!({})).await["status"], 404);
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_other_headers_and_methods_are_not_allowed() {
    let (world, mut browser) = opened(str::to_owned).await;
    let mut options = with_token(&world, "alice");
    options["credentials"] = "include".into();
    assert_eq!(fetch(&mut browser, &world, "/me/customer", &options).await, "TypeError");
    let other = json!({ "headers": { "X-Other": "1" } });
    assert_eq!(fetch(&mut browser, &world, "/me/customer", &other).await, "TypeError");
    let other = json!({ "method": "PUT" });
    assert_eq!(fetch(&mut browser, &world, "/me/customer", &other).await, "TypeError");
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_of_another_origin_reads_nothing() {
    // Another host with the same port is another origin.
    let (world, mut browser) = opened(|page| page.replace("127.0.0.1", "localhost")).await;
    let options = with_token(&world, "alice");
    for options in [&options, &json!({})] {
        assert_eq!(fetch(&mut browser, &world, "/me/customer", options).await, "TypeError");
    }
    assert_eq!(world.simulator().calls("alice"), 0, "the browser does not send it");
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_asks_once_for_several_requests() {
    let (world, mut browser) = opened(str::to_owned).await;
    let options = with_token(&world, "alice");
    for _ in 0..3 {
        assert_eq!(fetch(&mut browser, &world, "/me/customer", &options).await["status"], 200);
    }
    let series = |status| {
        format!(
            "juspay_bff_http_requests_total{{code=\"ok\",route=\"/me/customer\",status=\"{status}\"}}"
        )
    };
    for (status, expected) in [(204, 1.0), (200, 3.0)] {
        let count = world.metric(&series(status)).await;
        assert!((count - expected).abs() < f64::EPSILON, "{status}: {count}");
    }
    browser.end().await;
}
