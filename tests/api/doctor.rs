//! `juspay-bff doctor`, with the real binary: every line that an operator sees, and the exit code.
//!
//! `keys` tests API keys, clocks and the life of tokens, `network` the connection to Juspay,
//! `issuers` the issuers of access tokens, and `machine` the checks of this machine.

mod issuers;
mod keys;
mod machine;
mod network;

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use simulator::Running;
use tempfile::TempDir;

use crate::support::process::{Ended, bff, run};

/// A simulator with an issuer, and matching settings that a test can change.
struct Setup {
    running: Running,
    files: TempDir,
    api_key: String,
}

/// The exit code and output of `doctor`.
struct DoctorOutput {
    code: Option<i32>,
    stdout: String,
}

impl Setup {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a simulator with other settings.
    async fn with(alter: impl FnOnce(&mut simulator::Config)) -> Self {
        let api_key = format!("canary_{:032x}", rand::random::<u128>());
        let mut config = simulator::Config::on_free_ports();
        config.api_keys = vec![api_key.as_str().into()];
        config.provision = false;
        alter(&mut config);
        let running = simulator::start(config).await.expect("free ports");
        let setup = Self { running, files: tempfile::tempdir().unwrap(), api_key };
        setup.secret("key", &setup.api_key);
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a file that only its owner can read.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn settings(&self) -> String {
        format!(
            r#"
            server.listen = "127.0.0.1:8080"
            server.admin_listen = "127.0.0.1:9464"
            [juspay]
            base_url = "{}"
            merchant_id = "{}"
            api_key_file = "{}"
            [auth.issuers.main]
            issuer = "{}"
            audiences = ["juspay-bff-demo"]
            algorithms = ["ES256"]
            discovery = true
            "#,
            self.running.simulator().base_url(),
            self.running.simulator().merchant(),
            self.path("key").display(),
            self.running.issuer().issuer_url(),
        )
    }

    async fn doctor(&self) -> DoctorOutput {
        self.doctor_with("", &[]).await
    }

    /// Runs `doctor` with flags, and with settings that override the usual ones.
    async fn doctor_with(&self, over: &str, flags: &[&str]) -> DoctorOutput {
        self.doctor_in(over, flags, &[]).await
    }

    /// Like `doctor_with`, with additional environment variables.
    async fn doctor_in(
        &self,
        over: &str,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> DoctorOutput {
        let files = [("usual.toml", &*self.settings()), ("over.toml", over)];
        let files = files.map(|(name, text)| {
            std::fs::write(self.path(name), text).unwrap();
            self.path(name).to_str().unwrap().to_owned()
        });
        let arguments = [&["doctor", "--config", &files[0], "--config", &files[1]], flags].concat();
        let mut command = bff(&arguments);
        command.envs(variables.iter().copied());
        DoctorOutput::of(run(command).await, &self.api_key)
    }
}

impl DoctorOutput {
    fn of(ended: Ended, api_key: &str) -> Self {
        let Ended { code, stdout, stderr } = ended;
        for secret in [api_key, "tkn_", "canary_"] {
            assert!(!stdout.contains(secret) && !stderr.contains(secret), "{stdout}{stderr}");
        }
        let failures = stdout.lines().filter(|line| line.starts_with("FAILED ")).count();
        let (expected_code, expected) = match failures {
            0 => (Some(0), String::new()),
            1 => (Some(1), "juspay-bff: 1 check failed\n".to_owned()),
            more => (Some(1), format!("juspay-bff: {more} checks failed\n")),
        };
        assert_eq!((code, &*stderr), (expected_code, &*expected), "{stdout}");
        assert!(stdout.ends_with(&format!(" {failures} FAILED\n")), "{stdout}");
        Self { code, stdout }
    }

    /// The lines about `subject`, with one space between columns.
    fn lines(&self, subject: &str) -> Vec<String> {
        let lines = self.stdout.lines().map(|line| {
            let mut words = line.splitn(2, ' ');
            let level = words.next().unwrap_or_default();
            let rest = words.next().unwrap_or_default().trim_start();
            (level.to_owned(), rest.to_owned())
        });
        lines
            .filter_map(|(level, rest)| {
                let found = rest.strip_prefix(subject)?.strip_prefix(' ')?.trim_start();
                Some(format!("{level} {found}"))
            })
            .collect()
    }

    /// Asserts that there is one line about `subject`, which begins with `start` and contains
    /// `parts`.
    #[track_caller]
    fn assert_line(&self, subject: &str, start: &str, parts: &[&str]) {
        let lines = self.lines(subject);
        let [line] = &lines[..] else { panic!("{subject}: {lines:?} in {}", self.stdout) };
        assert!(line.starts_with(start), "{start}: {line}");
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(line.contains("; fix: "), !line.starts_with("ok "), "{line}");
    }

    /// Asserts that this many checks have failed.
    #[track_caller]
    fn assert_failures(&self, failures: usize) {
        let failed = self.stdout.lines().filter(|line| line.starts_with("FAILED ")).count();
        assert_eq!(failed, failures, "{}", self.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_passes() {
    let setup = Setup::new().await;
    let output = setup.doctor().await;
    assert_eq!(output.code, Some(0));
    assert!(output.stdout.ends_with("\n13 ok, 0 warnings, 0 FAILED\n"), "{}", output.stdout);
    let address = setup.running.simulator().base_url().trim_start_matches("http://");
    for (subject, line) in [
        ("settings", "ok valid"),
        ("server.listen", "ok 127.0.0.1:8080: reachable from this machine (or pod) only"),
        ("Juspay DNS 127.0.0.1 IPv4", "ok 127.0.0.1"),
        ("Juspay DNS 127.0.0.1 IPv6", "ok none"),
        (&format!("Juspay TCP {address}"), "ok connected"),
        (&format!("Juspay TLS {address}"), "ok not used: juspay.base_url is plain http"),
        ("Juspay clock", "ok agrees with this machine's"),
        ("issuer main keys", "ok 1 usable for ES256; none ignored"),
        ("issuer main clock", "ok agrees with this machine's"),
    ] {
        assert_eq!(output.lines(subject), [line]);
    }
    // Juspay receives one request, for a customer that doesn't exist, and no write.
    let requests = setup.running.simulator().requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (&*requests[0].method, requests[0].path.starts_with("/customers/juspay-bff-doctor")),
        ("GET", true)
    );
    assert!(setup.running.issuer().requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_invalid_settings_exit_with_2_before_any_call() {
    let setup = Setup::new().await;
    let file = setup.path("faulty.toml");
    std::fs::write(&file, format!("cache.capasity = 1\n{}", setup.settings())).unwrap();
    let ended = run(bff(&["doctor", "--config", file.to_str().unwrap()])).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
    assert!(ended.stderr.contains("capasity"), "{}", ended.stderr);
    assert_eq!(setup.running.simulator().total_requests(), 0);
}
