//! Access to the page if the admin token is required, and how the page keeps that token.

use crate::{
    appearance::assert_accessible,
    browser::Browser,
    opened::{LIVE, open, world},
};

async fn submit_token(browser: &mut Browser, token: &str) {
    let submit_token = format!(
        "document.querySelector('#token').value = '{token}';
         document.querySelector('button').click();"
    );
    browser.evaluate(&submit_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_off_loopback_requires_the_token_and_hides_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("admin-token");
    std::fs::write(&file, "admin-secret-1").unwrap();
    let world =
        world(&format!("server.admin_listen = \"0.0.0.0:0\"\nserver.admin_token_file = {file:?}"))
            .await;
    let mut browser = open(world.service.admin).await;
    browser.until("document.body.dataset.state === 'signin'").await;
    assert!(browser.text("#signin").await.contains("server.admin_token_file"));
    browser.picture("token").await;
    assert_accessible(&mut browser, "the question for the token").await;
    assert_eq!(browser.evaluate("document.querySelector('#page').checkVisibility()").await, false);
    let shown = browser.text("body").await;
    assert!(!shown.contains("sim_merchant") && !shown.contains("Breaker"), "{shown}");

    submit_token(&mut browser, "wrong").await;
    browser.until("document.querySelector('#refusal').textContent !== ''").await;
    assert_eq!(browser.text("#refusal").await, "This is not the admin token.");
    submit_token(&mut browser, "admin-secret-1").await;
    browser.until(LIVE).await;
    assert_eq!(browser.text("#breaker").await, "Closed");
    assert_eq!(
        browser.evaluate("document.querySelector('#signin').checkVisibility()").await,
        false
    );

    let kept = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage},
        location.href, document.documentElement.outerHTML, document.querySelector('#token').value])";
    let kept = browser.evaluate(kept).await;
    assert!(!kept.as_str().unwrap().contains("admin-secret-1"), "{kept}");
    // The browser reports the 401s. The content security policy must not report anything.
    for error in browser.errors() {
        assert!(error.contains("401 (Unauthorized)"), "{error}");
    }
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_cannot_read_the_settings_or_frame_the_page() {
    let world = world("").await;
    let mut browser = open(world.service.admin).await;
    browser.until(LIVE).await;
    // A page on another port of this machine, the closest possible other origin.
    browser.open(&format!("{}/_simulator", world.simulator().base_url())).await;
    let admin = world.service.admin;
    let tries = format!(
        "Promise.allSettled([
            fetch('http://{admin}/settings').then((it) => it.text()),
            fetch('http://{admin}/settings', {{ mode: 'no-cors' }}),
            new Promise((done, failed) => {{
                const script = document.createElement('script');
                Object.assign(script, {{ src: 'http://{admin}/settings', onload: done, onerror: failed }});
                document.head.append(script);
            }}),
        ]).then((them) => them.map((it) => it.status))"
    );
    let outcomes = browser.evaluate(&tries).await;
    assert_eq!(outcomes, serde_json::json!(["rejected", "rejected", "rejected"]));
    let frame = format!(
        "new Promise((done) => {{
            const frame = document.createElement('iframe');
            Object.assign(frame, {{ src: 'http://{admin}/', onload: done }});
            document.body.append(frame);
        }}).then(() => null)"
    );
    browser.evaluate(&frame).await;
    let refusal = "violates the following Content Security Policy directive: \\\"frame-ancestors";
    let errors = browser.errors();
    assert!(errors.iter().any(|it| it.contains(refusal)), "{errors:#?}");
    browser.end().await;
}
