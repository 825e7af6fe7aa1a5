//! Log lines that can't be written to standard output are dropped and counted; requests are still
//! served.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::support::{
    Reply,
    process::{Process, bff, bff_in_shell},
    until, with_timeout,
};

/// RFC 7517, appendix A.1, for signatures.
const KEY_SET: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// `serve` on unix sockets, whose addresses need not be read from its log.
struct Serving {
    process: Process,
    directory: TempDir,
}

fn settings(directory: &Path) -> PathBuf {
    let here = directory.display();
    std::fs::write(directory.join("keys"), KEY_SET).unwrap();
    let text = format!(
        r#"
        server.listen = "unix:{here}/public"
        server.admin_listen = "unix:{here}/admin"
        server.shutdown_delay = "0s"
        juspay = {{ base_url = "http://127.0.0.1:9", merchant_id = "m", api_key = "canary_inline" }}
        [auth.issuers.main]
        issuer = "https://id.example"
        audiences = ["a"]
        algorithms = ["ES256"]
        jwks_file = "{here}/keys"
        "#
    );
    let file = directory.join("settings.toml");
    std::fs::write(&file, text).unwrap();
    file
}

impl Serving {
    /// Starts the process. Its standard output is read here, or redirected by the shell.
    fn start(redirection: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(directory.path());
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let process = Process::start(match redirection {
            None => bff(&arguments),
            Some(to) => bff_in_shell(&format!("exec \"$@\" {to}"), &arguments),
        });
        Self { process, directory }
    }

    async fn get(&self, listener: &str, target: &str) -> std::io::Result<Reply> {
        let mut stream = UnixStream::connect(self.directory.path().join(listener)).await?;
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        with_timeout("a response", stream.read_to_end(&mut bytes)).await?;
        Ok(Reply::parse(&bytes).expect("a response"))
    }

    async fn until_ready(&self) {
        until("it is ready", async || {
            self.get("admin", "/readyz").await.is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }

    /// Sends requests without a token, each with one log line.
    async fn requests(&self, number: usize) {
        for _ in 0..number {
            assert_eq!(self.get("public", "/me/customer").await.unwrap().status, 401);
        }
    }

    async fn until_lost(&self, lines: usize) {
        let line = format!("\njuspay_bff_log_lines_lost_total {lines}\n");
        until(&line, async || self.get("admin", "/metrics").await.unwrap().text().contains(&line))
            .await;
    }
}

/// Number of lines that are logged at the start.
async fn lines_of_a_start() -> usize {
    let mut serving = Serving::start(None);
    serving.until_ready().await;
    serving.requests(1).await;
    serving.process.line_with("\"missing_token\"").await;
    let lines = serving.process.stdout.lines().count() - 1;
    assert_eq!(serving.process.terminate().await, Some(0));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_counted_when_the_reader_has_closed_standard_output() {
    let mut serving = Serving::start(None);
    serving.until_ready().await;
    serving.requests(1).await;
    serving.process.line_with("\"missing_token\"").await;
    serving.until_lost(0).await;
    serving.process.close_stdout();
    for lost in 1..=5 {
        serving.requests(1).await;
        serving.until_lost(lost).await;
    }
    assert_eq!(serving.process.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_counted_when_the_disk_is_full() {
    let of_a_start = lines_of_a_start().await;
    let mut serving = Serving::start(Some("> /dev/full"));
    serving.until_ready().await;
    serving.requests(5).await;
    serving.until_lost(of_a_start + 5).await;
    serving.requests(1).await;
    serving.until_lost(of_a_start + 6).await;
    assert_eq!(serving.process.terminate().await, Some(0));
}
