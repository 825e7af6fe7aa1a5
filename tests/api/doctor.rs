//! `juspay-bff doctor`, with the real binary: each line that an operator sees, and the exit code.
//!
//! `keys` is about API keys, clocks and tokens' lives, `network` about the way to Juspay, `issuers`
//! about those of the phones' tokens, `machine` about what is on this machine.

mod issuers;
mod keys;
mod machine;
mod network;

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use juspay_bff::simulator::{self, Running};
use tempfile::TempDir;

use crate::support::process::{Ended, bff, run};

/// A stand-in for Juspay with an issuer, and settings that fit them, to be altered.
struct Ward {
    running: Running,
    files: TempDir,
    api_key: String,
}

/// What the doctor has said.
struct Checkup {
    code: Option<i32>,
    said: String,
}

impl Ward {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With another simulator.
    async fn with(alter: impl FnOnce(&mut simulator::Config)) -> Self {
        let api_key = format!("canary_{:032x}", rand::random::<u128>());
        let mut config = simulator::Config::on_free_ports();
        config.api_keys = vec![api_key.as_str().into()];
        config.provision = false;
        alter(&mut config);
        let running = simulator::start(config).await.expect("free ports");
        let ward = Self { running, files: tempfile::tempdir().unwrap(), api_key };
        ward.secret("key", &ward.api_key);
        ward
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A file of that name that only its owner may read.
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

    async fn doctor(&self) -> Checkup {
        self.doctor_with("", &[]).await
    }

    /// With these settings over the usual ones, and these flags.
    async fn doctor_with(&self, over: &str, flags: &[&str]) -> Checkup {
        self.doctor_in(over, flags, &[]).await
    }

    /// With variables besides.
    async fn doctor_in(&self, over: &str, flags: &[&str], variables: &[(&str, &str)]) -> Checkup {
        let files = [("usual.toml", &*self.settings()), ("over.toml", over)];
        let files = files.map(|(name, text)| {
            std::fs::write(self.path(name), text).unwrap();
            self.path(name).to_str().unwrap().to_owned()
        });
        let arguments = [&["doctor", "--config", &files[0], "--config", &files[1]], flags].concat();
        let mut command = bff(&arguments);
        command.envs(variables.iter().copied());
        Checkup::of(run(command).await, &self.api_key)
    }
}

impl Checkup {
    fn of(ended: Ended, api_key: &str) -> Self {
        let Ended { code, stdout, stderr } = ended;
        for secret in [api_key, "tkn_", "canary_"] {
            assert!(!stdout.contains(secret) && !stderr.contains(secret), "{stdout}{stderr}");
        }
        let failures = stdout.lines().filter(|line| line.starts_with("FAILED ")).count();
        let (expected_code, told) = match failures {
            0 => (Some(0), String::new()),
            1 => (Some(1), "juspay-bff: 1 check failed\n".to_owned()),
            more => (Some(1), format!("juspay-bff: {more} checks failed\n")),
        };
        assert_eq!((code, &*stderr), (expected_code, &*told), "{stdout}");
        assert!(stdout.ends_with(&format!(" {failures} FAILED\n")), "{stdout}");
        Self { code, said: stdout }
    }

    /// The lines about `subject`, their columns apart by one space.
    fn lines(&self, subject: &str) -> Vec<String> {
        let lines = self.said.lines().map(|line| {
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

    /// The only line about `subject` begins with `start` and says `parts`.
    #[track_caller]
    fn says(&self, subject: &str, start: &str, parts: &[&str]) {
        let lines = self.lines(subject);
        let [line] = &lines[..] else { panic!("{subject}: {lines:?} in {}", self.said) };
        assert!(line.starts_with(start), "{start}: {line}");
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(line.contains("; fix: "), !line.starts_with("ok "), "{line}");
    }

    /// Nothing else has failed.
    #[track_caller]
    fn failed_only(&self, failures: usize) {
        let failed = self.said.lines().filter(|line| line.starts_with("FAILED ")).count();
        assert_eq!(failed, failures, "{}", self.said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well() {
    let ward = Ward::new().await;
    let checkup = ward.doctor().await;
    assert_eq!(checkup.code, Some(0));
    assert!(checkup.said.ends_with("\n13 ok, 0 warnings, 0 FAILED\n"), "{}", checkup.said);
    let address = ward.running.simulator().base_url().trim_start_matches("http://");
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
        assert_eq!(checkup.lines(subject), [line]);
    }
    // Juspay is asked once, for nobody, and nothing is written there.
    let asked = ward.running.simulator().requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (&*asked[0].method, asked[0].path.starts_with("/customers/juspay-bff-doctor")),
        ("GET", true)
    );
    assert!(ward.running.issuer().requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_wrong_settings_end_it_with_2_before_anybody_is_asked() {
    let ward = Ward::new().await;
    let file = ward.path("faulty.toml");
    std::fs::write(&file, format!("cache.capasity = 1\n{}", ward.settings())).unwrap();
    let ended = run(bff(&["doctor", "--config", file.to_str().unwrap()])).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
    assert!(ended.stderr.contains("capasity"), "{}", ended.stderr);
    assert_eq!(ward.running.simulator().total_requests(), 0);
}
