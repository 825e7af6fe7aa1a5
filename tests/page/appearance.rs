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
            let client = world.client(&format!("customer-{}", number % (second * 2)));
            if number < second / 2 {
                client.request("POST", "/me/prepare", "Content-Length: 0\r\n").await;
            } else if number < second * 2 {
                client.get("/me/sdk-payload?action=process").await;
            } else {
                client.me().await;
            }
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

/// The words of codes and of the attention list that extend over two lines. A code may break after an
/// underscore.
const BROKEN_WORDS: &str = "(() => {
    const texts = document.createTreeWalker(document.querySelector('#page'), NodeFilter.SHOW_TEXT);
    const broken = [];
    while (texts.nextNode()) {
        const text = texts.currentNode;
        if (!text.parentElement.closest('tbody th, #warnings, #runbooks td code')) continue;
        for (const word of text.textContent.matchAll(/[^\\s_]+/g)) {
            const range = document.createRange();
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            if (range.getClientRects().length > 1) broken.push(word[0]);
        }
    }
    return broken;
})()";

fn all_details(open: &str) -> String {
    format!("document.querySelectorAll('#page details').forEach((it) => {{ it.open = {open}; }})")
}

/// The position of each card, and the names in the tables of counts.
const CARDS: &str = "[...document.querySelectorAll('.cards section')].map((card) => [
    card.querySelector('h2').innerText, card.getBoundingClientRect().left,
    ...[...card.querySelectorAll(':is(#answers, #calls, #lookups) tbody th')].map((it) => it.innerText)])";

#[tokio::test(flavor = "multi_thread")]
async fn cards_and_rows_keep_their_order_as_numbers_change() {
    let mut opened = Opened::with("").await;
    for count in [3, 5] {
        for (customer, requests) in [("alice", 1), ("sim_not_found", count)] {
            for _ in 0..requests {
                opened.world.client(customer).me().await;
            }
        }
        opened.world.anonymous().me().await;
    }
    opened.until_shown(12).await;
    let before = opened.browser.evaluate(CARDS).await;
    let codes = ["Responses", "200 ok", "401 missing_token", "404 customer_not_found"];
    let shown: Vec<_> = before[0].as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
    assert_eq!(shown, codes, "in the order of their names");
    // The largest count changes, and a card grows by many rows.
    for _ in 0..20 {
        opened.world.client("alice").me().await;
    }
    opened.until_shown(32).await;
    let after = opened.browser.evaluate(CARDS).await;
    assert_eq!(after, before);
    let grow = "document.querySelector('#calls').style.height = '100rem'";
    opened.browser.evaluate(grow).await;
    assert_eq!(opened.browser.evaluate(CARDS).await, before);
    opened.browser.close().await;
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
    let mut opened = Opened::with("sdk = { profile = \"ec\", environment = \"sandbox\" }").await;
    let browser = &mut opened.browser;
    traffic(&opened.world, browser).await;
    for (device, width, height, mobile) in [("desk", 1120, 800, false), ("phone", 360, 740, true)] {
        browser.resize(width, height, mobile).await;
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            let name = format!("{scheme}-{device}");
            browser.picture(&name).await;
            browser.evaluate(&all_details("true")).await;
            let root = "document.documentElement";
            let hidden = format!("{root}.scrollWidth - {root}.clientWidth");
            assert_eq!(browser.evaluate(&hidden).await, 0, "{name} scrolls sideways");
            assert_eq!(browser.evaluate(BROKEN_WORDS).await, serde_json::json!([]), "{name}");
            assert_accessible(browser, &name).await;
            browser.evaluate(&all_details("false")).await;
        }
    }
    opened.browser.close().await;
}
