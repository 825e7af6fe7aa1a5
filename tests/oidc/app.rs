//! The merchant's app, a public client of the provider (RFC 6749, RFC 7636), and the browser of its
//! user.

use std::{collections::BTreeMap, net::SocketAddr};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    provider::Provider,
    support::{Reply, with_timeout},
};

/// Its client id.
pub const CLIENT: &str = "app";
/// The redirect URI.
const REDIRECT_URI: &str = "https://app.example/back";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub struct App<'a> {
    provider: &'a Provider,
    subject: String,
    client: String,
    cookies: BTreeMap<String, String>,
}

/// The provider's tokens.
pub struct Tokens {
    pub access: String,
    pub id: String,
    /// `Bearer` or `DPoP`.
    pub kind: String,
}

impl<'a> App<'a> {
    pub fn of(provider: &'a Provider, subject: &str) -> Self {
        Self::with_client_id(provider, subject, CLIENT)
    }

    /// The same app with this client id.
    pub fn with_client_id(provider: &'a Provider, subject: &str, client: &str) -> Self {
        let (subject, client) = (subject.to_owned(), client.to_owned());
        Self { provider, subject, client, cookies: BTreeMap::new() }
    }

    /// Logs the user in, and gets tokens for this resource.
    pub async fn tokens(&mut self, resource: &str) -> Tokens {
        self.tokens_with(resource, "").await
    }

    /// The same with further header lines for the token endpoint, each terminated by CR LF.
    pub async fn tokens_with(&mut self, resource: &str, lines: &str) -> Tokens {
        let code = self.code(resource).await;
        let form = form(&[
            ("grant_type", "authorization_code"),
            ("client_id", &self.client),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
            ("code", &code),
            ("resource", resource),
        ]);
        let reply = self.send("POST", "/token", lines, &form).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let json = reply.json();
        let member = |name: &str| json[name].as_str().expect(name).to_owned();
        Tokens {
            access: member("access_token"),
            id: member("id_token"),
            kind: member("token_type"),
        }
    }

    /// Opens the authorization endpoint and the login page, until the redirect to the app.
    async fn code(&mut self, resource: &str) -> String {
        // The provider gets the current time.
        self.provider.order(json!({})).await;
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.client),
            ("redirect_uri", REDIRECT_URI),
            ("scope", "openid pay"),
            ("resource", resource),
            ("login_hint", &self.subject),
            ("nonce", "of this login"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let mut target = format!("/auth?{query}");
        loop {
            let reply = self.send("GET", &target, "", "").await;
            let location = reply.header("location").unwrap_or_else(|| panic!("{}", reply.text()));
            if let Some(query) = location.strip_prefix(REDIRECT_URI) {
                return parameter(query, "code");
            }
            location
                .strip_prefix(&self.provider.issuer)
                .unwrap_or(location)
                .clone_into(&mut target);
        }
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&mut self, token: &str) {
        let form = form(&[("token", token), ("client_id", CLIENT)]);
        let reply = self.send("POST", "/token/revocation", "", &form).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Logs the user out at the provider (OpenID Connect RP-Initiated Logout). When this returns,
    /// the provider has sent its logout tokens.
    pub async fn log_out(&mut self) {
        let page =
            self.send("GET", &format!("/session/end?client_id={CLIENT}"), "", "").await.text();
        let (_, rest) = page.split_once("name=\"xsrf\" value=\"").expect("a form");
        let (xsrf, _) = rest.split_once('"').unwrap();
        let form = form(&[("xsrf", xsrf), ("logout", "yes")]);
        let reply = self.send("POST", "/session/end/confirm", "", &form).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
    }

    /// One exchange, with the browser's cookies.
    async fn send(&mut self, method: &str, target: &str, lines: &str, form: &str) -> Reply {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, it)| format!("{name}={it}")).collect();
        let lines = format!("Cookie: {}\r\n{lines}", cookies.join("; "));
        let reply = exchange(self.provider.address(), method, target, &lines, form).await;
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, rest) = cookie.split_once('=').unwrap();
            let (value, _attributes) = rest.split_once(';').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        reply
    }
}

/// One exchange with an issuer, with a form in the request.
pub async fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    lines: &str,
    form: &str,
) -> Reply {
    let lines = format!("Content-Type: application/x-www-form-urlencoded\r\n{lines}");
    send(address, method, target, &lines, form).await
}

/// One exchange with an issuer.
pub async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    lines: &str,
    body: &str,
) -> Reply {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {}\r\n{lines}\r\n{body}",
        body.len(),
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    let answer = with_timeout("the issuer's answer", exchange).await.expect("an answer");
    Reply::parse(&answer).expect("a whole answer")
}

/// `application/x-www-form-urlencoded`
pub fn form(members: &[(&str, &str)]) -> String {
    let pairs = members.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The value of a parameter of that query.
pub fn parameter(query: &str, name: &str) -> String {
    let pairs = query.trim_start_matches('?').split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("{name} in {query}")).to_owned()
}
