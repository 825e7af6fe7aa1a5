//! The service, with a real provider as its only issuer.

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
    support::{ManualClock, Phone, Reply, Stage, World, guard},
};

/// What the provider calls us in its tokens.
const AUDIENCE: &str = "https://bff.example";
/// The client that asks about tokens, by a name that must be encoded (RFC 6749 §2.3.1).
const ASKING: &str = "the bff: it asks";

/// Both of them.
pub struct Meeting {
    pub world: World,
    pub provider: Provider,
    /// `secret`: what the service asks about tokens with.
    pub files: TempDir,
}

/// The resource whose tokens have that format: an algorithm, or `opaque`.
pub fn ours(format: &str) -> String {
    format!("{AUDIENCE}/{format}")
}

/// Another service's.
pub fn anothers(format: &str) -> String {
    format!("https://another.example/{format}")
}

impl Meeting {
    /// Where the service finds the provider's keys by discovery.
    pub async fn by_keys() -> Self {
        Self::by_keys_and(&[]).await
    }

    /// The same with these settings of the issuer's, TOML.
    pub async fn by_keys_and(settings: &[(&str, &str)]) -> Self {
        let algorithms = Algorithm::ALL.map(|algorithm| format!("{algorithm:?}"));
        let algorithms = format!("{algorithms:?}");
        let usual = [("algorithms", &*algorithms), ("discovery", "true")];
        Self::new(&[&usual, settings].concat()).await
    }

    /// Where the service asks the provider about tokens.
    pub async fn by_introspection() -> Self {
        Self::new(&[
            ("introspection_url", "'ISSUER/token/introspection'"),
            ("introspection_client_id", &format!("'{ASKING}'")),
            ("introspection_client_secret_file", "'FILES/secret'"),
        ])
        .await
    }

    /// The last of several settings of one name counts.
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

    /// The app in this user's hands.
    pub fn app(&self, subject: &str) -> App<'_> {
        App::of(&self.provider, subject)
    }

    /// What this user gets for our resource of that format.
    pub async fn tokens(&self, subject: &str, format: &str) -> Tokens {
        self.app(subject).tokens(&ours(format)).await
    }

    /// A phone with an access token of this user's.
    pub async fn phone(&self, subject: &str, format: &str) -> Phone {
        let tokens = self.tokens(subject, format).await;
        assert_eq!(tokens.kind, "Bearer");
        self.world.phone_holding(&tokens.access)
    }

    /// A token that stands for no user, but for the client itself (RFC 6749 §4.4).
    pub async fn token_of_a_client(&self, format: &str) -> String {
        let secret = std::fs::read_to_string(self.files.path().join("secret")).unwrap();
        let credentials = STANDARD.encode(format!("{}:{}", encoded(ASKING), encoded(&secret)));
        let lines = format!("Authorization: Basic {credentials}\r\n");
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("resource", &ours(format)),
            ("scope", "pay"),
        ]);
        let reply = exchange(self.provider.address(), "POST", "/token", &lines, &form).await;
        reply.json()["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", reply.text()))
            .to_owned()
    }

    /// How many tokens were refused for that reason.
    pub async fn refusals(&self, reason: &str) -> u64 {
        self.world.count(&format!("juspay_bff_auth_failures_total{{reason=\"{reason}\"}}")).await
    }
}

/// One that must be encoded, too.
pub fn a_secret() -> String {
    format!("{}{:032x}%&+: =/", guard::CLIENT_SECRET, rand::random::<u128>())
}

/// Sets the wall clock to that of the machine, which issuers that are given no other time live by.
pub fn to_real_time(clock: &ManualClock) {
    clock.jump_wall(SystemClock.now().duration_since(clock.now()));
}

/// The answer to that token at the machine's time.
pub async fn me(world: &World, token: &str) -> Reply {
    to_real_time(&world.clock);
    world.phone_holding(token).me().await
}

/// The payload of a token, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Whose customer was answered.
pub fn owner(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["object_reference_id"].as_str().unwrap().to_owned()
}

/// The user has to log in anew.
pub fn is_refused(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "{}", reply.text());
    let challenge = r#"Bearer realm="juspay-bff", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
}

/// The user may try again.
pub fn is_unavailable(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (503, "keys_unavailable"), "{}", reply.text());
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("www-authenticate"), None);
}
