//! The page in a browser. The page uses the real clock, and, where that matters, the service does
//! too.

use std::net::SocketAddr;

use juspay_bff::clock::SystemClock;

use crate::{
    browser::Browser,
    support::{Stage, World},
};

/// The service and the browser.
pub struct Opened {
    pub world: World,
    pub browser: Browser,
}

impl Opened {
    /// Opens the page, and waits for its first numbers.
    pub async fn with(settings: &str) -> Self {
        Self::beside(world(settings).await).await
    }

    /// The page of this world's service.
    pub async fn beside(world: World) -> Self {
        let browser = open(world.service.admin).await;
        let mut opened = Self { world, browser };
        opened.browser.until(LIVE).await;
        opened
    }

    /// Waits until the page shows this number of requests, and with it all metrics of the same
    /// update.
    pub async fn until_shown(&mut self, requests: u32) {
        let note = format!("{requests} since start");
        let shows = format!("document.querySelector('#rate-note').textContent === '{note}'");
        self.browser.until(&shows).await;
    }

    /// The cells of the row with this heading, in the table with this id.
    pub async fn row(&mut self, table: &str, heading: &str) -> Vec<String> {
        row(&mut self.browser, table, heading).await
    }
}

/// Whether the page shows current metrics.
pub const LIVE: &str = "document.body.dataset.state === 'live'";

/// A world whose service uses the real clock.
pub async fn world(settings: &str) -> World {
    let stage = Stage::set_with(|simulator| simulator.clock = SystemClock::shared()).await;
    stage.open_ready(settings).await
}

/// A browser that has just opened this listener's page.
pub async fn open(admin: SocketAddr) -> Browser {
    let mut browser = Browser::start().await;
    browser.open(&format!("http://{admin}/")).await;
    browser
}

/// Like [`Opened::row`]; empty if there is no such row.
pub async fn row(browser: &mut Browser, table: &str, heading: &str) -> Vec<String> {
    let cells = format!(
        "[...document.querySelectorAll('#{table} tbody tr')]
            .filter((row) => row.cells[0].textContent === '{heading}')
            .flatMap((row) => [...row.cells].slice(1).map((cell) => cell.textContent))"
    );
    let cells = browser.evaluate(&cells).await;
    cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

/// A condition: this row has this text in this cell; the heading is cell 0.
pub fn cell_is(table: &str, heading: &str, cell: usize, text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#{table} tbody tr')].some((row) =>
            row.cells[0].textContent === '{heading}' && row.cells[{cell}].textContent === '{text}')"
    )
}
