//! glewlwyd's process, configured through its admin API. It uses the machine's clock.
//!
//! `tests/oidc/install` has unpacked Debian's package and made a database without users or clients.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{
    app::{exchange, form, parameter, send},
    support::{Reply, until},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc/glewlwyd");

/// The app, which is a confidential client (RFC 6749 §2.1), and another one.
pub const CLIENT: &str = "app";
pub const ANOTHER_CLIENT: &str = "another";
/// Of both clients. glewlwyd compares it with the header without decoding (RFC 6749 §2.3.1).
pub const CLIENT_SECRET: &str = "secretOfBothClients";
/// The redirect URI.
const REDIRECT_URI: &str = "https://app.example/back";
/// The resource (RFC 8707) that the scope `pay` belongs to, and another one.
pub const RESOURCE: &str = "https://bff.example";
pub const ANOTHER_RESOURCE: &str = "https://another.example";

/// Each has an issuer of its own, `Glewlwyd::issuer`. With keys from PEM, glewlwyd 2.7 signs with ES512 and PS512
/// where it is configured for ES384 and PS384.
pub const ALGORITHMS: [&str; 7] = ["RS256", "RS384", "RS512", "PS256", "PS512", "ES256", "EdDSA"];

/// The server with the users alice and bob, stopped when dropped.
pub struct Glewlwyd {
    address: SocketAddr,
    _files: TempDir,
    _child: Child,
}

/// The token endpoint's response.
pub struct Tokens {
    pub access: String,
    pub id: String,
    pub refresh: String,
}

impl Glewlwyd {
    /// With an issuer for each of these algorithms.
    pub async fn start(algorithms: &[&str]) -> Self {
        let server = Self::start_without_issuers().await;
        let admin = server.session("admin").await;
        let pay = json!({
            "name": "pay", "display_name": "pay", "description": "pay", "password_required": true, "scheme": {},
        });
        server.json("POST", "scope/", &admin, &pay).await;
        for user in ["alice", "bob"] {
            let user = json!({
                "username": user, "password": "password", "scope": ["openid", "pay", "g_profile"],
                "enabled": true,
            });
            server.json("POST", "user/", &admin, &user).await;
        }
        for client in [CLIENT, ANOTHER_CLIENT] {
            let client = json!({
                "client_id": client, "confidential": true, "client_secret": CLIENT_SECRET,
                "token_endpoint_auth_method": ["client_secret_basic"],
                "authorization_type": ["code", "refresh_token", "client_credentials"],
                "redirect_uri": [REDIRECT_URI], "scope": ["pay"], "enabled": true,
            });
            server.json("POST", "client/", &admin, &client).await;
        }
        for algorithm in algorithms {
            let plugin = json!({
                "module": "oidc", "name": algorithm, "display_name": algorithm, "enabled": true,
                "parameters": server.parameters(algorithm, &Key::generate(algorithm)),
            });
            server.json("POST", "mod/plugin/", &admin, &plugin).await;
        }
        server
    }

