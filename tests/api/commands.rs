//! The command line as people and scripts use it, with the real binary.

use std::net::TcpListener;

use juspay_bff::{COMMIT, VERSION};

use crate::support::{
    Client,
    process::{Process, bff, run},
};

const COMMANDS: [&str; 8] = [
    "serve",
    "check-config",
    "doctor",
    "explain-token",
    "healthcheck",
    "demo",
    "simulator",
    "token",
];

#[tokio::test(flavor = "multi_thread")]
async fn help_shows_usage_and_examples() {
    let help = run(bff(&["--help"])).await;
    assert_eq!((help.code, &*help.stderr), (Some(0), ""));
    for expected in COMMANDS.iter().chain(&["JUSPAY_BFF__SECTION__KEY", "Exit codes:", "demo"]) {
        assert!(help.stdout.contains(expected), "{expected} in {}", help.stdout);
    }
    for command in COMMANDS {
        let help = run(bff(&[command, "--help"])).await;
        assert_eq!((help.code, &*help.stderr), (Some(0), ""));
        for expected in ["Usage: juspay-bff ", command, "Example", "--help"] {
            assert!(help.stdout.contains(expected), "{expected} in {}", help.stdout);
        }
        let summary = run(bff(&[command, "-h"])).await;
        assert!(summary.stdout.len() < help.stdout.len(), "{command} -h is the short form");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_contains_the_commit() {
    let version = run(bff(&["--version"])).await;
    assert_eq!((version.code, &*version.stderr), (Some(0), ""));
    assert_eq!(version.stdout, format!("juspay-bff {VERSION} (commit {COMMIT})\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_usage_is_reported_on_standard_error_and_exits_with_2() {
    for (arguments, expected) in [
        (&[][..], "Usage: juspay-bff <COMMAND>"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["srve"], "a similar subcommand exists: 'serve'"),
        (&["serve", "--confg", "x"], "a similar argument exists: '--config'"),
        (
            &["check-config", "--replicas", "0"],
            "invalid value '0' for '--replicas <N>': write an integer of 1 or more, such as 3\n",
        ),
        (&["check-config", "--format", "yaml"], "[possible values: text, json]"),
        (&["serve", "--port", "1"], "unexpected argument '--port'"),
        (&["token"], "--subject <ID>"),
        (&["token", "--subject", "a", "--life", "60"], "--life"),
        (&["demo", "--listen", "localhost"], "--listen"),
        (&["simulator", "--token-uses", "some"], "--token-uses"),
    ] {
        let ended = run(bff(arguments)).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains(expected), "{expected} in {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_shows_a_miss_a_hit_one_call_for_twenty_and_a_401() {
    let demo = run(bff(&["demo", "--once"])).await;
    assert_eq!((demo.code, &*demo.stderr), (Some(0), ""), "{}", demo.stdout);
    let line = |name: &str| {
        let mut lines = demo.stdout.lines();
        lines.find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {demo:?}"))
    };
    for (name, expected) in [
        ("Simulated Juspay", "http://127.0.0.1:"),
        ("Simulated issuer", "http://127.0.0.1:"),
        ("Service", "http://127.0.0.1:"),
        ("Metrics", "/metrics"),
        ("request ", "what it shows"),
        ("request ", "Cache-Status"),
        ("first ", "200"),
        ("first ", "juspay-bff; fwd=uri-miss; stored; ttl=77"),
        ("second ", "200"),
        ("second ", "juspay-bff; hit; ttl=77"),
        ("20 at once", "calls to Juspay: 1 "),
        ("forged token", "401"),
        ("forged token", "error=\"invalid_token\""),
        ("ttl", "seconds for which"),
        ("  \"object_reference_id\"", "alice"),
        ("    \"client_auth_token\"", "\"tkn_"),
    ] {
        assert!(line(name).contains(expected), "{expected} in {}", line(name));
    }
    assert!(!demo.stdout.contains("curl"), "after the tour there is nothing left to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_keeps_running_and_its_curl_line_works() {
    let mut demo = Process::start(bff(&["demo"]));
    let mint = demo.line_with("TOKEN=$(").await;
    let mint = mint.trim().trim_start_matches("TOKEN=$(").trim_end_matches(')').to_owned();
    let words: Vec<_> = mint.split(' ').skip(1).collect();
    let token = run(bff(&words)).await.stdout.trim().to_owned();
    let curl = demo.line_with("curl -i -H \"Authorization: Bearer $TOKEN\" http://").await;
    let url = curl.rsplit(' ').next().unwrap();
    let authority = url.trim().trim_start_matches("http://").trim_end_matches("/me/customer");
    demo.line_with("don't work in Juspay's real SDK").await;
    let reply = Client::new(authority.parse().unwrap(), Some(token)).me().await;
    assert_eq!(reply.json()["object_reference_id"], "alice");
    assert_eq!(demo.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_reports_that_it_cannot_listen() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let demo = run(bff(&["demo", "--once", "--listen", &address])).await;
    assert_eq!(demo.code, Some(1));
    assert!(demo.stderr.contains(&format!("can't listen on {address}")), "{}", demo.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn simulator_prints_the_settings_for_its_use() {
    let free = ["--listen", "127.0.0.1:0", "--issuer-listen", "127.0.0.1:0"];
    let own = ["--api-key", "one", "--api-key", "two", "--merchant", "shop", "--token-life", "1m"];
    let arguments = [&["simulator"][..], &free, &own].concat();
    let mut simulator = Process::start(bff(&arguments));
    simulator.line_with("Press Ctrl-C to stop").await;
    for expected in [
        "Simulated Juspay     http://127.0.0.1:",
        "Simulated issuer     http://127.0.0.1:",
        "API key              one, two\n",
        "Merchant             shop\n",
        "Audience of tokens   juspay-bff-demo\n",
        "sim_not_found",
        "juspay-bff token --subject alice --issuer http://127.0.0.1:",
    ] {
        assert!(simulator.stdout.contains(expected), "{expected} in {}", simulator.stdout);
    }
    assert_eq!(simulator.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_simulator_rejects_customers_until_they_are_created() {
    let free = ["simulator", "--listen", "127.0.0.1:0", "--issuer-listen", "127.0.0.1:0"];
    for (flags, status) in [(&[][..], 200), (&["--strict"], 404)] {
        let mut simulator = Process::start(bff(&[&free, flags].concat()));
        let line = simulator.line_with("Simulated Juspay").await;
        simulator.line_with("Press Ctrl-C to stop").await;
        assert_eq!(simulator.stdout.contains("Strict: "), status == 404, "{}", simulator.stdout);
        let address = line.rsplit('/').next().unwrap().parse().unwrap();
        let juspay = Client::new(address, None);
        let credentials = "Authorization: Basic c2ltX2tleTo=\r\nx-merchantid: sim_merchant\r\n";
        let reply = juspay.request("GET", "/customers/alice", credentials).await;
        assert_eq!(reply.status, status, "{flags:?}");
        assert_eq!(simulator.terminate().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simulator_over_tls_is_trusted_by_its_certificate_file() {
    let files = tempfile::tempdir().unwrap();
    let (ca, settings) = (files.path().join("ca.pem"), files.path().join("settings.toml"));
    let free = ["--listen", "127.0.0.1:0", "--issuer-listen", "127.0.0.1:0"];
    let tls = ["--tls", ca.to_str().unwrap(), "--tls-listen", "127.0.0.1:0"];
    let mut simulator = Process::start(bff(&[&["simulator"][..], &free, &tls].concat()));
    let line = simulator.line_with("the same over TLS").await;
    let url = line.rsplit(' ').next().unwrap().replace("127.0.0.1", "localhost");
    let issuer = simulator.line_with("Simulated issuer").await;
    let issuer = issuer.rsplit(' ').next().unwrap().to_owned();
    simulator.line_with("Press Ctrl-C to stop").await;
    for (trust, code) in [(format!("juspay.ca_file = '{}'", ca.display()), 0), (String::new(), 1)] {
        let over = format!(
            "juspay.base_url = '{url}'\nauth.issuers.simulator.issuer = '{issuer}'\n{trust}\n"
        );
        std::fs::write(&settings, over).unwrap();
        let files = ["--config", "config/demo.toml", "--config", settings.to_str().unwrap()];
        let doctor = [&["doctor", "--customer", "alice"][..], &files].concat();
        let ended = run(bff(&doctor)).await;
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
    }
    assert_eq!(simulator.terminate().await, Some(0));
    let unwritable = files.path().join("none/ca.pem");
    let arguments = [&["simulator"][..], &free, &["--tls", unwritable.to_str().unwrap()]].concat();
    let failed = run(bff(&[&arguments[..], &tls[2..]].concat())).await;
    let expected = format!("can't write {}", unwritable.display());
    assert!(failed.code == Some(1) && failed.stderr.contains(&expected), "{}", failed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_command_prints_only_the_token() {
    let free = ["simulator", "--listen", "127.0.0.1:0", "--issuer-listen", "127.0.0.1:0"];
    let mut simulator = Process::start(bff(&free));
    let line = simulator.line_with("Simulated issuer").await;
    let issuer = line.split(' ').next_back().unwrap();
    let token = run(bff(&["token", "--subject", "alice", "--issuer", issuer])).await;
    assert_eq!((token.code, &*token.stderr), (Some(0), ""));
    let alone = token.stdout.strip_suffix('\n').unwrap();
    assert_eq!(alone.split('.').count(), 3);
    assert!(!alone.contains(char::is_whitespace));
    assert_eq!(simulator.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_command_without_issuer_fails_with_a_fix() {
    // The port is bound, so that no other process uses it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let token = run(bff(&["token", "--subject", "alice", "--issuer", &url])).await;
    assert_eq!((token.code, &*token.stdout), (Some(1), ""));
    for expected in [&*url, "`juspay-bff simulator`", "--issuer"] {
        assert!(token.stderr.contains(expected), "{expected} in {}", token.stderr);
    }
    let wrong = run(bff(&["token", "--subject", "alice", "--issuer", "https://id.example"])).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("http://HOST:PORT"), "{}", wrong.stderr);
}
