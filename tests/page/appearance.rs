//! The page's layout on large and small screens, in light and dark mode, and its accessibility
//! (axe-core's rules). The pictures are in `target/page`.

use simulator::{Fault, FaultRule, TokenFault};

use crate::{browser::Browser, opened::Opened, support::World};

/// npm's axe-core.
const AXE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/node_modules/axe-core/axe.min.js");

/// Some seconds of a small merchant's traffic, so that the page has numbers.
async fn traffic(world: &World, browser: &mut Browser) {
    let always = |fault, customer| world.simulator().inject(FaultRule::always(fault).of(customer));
    for (customer, seconds) in [("customer-2", 45), ("customer-5", 200), ("customer-8", 400)] {
        always(Fault::Token(TokenFault::Life { seconds }), customer);
    }
    for (customer, ms) in [("customer-3", 180), ("customer-6", 40), ("customer-11", 70)] {
        always(Fault::Latency { ms }, customer);
    }
    for second in [2_u32, 5, 9, 6, 12, 17, 14, 8, 11, 19] {
        for number in 0..second * 4 {
            world.client(&format!("customer-{}", number % (second * 2))).me().await;
        }
        if second > 10 {
            world.client("sim_not_found").me().await;
        }
        if second == 17 {
            world.client("sim_html").me().await;
        }
        world.client_with_token("expired").me().await;
        let note = browser.text("#rate-note").await;
        browser
            .until(&format!("document.querySelector('#rate-note').innerText !== '{note}'"))
            .await;
    }
}

/// axe-core finds no violation.
pub async fn assert_accessible(browser: &mut Browser, what: &str) {
    let axe = std::fs::read_to_string(AXE).expect("tests/page/run gets it");
    browser.evaluate(&axe).await;
    let found = "axe.run().then(({ violations }) => violations.map(({ id, nodes }) =>
        [id, ...nodes.map((node) => node.html + ' ' + node.failureSummary)]))";
    let found = browser.evaluate(found).await;
    assert_eq!(found, serde_json::json!([]), "{what}: {found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_is_accessible_at_every_size_and_color_scheme() {
    let mut opened = Opened::with("").await;
    let browser = &mut opened.browser;
    traffic(&opened.world, browser).await;
    for (device, width, height, mobile) in [("desk", 1120, 800, false), ("phone", 360, 740, true)] {
        browser.resize(width, height, mobile).await;
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            let name = format!("{scheme}-{device}");
            browser.picture(&name).await;
            browser.evaluate("document.querySelector('details').open = true").await;
            let root = "document.documentElement";
            let hidden = format!("{root}.scrollWidth - {root}.clientWidth");
            assert_eq!(browser.evaluate(&hidden).await, 0, "{name} scrolls sideways");
            assert_accessible(browser, &name).await;
            browser.evaluate("document.querySelector('details').open = false").await;
        }
    }
    opened.browser.close().await;
}
