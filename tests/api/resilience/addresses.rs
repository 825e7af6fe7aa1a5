//! Connections to Juspay's host: `juspay.ip_family`, and ignored proxy variables.

use juspay_bff::clock::SystemClock;

use crate::support::{
    Stage, World,
    process::{Process, bff},
};

/// A world whose Juspay listens on 127.0.0.1 and has the name localhost. Uses real time, because
/// resolving and connecting do.
async fn by_name(family: &str) -> World {
    let stage = Stage::set_with(|config| config.clock = SystemClock::shared()).await;
    let base_url = stage.simulator().base_url().replace("127.0.0.1", "localhost");
    let settings = format!("juspay.base_url = \"{base_url}\"\njuspay.ip_family = \"{family}\"\n");
    stage.open_ready(&settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_addresses_of_the_family_are_tried() {
    for family in ["any", "ipv4"] {
        let world = by_name(family).await;
        let reply = world.client("alice").me().await;
        assert_eq!(reply.status, 200, "{family}: {}", reply.text());
    }
    let world = by_name("ipv6").await;
    let reply = world.client("alice").me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
    assert_eq!(world.simulator().total_requests(), 0);
}

/// The output of `serve` until it serves, with these additional environment variables.
async fn output_at_start(environment: &[(&str, &str)]) -> String {
    let stage = Stage::set().await;
    let mut serve = bff(&["serve"]);
    serve.envs([
        ("JUSPAY_BFF__SERVER__LISTEN", "127.0.0.1:0"),
        ("JUSPAY_BFF__SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        ("JUSPAY_BFF__SERVER__SHUTDOWN_DELAY", "0s"),
        ("JUSPAY_BFF__JUSPAY__BASE_URL", stage.simulator().base_url()),
        ("JUSPAY_BFF__JUSPAY__MERCHANT_ID", stage.simulator().merchant()),
        ("JUSPAY_BFF__JUSPAY__API_KEY", &stage.api_key),
        ("JUSPAY_BFF__AUTH__ISSUERS__MAIN__ISSUER", stage.issuer().issuer_url()),
        ("JUSPAY_BFF__AUTH__ISSUERS__MAIN__AUDIENCES", "juspay-bff-demo"),
        ("JUSPAY_BFF__AUTH__ISSUERS__MAIN__ALGORITHMS", "ES256"),
        ("JUSPAY_BFF__AUTH__ISSUERS__MAIN__DISCOVERY", "true"),
    ]);
    serve.envs(environment.iter().copied());
    let mut process = Process::start(serve);
    process.line_with("\"serving\"").await;
    process.terminate().await;
    process.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_variables_are_ignored_with_a_warning() {
    let secret = "http://user:hush@proxy.test:3128";
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let output = output_at_start(&[(name, secret)]).await;
        let warning = format!("{name} is ignored; for calls to Juspay, set juspay.egress_proxy");
        assert!(output.contains(&warning), "{output}");
        assert!(!output.contains("hush"), "{output}");
    }
    let output = output_at_start(&[("NO_PROXY", "*")]).await;
    assert!(!output.contains("proxy"), "{output}");
}
