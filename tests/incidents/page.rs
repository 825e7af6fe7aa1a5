//! The admin page of one running service, which is shown the scrapes of others.

use crate::{
    browser::Browser,
    played::{Played, Scrape},
    support::World,
};

/// Replaces the page's requests and clock: `shown` is the next scrape, `at` the time.
const REPLACE: &str = "(() => {
    clearTimeout(timer);
    scheduleNext = () => {};
    window.at = 0;
    performance.now = () => at;
    const original = window.fetch;
    window.fetch = async (path, options) => {
        if (path !== 'metrics' && path !== 'readyz') return original(path, options);
        if (shown === null) throw new TypeError('unreachable');
        return new Response(shown[path], { headers: { date: shown.date } });
    };
    window.showNext = async (next, time) => {
        window.shown = next;
        window.at = time;
        await look();
    };
})()";

pub struct Page {
    world: World,
    browser: Browser,
}

impl Page {
    pub async fn open() -> Self {
        let world = World::new().await;
        let mut browser = Browser::start().await;
        browser.open(&format!("http://{}/", world.service.admin)).await;
        browser.until("document.body.dataset.state === 'live' && !looking").await;
        browser.evaluate(REPLACE).await;
        Self { world, browser }
    }

    /// The attention lines after the incident's minute, each with the alert that its link names.
    pub async fn lines(&mut self, played: &Played) -> Vec<(String, String)> {
        self.browser.evaluate("looks = []").await;
        for (scrape, at) in [(played.before.as_ref(), 0), (played.after.as_ref(), 60_000)] {
            self.show(scrape, at).await;
        }
        let lines = self
            .browser
            .evaluate(
                "[...document.querySelectorAll('#warnings li')].map((line) => {
                    const link = line.querySelector('a')?.innerText ?? '';
                    return [line.innerText.replace(link, '').trim(), link.replace('see ', '')];
                })",
            )
            .await;
        serde_json::from_value(lines).unwrap()
    }

    async fn show(&mut self, scrape: Option<&Scrape>, at: u32) {
        let shown = scrape.map(|scrape| {
            let date = scrape.at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            serde_json::json!({"metrics": scrape.metrics, "readyz": scrape.readiness, "date": date})
        });
        let shown = serde_json::to_string(&shown).unwrap();
        self.browser.evaluate(&format!("showNext({shown}, {at})")).await;
    }

    pub async fn close(self) {
        self.browser.close().await;
        drop(self.world);
    }
}
