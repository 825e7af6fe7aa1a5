//! Settings and the service use the same definition of loopback.

use simulator::issuer::{DEFAULT_CLIENT, INTROSPECTION_PATH, JWKS_PATH};

use crate::support::{
    Stage,
    process::{bff, run},
};

/// Spellings of 127.0.0.1 in a URL.
const SPELLINGS: [&str; 3] = ["Localhost", "[::ffff:127.0.0.1]", "127.0.0.1"];

/// The port of `http://127.0.0.1:PORT`.
fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_from_every_spelling_of_loopback() {
    for host in SPELLINGS {
        for (kind, path) in
            [("jwks_url", JWKS_PATH), ("discovery", "/.well-known/openid-configuration")]
        {
            let stage = Stage::set().await;
            let issuer = port(stage.issuer().issuer_url()).to_owned();
            let juspay = port(stage.simulator().base_url()).to_owned();
            let settings = format!(
                "juspay.base_url = \"http://{host}:{juspay}\"\n[auth.issuers.main]\n\
                 discovery = false\n{kind} = \"http://{host}:{issuer}{path}\""
            );
            let settings = settings.replace("discovery = false\ndiscovery", "discovery");
            let world = stage.open_ready(&settings).await;
            assert_eq!(world.client("alice").me().await.status, 200, "{kind} {host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reaches_every_spelling_of_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    let (client, client_secret) = DEFAULT_CLIENT;
    std::fs::write(&secret, client_secret).unwrap();
    for host in SPELLINGS {
        let stage = Stage::set().await;
        let (juspay, issuer) = (stage.simulator(), stage.issuer());
        let path = directory.path().join("settings.toml");
        let settings = format!(
            r#"
            [juspay]
            base_url = "http://{host}:{}"
            merchant_id = "{}"
            api_key = "{}"
            [auth]
            shared_customer_ids = true
            [auth.issuers.main]
            issuer = "{}"
            audiences = ["juspay-bff-demo"]
            algorithms = ["ES256"]
            jwks_url = "http://{host}:{}{JWKS_PATH}"
            [auth.issuers.opaque]
            issuer = "http://opaque.invalid"
            audiences = ["juspay-bff-demo"]
            introspection_url = "http://{host}:{}{INTROSPECTION_PATH}"
            introspection_client_id = "{}"
            introspection_client_secret_file = "{}"
            "#,
            port(juspay.base_url()),
            juspay.merchant(),
            stage.api_key,
            issuer.issuer_url(),
            port(issuer.issuer_url()),
            port(issuer.issuer_url()),
            client,
            secret.display(),
        );
        std::fs::write(&path, settings).unwrap();
        let checkup = run(bff(&["doctor", "--config", path.to_str().unwrap()])).await;
        for subject in ["issuer main keys", "issuer opaque introspection"] {
            let line = checkup.stdout.lines().find(|line| line.contains(subject));
            assert!(line.is_some_and(|line| line.starts_with("ok ")), "{host}: {}", checkup.stdout);
        }
    }
}
