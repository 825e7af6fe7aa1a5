//! Headless Chromium with one tab, controlled by the `DevTools` protocol over a pair of pipes: JSON
//! messages, each terminated by a NUL.

use std::{path::Path, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::support::with_timeout;

/// It resolves no other host than this machine, and makes no requests of its own.
const FLAGS: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    // Chromium refuses to run as root without this flag, and it loads only our own page.
    "--no-sandbox",
    "--disable-gpu",
    // Overlay scrollbars, as on a phone, so pictures are as wide as the page.
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "about:blank",
];

/// Chromium reads commands from file descriptor 3 and writes responses to 4.
const SCRIPT: &str = "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null";

pub struct Browser {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The id of the tab.
    session: Option<String>,
    last_id: u64,
    events: Vec<Value>,
    child: Child,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let profile_flag = format!("--user-data-dir={}", profile.path().display());
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &profile_flag])
            .args(FLAGS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let (last_id, events) = (0, Vec::new());
        let mut browser =
            Self { orders, answers, session: None, last_id, events, child, _profile: profile };
        let tab = browser.order("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = browser.order("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.order(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Sends this command, and returns the result.
    pub async fn order(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut order = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).await.expect("Chromium runs");
        loop {
            let message = self.message(method).await;
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    async fn message(&mut self, what: &str) -> Value {
        let mut bytes = Vec::new();
        with_timeout(what, self.answers.read_until(0, &mut bytes)).await.unwrap();
        assert_eq!(bytes.pop(), Some(0), "Chromium is there: tests/page/run installs it");
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Opens an address, and waits until it is loaded.
    pub async fn open(&mut self, address: &str) {
        let before = self.loaded();
        self.order("Page.navigate", json!({"url": address})).await;
        while self.loaded() == before {
            let message = self.message(address).await;
            self.events.push(message);
        }
    }

    /// The number of loaded pages.
    fn loaded(&self) -> usize {
        self.events.iter().filter(|event| event["method"] == "Page.loadEventFired").count()
    }

    /// The value of this JavaScript expression, after awaiting promises.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.order("Runtime.evaluate", params).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until this JavaScript condition is true.
    pub async fn until(&mut self, condition: &str) {
        let waiting = format!(
            "new Promise((done) => {{
                const look = () => (({condition}) ? done() : setTimeout(look, 20));
                look();
            }})"
        );
        self.evaluate(&waiting).await;
    }

    /// The rendered text of the first element that matches this selector.
    pub async fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector('{selector}').innerText")).await;
        text.as_str().unwrap().to_owned()
    }

    /// Sets the size of the screen, in CSS pixels.
    pub async fn resize(&mut self, width: u32, height: u32, mobile: bool) {
        let scale = if mobile { 2 } else { 1 };
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile,
        });
        self.order("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets the preferred color scheme: `light` or `dark`.
    pub async fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.order("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Saves a picture of the whole page in `target/page`.
    pub async fn picture(&mut self, name: &str) {
        let whole = json!({"captureBeyondViewport": true});
        let picture = self.order("Page.captureScreenshot", whole).await;
        let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), picture).unwrap();
    }

    /// Errors and warnings of the tab: from its console, its content security policy, and the
    /// network.
    pub fn errors(&self) -> Vec<String> {
        self.events.iter().filter_map(error).collect()
    }

    /// Stops the browser, and asserts that there were no errors or warnings.
    pub async fn close(self) {
        assert_eq!(self.errors(), Vec::<String>::new());
        self.end().await;
    }

    /// Stops the browser, so that its profile can be deleted.
    pub async fn end(mut self) {
        self.session = None;
        self.order("Browser.close", json!({})).await;
        with_timeout("Chromium's end", self.child.wait()).await.unwrap();
    }
}

fn error(event: &Value) -> Option<String> {
    let params = &event["params"];
    let bad = |level: &Value| matches!(level.as_str(), Some("error" | "warning" | "assert"));
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if bad(&params["type"]) => Some(params["args"].to_string()),
        "Log.entryAdded" if bad(&params["entry"]["level"]) => Some(params["entry"].to_string()),
        _ => None,
    }
}
