//! The service with a real provider as its only issuer.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use juspay_bff::{
    clock::{Clock as _, SystemClock},
    settings::Algorithm,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{App, Tokens, encoded, exchange, form},
    provider::Provider,
    support::{Client, ManualClock, Reply, Stage, World, guard},
};

/// The audience of the provider's tokens for this service.
const AUDIENCE: &str = "https://bff.example";
/// The client id for introspection, which must be encoded (RFC 6749 §2.3.1).
const INTROSPECTION_CLIENT: &str = "the bff: it asks";

/// The service and its provider.
pub struct Fixture {
    pub world: World,
    pub provider: Provider,
    /// Contains `secret`, the client secret for introspection.
    pub files: TempDir,
}

/// The resource whose tokens have this format: an algorithm, or `opaque`.
pub fn resource(format: &str) -> String {
    format!("{AUDIENCE}/{format}")
}

/// The resource of another service.
pub fn another_resource(format: &str) -> String {
    format!("https://another.example/{format}")
}

impl Fixture {
    /// The service finds the provider's keys by discovery.
    pub async fn by_keys() -> Self {
        Self::by_keys_and(&[]).await
    }

    /// The same with further settings of the issuer, TOML.
    pub async fn by_keys_and(settings: &[(&str, &str)]) -> Self {
        let algorithms = Algorithm::ALL.map(|algorithm| format!("{algorithm:?}"));
        let algorithms = format!("{algorithms:?}");
        let usual = [("algorithms", &*algorithms), ("discovery", "true")];
        Self::new(&[&usual, settings].concat()).await
    }

    /// The service uses the provider's introspection endpoint.
    pub async fn by_introspection() -> Self {
        Self::new(&[
            ("introspection_url", "'ISSUER/token/introspection'"),
            ("introspection_client_id", &format!("'{INTROSPECTION_CLIENT}'")),
            ("introspection_client_secret_file", "'FILES/secret'"),
        ])
        .await
    }

    /// If a setting occurs more than once in `settings`, the last one applies.
    async fn new(settings: &[(&str, &str)]) -> Self {
        let stage = Stage::set().await;
        let provider = Provider::start(stage.clock.clone()).await;
        let files = tempfile::tempdir().unwrap();
        let secret = a_secret();
        std::fs::write(files.path().join("secret"), &secret).unwrap();
        provider.order(json!({"secret": secret})).await;
        let audiences = format!("['{AUDIENCE}']");
        let usual = [("issuer", "'ISSUER'"), ("audiences", &*audiences)];
        let members: BTreeMap<_, _> = usual.iter().chain(settings).copied().collect();
        let mut text = "[auth.issuers.provider]\n".to_owned();
        for (name, value) in members {
            text.extend([name, " = ", value, "\n"]);
        }
        let text = text.replace("ISSUER", &provider.issuer);
        let text = text.replace("FILES", files.path().to_str().unwrap());
        let world = stage.open_without_issuers(&text);
        world.until_ready().await;
        Self { world, provider, files }
    }

    /// The app of this user.
    pub fn app(&self, subject: &str) -> App<'_> {
        App::of(&self.provider, subject)
    }

    /// This user's tokens for our resource with this format.
    pub async fn tokens(&self, subject: &str, format: &str) -> Tokens {
        self.app(subject).tokens(&resource(format)).await
    }

    /// A client with an access token of this user.
    pub async fn client(&self, subject: &str, format: &str) -> Client {
        let tokens = self.tokens(subject, format).await;
        assert_eq!(tokens.kind, "Bearer");
        self.world.client_with_token(&tokens.access)
    }

    /// A token without a user, for the client itself (RFC 6749 §4.4).
    pub async fn token_of_a_client(&self, format: &str) -> String {
        let secret = std::fs::read_to_string(self.files.path().join("secret")).unwrap();
        let credentials =
            STANDARD.encode(format!("{}:{}", encoded(INTROSPECTION_CLIENT), encoded(&secret)));
        let lines = format!("Authorization: Basic {credentials}\r\n");
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("resource", &resource(format)),
            ("scope", "pay"),
        ]);
        let reply = exchange(self.provider.address(), "POST", "/token", &lines, &form).await;
        reply.json()["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", reply.text()))
            .to_owned()
    }

    /// The number of tokens rejected for this reason.
    pub async fn rejections(&self, reason: &str) -> u64 {
        self.world.count(&format!("juspay_bff_auth_failures_total{{reason=\"{reason}\"}}")).await
    }
}

/// A client secret that must be encoded, too.
pub fn a_secret() -> String {
    format!("{}{:032x}%&+: =/", guard::CLIENT_SECRET, rand::random::<u128>())
}

/// Sets the wall clock to the machine's, for issuers that use it.
pub fn to_real_time(clock: &ManualClock) {
    clock.jump_wall(SystemClock.now().duration_since(clock.now()));
}

/// The response to this token at the machine's time.
pub async fn me(world: &World, token: &str) -> Reply {
    to_real_time(&world.clock);
    world.client_with_token(token).me().await
}

/// The payload of a token, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The customer in the response.
pub fn owner(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["object_reference_id"].as_str().unwrap().to_owned()
}

/// The response makes the user log in again.
pub fn assert_rejected(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "{}", reply.text());
    let challenge = r#"Bearer realm="juspay-bff", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
}

/// The response lets the client retry.
pub fn assert_unavailable(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (503, "keys_unavailable"), "{}", reply.text());
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("www-authenticate"), None);
}
