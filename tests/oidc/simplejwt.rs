//! Tokens of a Django site whose users log in with a password, from the views of `djangorestframework-simplejwt`.
//!
//! Tokens that the simulator signs cannot prove this: that the library signs with the bytes of the secret as they
//! are in the file, that its tokens have neither `iss` nor `aud` by default, that it signs refresh tokens with
//! the same secret, and that `user_id` is a number until release 5.4 and a string from 5.5 on. The settings are
//! those of the recipe in `docs/identity-providers.md`.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
};

use crate::{
    app::{exchange, form},
    fixture::{assert_rejected, claims, me, owner, to_real_time},
    support::{
        Stage, World, guard,
        recipes::{Recipe, recipe},
        with_timeout,
    },
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc");

/// The installed releases, by their directories on Python's path: 5.5.1, and 5.4.0 with numbers in
/// `user_id`.
const NEWER: &str = "";
const OLDER: &str = "python/older";

const LOGIN: &str = "/token/";
const REFRESH: &str = "/token/refresh/";
const SLIDING: &str = "/token/sliding/";

/// A Django site with the users alice and bob, stopped when dropped.
struct Site {
    address: SocketAddr,
    /// The primary keys of its users.
    ids: BTreeMap<String, u64>,
    _child: Child,
    /// The process ends when this is dropped.
    _orders: ChildStdin,
}

#[derive(Deserialize)]
struct Started {
    address: SocketAddr,
    ids: BTreeMap<String, u64>,
}

impl Site {
    /// With these settings in `SIMPLE_JWT`.
    async fn start(release: &str, simple_jwt: Value) -> Self {
        let folder = Path::new(FOLDER);
        let mut child = Command::new(folder.join("python/bin/python"))
            .arg(folder.join("simplejwt.py"))
            .env("PYTHONPATH", folder.join(release))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python is there: tests/oidc/run installs it");
        let orders = json!({"users": ["someone", "alice", "bob"], "simple_jwt": simple_jwt});
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{orders}\n").as_bytes()).await.expect("it listens");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = with_timeout("the site's address", lines.next_line()).await.unwrap();
        let line = line.expect("it starts: tests/oidc/run installs what it needs");
        let Started { address, ids } = serde_json::from_str(&line).unwrap();
        Self { address, ids, _child: child, _orders: stdin }
    }

    async fn post(&self, path: &str, members: &[(&str, &str)]) -> Value {
        let reply = exchange(self.address, "POST", path, "", &form(members)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// The view's response to a user who logs in.
    async fn login(&self, view: &str, user: &str) -> Value {
        self.post(view, &[("username", user), ("password", user)]).await
    }

    async fn access_token(&self, user: &str) -> String {
        member(&self.login(LOGIN, user).await, "access")
    }
}

fn member(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("{name} in {json}")).to_owned()
}

/// A secret that is long enough for each algorithm, and that must not leak.
fn a_secret() -> String {
    let [first, second] = [rand::random::<u128>(), rand::random()];
    format!("{}{first:032x}%&+: =/{second:032x}", guard::CLIENT_SECRET)
}

fn django() -> Recipe {
    recipe("Django SimpleJWT")
}

/// The service with the recipe's settings, those secrets, and changes to the settings of the issuer.
async fn service(secrets: &[&str], changes: &str) -> (World, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("secret");
    std::fs::write(&file, secrets.join("\n")).unwrap();
    let (name, mut settings) = django().issuer();
    settings.insert("hmac_secret_file".to_owned(), file.to_str().unwrap().into());
    for (key, value) in changes.parse::<toml::Table>().unwrap() {
        settings.remove(&key);
        if value.as_str() != Some("unset") {
            settings.insert(key, value);
        }
    }
    let mut whole: toml::Table = django().settings.parse().unwrap();
    whole["auth"]["issuers"][name.as_str()] = settings.into();
    let stage = Stage::set().await;
    to_real_time(&stage.clock);
    let world = stage.open_without_issuers(&whole.to_string());
    world.until_ready().await;
    (world, files)
}

/// The customer of the user with that primary key, by the recipe.
fn customer(id: u64) -> String {
    let Recipe { payload, customer, .. } = django();
    let sample = payload["user_id"].to_string();
    let sample = sample.trim_matches('"');
    format!("{}{id}", customer.strip_suffix(sample).expect("it ends with the user's id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_of_a_django_site_gets_their_own_customer() {
    for (release, is_number) in [(NEWER, false), (OLDER, true)] {
        let secret = a_secret();
        let site = Site::start(release, json!({"SIGNING_KEY": secret})).await;
        let (world, _files) = service(&[&secret], "").await;
        for user in ["alice", "bob"] {
            let token = site.access_token(user).await;
            assert_eq!(claims(&token)["user_id"].is_number(), is_number);
            assert_eq!(owner(&me(&world, &token).await), customer(site.ids[user]), "{user}");
        }
        assert_eq!(world.simulator().total_requests(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_token_is_rejected_and_its_access_token_is_accepted() {
    let secret = a_secret();
    let site = Site::start(NEWER, json!({"SIGNING_KEY": secret})).await;
    let (world, _files) = service(&[&secret], "").await;
    let tokens = site.login(LOGIN, "alice").await;
    let refresh = member(&tokens, "refresh");
    assert_rejected(&me(&world, &refresh).await);
    let sliding = member(&site.login(SLIDING, "alice").await, "token");
    assert_rejected(&me(&world, &sliding).await);
    assert_eq!(world.simulator().total_requests(), 0);
    let access = member(&site.post(REFRESH, &[("refresh", &refresh)]).await, "access");
    assert_eq!(owner(&me(&world, &access).await), customer(site.ids["alice"]));

    // Whatever the recipe requires: a refresh token is not an access token.
    let (world, _files) = service(&[&secret], "required_claims = 'unset'").await;
    assert_rejected(&me(&world, &refresh).await);
    assert_eq!(owner(&me(&world, &access).await), customer(site.ids["alice"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn current_and_the_previous_secret_are_accepted_and_no_other() {
    let [current, previous, unknown] = [(); 3].map(|()| a_secret());
    let (world, _files) = service(&[&current, &previous], "").await;
    for (secret, is_accepted) in [(&current, true), (&previous, true), (&unknown, false)] {
        let site = Site::start(NEWER, json!({"SIGNING_KEY": secret})).await;
        let reply = me(&world, &site.access_token("alice").await).await;
        if is_accepted {
            assert_eq!(owner(&reply), customer(site.ids["alice"]));
        } else {
            assert_rejected(&reply);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_algorithms_of_the_settings_are_accepted() {
    let secret = a_secret();
    let (all, _files) = service(&[&secret], "algorithms = ['HS256', 'HS384', 'HS512']").await;
    let (one, _files) = service(&[&secret], "algorithms = ['HS256']").await;
    for algorithm in ["HS256", "HS384", "HS512"] {
        let site = Site::start(NEWER, json!({"SIGNING_KEY": secret, "ALGORITHM": algorithm})).await;
        let token = site.access_token("alice").await;
        assert_eq!(owner(&me(&all, &token).await), customer(site.ids["alice"]), "{algorithm}");
        let reply = me(&one, &token).await;
        if algorithm == "HS256" {
            assert_eq!(owner(&reply), customer(site.ids["alice"]));
        } else {
            assert_rejected(&reply);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_and_audience_of_a_site_are_checked() {
    let secret = a_secret();
    let site = |audience: &str| {
        let issuer = "https://shop.example";
        json!({"SIGNING_KEY": secret, "ISSUER": issuer, "AUDIENCE": audience})
    };
    let [ours, anothers] = [site("shop-app"), site("another-app")];
    let [ours, anothers] = [Site::start(NEWER, ours).await, Site::start(NEWER, anothers).await];
    let changes =
        "issuer = 'https://shop.example'\naudience_claim = 'aud'\naudiences = ['shop-app']";
    let (named, _files) = service(&[&secret], changes).await;
    let token = ours.access_token("alice").await;
    assert_eq!(owner(&me(&named, &token).await), customer(ours.ids["alice"]));
    assert_rejected(&me(&named, &anothers.access_token("alice").await).await);
    let (unnamed, _files) = service(&[&secret], "").await;
    assert_rejected(&me(&unnamed, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_token_expires_after_its_lifetime_and_the_leeway() {
    let secret = a_secret();
    let site = Site::start(NEWER, json!({"SIGNING_KEY": secret})).await;
    let (world, _files) = service(&[&secret], "").await;
    let client = world.client_with_token(&site.access_token("alice").await);
    to_real_time(&world.clock);
    assert_eq!(owner(&client.me().await), customer(site.ids["alice"]));
    // ACCESS_TOKEN_LIFETIME is five minutes by default.
    world.clock.advance(Duration::from_secs(5 * 60 + 30));
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (401, "expired_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn site_that_signs_with_an_rsa_key_is_checked_by_its_public_key() {
    let [ours, anothers] =
        [(); 2].map(|()| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
    let site = |key: &KeyPair| {
        let [private, public] = [key.serialize_pem(), key.public_key_pem()];
        Site::start(
            NEWER,
            json!({"ALGORITHM": "RS256", "SIGNING_KEY": private, "VERIFYING_KEY": public}),
        )
    };
    let files = tempfile::tempdir().unwrap();
    let pem = files.path().join("public.pem");
    std::fs::write(&pem, ours.public_key_pem()).unwrap();
    let changes = format!(
        "algorithms = ['RS256']\nhmac_secret_file = 'unset'\njwks_file = '{}'",
        pem.display()
    );
    let (world, _files) = service(&[], &changes).await;
    let site_of_ours = site(&ours).await;
    let tokens = site_of_ours.login(LOGIN, "alice").await;
    let reply = me(&world, &member(&tokens, "access")).await;
    assert_eq!(owner(&reply), customer(site_of_ours.ids["alice"]));
    assert_rejected(&me(&world, &member(&tokens, "refresh")).await);
    assert_rejected(&me(&world, &site(&anothers).await.access_token("alice").await).await);
}