    /// The port is free when it is chosen. If another process binds it first, the server ends, and
    /// another port is chosen.
    async fn start_without_issuers() -> Self {
        let files = tempfile::tempdir().unwrap();
        let folder = files.path().to_str().unwrap();
        std::fs::copy(format!("{FOLDER}/empty.db"), format!("{folder}/database"))
            .expect("an empty database: tests/oidc/run creates it");
        std::fs::create_dir(format!("{folder}/none")).unwrap();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let config = format!("{folder}/config");
            std::fs::write(&config, configuration(address, folder)).unwrap();
            // It also ends with the test's thread.
            let mut child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", &format!("{FOLDER}/files/usr/bin/glewlwyd")])
                .args(["--config-file", &config])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("setpriv of util-linux");
            let mut has_ended = false;
            until("glewlwyd listens or ends", async || {
                has_ended = child.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(address).await.is_ok()
            })
            .await;
            if !has_ended {
                return Self { address, _files: files, _child: child };
            }
        }
    }

    /// The issuer whose tokens are signed with that algorithm.
    pub fn issuer(&self, algorithm: &str) -> String {
        format!("http://{}/api/{algorithm}", self.address)
    }

    /// The `Cookie` line of a user who has logged in.
    async fn session(&self, user: &str) -> String {
        let body = json!({"username": user, "password": "password"});
        let reply = self.json("POST", "auth/", "", &body).await;
        let cookie = reply.header("set-cookie").expect("a session");
        format!("Cookie: {}\r\n", cookie.split_once(';').unwrap().0)
    }

    async fn json(&self, method: &str, path: &str, lines: &str, body: &Value) -> Reply {
        let lines = format!("Content-Type: application/json\r\n{lines}");
        let path = format!("/api/{path}");
        let reply = send(self.address, method, &path, &lines, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
        reply
    }

    /// The parameters of the OpenID Connect plugin.
    fn parameters(&self, algorithm: &str, key: &Key) -> Value {
        let (kind, size) = match algorithm.split_at(2) {
            ("RS", size) => ("rsa", size),
            ("PS", size) => ("rsa-pss", size),
            ("ES", size) => ("ecdsa", size),
            _ => ("eddsa", "256"),
        };
        json!({
            "iss": self.issuer(algorithm),
            "jwt-type": kind, "jwt-key-size": size,
            "key": key.private, "cert": key.public,
            "code-duration": 600, "access-token-duration": 3600, "refresh-token-duration": 3600,
            "allow-non-oidc": true,
            "auth-type-code-enabled": true, "auth-type-client-enabled": true,
            "auth-type-refresh-enabled": true, "auth-type-token-enabled": false,
            "auth-type-implicit-enabled": false, "auth-type-password-enabled": false,
            "auth-type-device-enabled": false,
            "introspection-revocation-allowed": true,
            "introspection-revocation-allow-target-client": true,
            "resource-allowed": true, "resource-change-allowed": false,
            "resource-scope": {"pay": [RESOURCE, ANOTHER_RESOURCE]},
        })
    }

    /// Logs that user in and exchanges a code for tokens (RFC 6749 §4.1).
    pub async fn tokens(
        &self,
        algorithm: &str,
        user: &str,
        client: &str,
        resource: &str,
    ) -> Tokens {
        let session = self.session(user).await;
        let grant = json!({"scope": "openid pay"});
        self.json("PUT", &format!("auth/grant/{client}"), &session, &grant).await;
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", REDIRECT_URI),
            ("scope", "openid pay"),
            ("resource", resource),
            ("nonce", "of this login"),
            ("state", "of this login"),
            // The user has opened the login page.
            ("g_continue", ""),
        ]);
        let target = format!("/api/{algorithm}/auth?{query}");
        let reply = send(self.address, "GET", &target, &session, "").await;
        let location = reply.header("location").unwrap_or_else(|| panic!("{}", reply.text()));
        let code = parameter(location.strip_prefix(REDIRECT_URI).expect(location), "code");
        let reply = self
            .token_endpoint(
                algorithm,
                client,
                &[
                    ("grant_type", "authorization_code"),
                    ("redirect_uri", REDIRECT_URI),
                    ("code", &code),
                    ("resource", resource),
                ],
            )
            .await;
        let member = |name: &str| reply[name].as_str().expect(name).to_owned();
        Tokens {
            access: member("access_token"),
            id: member("id_token"),
            refresh: member("refresh_token"),
        }
    }

    /// An access token for the client itself (RFC 6749 §4.4).
    pub async fn token_of_client(&self, algorithm: &str) -> String {
        let members = [("grant_type", "client_credentials"), ("scope", "pay")];
        let reply = self.token_endpoint(algorithm, CLIENT, &members).await;
        reply["access_token"].as_str().unwrap().to_owned()
    }

    async fn token_endpoint(
        &self,
        algorithm: &str,
        client: &str,
        members: &[(&str, &str)],
    ) -> Value {
        let reply = self.by_client(&format!("/api/{algorithm}/token"), client, members).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// A form from that client.
    async fn by_client(&self, path: &str, client: &str, members: &[(&str, &str)]) -> Reply {
        let credentials = STANDARD.encode(format!("{client}:{CLIENT_SECRET}"));
        let lines = format!("Authorization: Basic {credentials}\r\n");
        exchange(self.address, "POST", path, &lines, &form(members)).await
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&self, algorithm: &str, token: &str) {
        let path = format!("/api/{algorithm}/revoke");
        let reply = self.by_client(&path, CLIENT, &[("token", token)]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// A pair of keys, in PEM.
struct Key {
    private: String,
    public: String,
}

impl Key {
    fn generate(algorithm: &str) -> Self {
        let pair = match algorithm {
            "ES256" => return Self::p256(),
            "EdDSA" => return Self::ed25519(),
            _ => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        let pair = pair.unwrap();
        Self { private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    /// Rhonabwy 1.1, glewlwyd's library, drops leading zeros of coordinates, which RFC 7518 §6.2.1.2 forbids:
    /// the service does not accept such a key.
    fn p256() -> Self {
        loop {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            // The byte 4, and two coordinates (SEC 1 §2.3.3).
            let point = pair.public_key_raw();
            if point[1] != 0 && point[33] != 0 {
                return Self { private: pair.serialize_pem(), public: pair.public_key_pem() };
            }
        }
    }

    /// `GnuTLS` 3.7 rejects Ed25519 keys in PKCS #8 that contain the public key (RFC 5958).
    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        };
        Self {
            private: pem("PRIVATE KEY", private.as_ref()),
            public: pem("PUBLIC KEY", public.as_ref()),
        }
    }
}

fn configuration(address: SocketAddr, folder: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    let modules = format!("{FOLDER}/files/usr/lib/glewlwyd");
    format!(
        r#"
        port = {port}
        bind_address = "{ip}"
        external_url = "http://{address}"
        login_url = "login.html"
        api_prefix = "api"
        log_mode = "console"
        log_level = "ERROR"
        cookie_domain = "{ip}"
        cookie_secure = 0
        session_key = "session"
        session_expiration = 3600
        admin_scope = "g_admin"
        profile_scope = "g_profile"
        user_module_path = "{modules}/user"
        user_middleware_module_path = "{folder}/none"
        client_module_path = "{modules}/client"
        user_auth_scheme_module_path = "{modules}/scheme"
        plugin_module_path = "{modules}/plugin"
        hash_algorithm = "SHA512"
        database = {{ type = "sqlite3" path = "{folder}/database" }}
        "#
    )
}
