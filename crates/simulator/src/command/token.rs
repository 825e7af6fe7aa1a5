//! The command `token`: requests a bearer token from a development issuer and prints only the
//! token.

use std::{io, sync::Arc, time::Duration};

use clock::{Clock, timeout_at};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Reply, exchange};

/// Timeout of the request. The issuer usually runs on the same machine.
const DEADLINE: Duration = Duration::from_secs(5);

/// The token to request.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The issuer's URL, `http://…`.
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// `aud`; the issuer's default if absent.
    pub audience: Option<String>,
    /// Life of the token; the issuer's default if absent.
    pub life: Option<Duration>,
    /// `scope`, separated by spaces; absent if none.
    pub scope: Option<String>,
    /// Additional claims: names and values. `true` and `false` become booleans, other values strings.
    pub claims: Vec<(String, String)>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not `http://HOST[:PORT][/PATH]`.
    #[error(
        "`{0}` is not a dev issuer's URL; expected http://HOST:PORT, as printed by `juspay-bff \
         simulator`"
    )]
    Url(String),
    /// Connecting failed.
    #[error(
        "no issuer responds at {url} ({why}); start one with `juspay-bff simulator`, or set \
         --issuer"
    )]
    Unreachable {
        /// The issuer.
        url: String,
        /// The operating system's error.
        why: String,
    },
    /// The server isn't a development issuer, or rejects the request.
    #[error(
        "{url} returned no token ({why}); set --issuer to the --issuer-listen address of \
         `juspay-bff simulator`"
    )]
    Rejected {
        /// The issuer.
        url: String,
        /// Status and reason.
        why: String,
    },
    /// Writing the output failed.
    #[error("failed to write the token: {0}")]
    Output(#[source] io::Error),
}

/// Requests a token and writes it to `out`, followed by a line feed.
///
/// # Errors
/// If the issuer returns no token, or `out` can't be written.
pub async fn print_token(
    order: &TokenRequest,
    clock: Arc<dyn Clock>,
    out: &mut (dyn io::Write + Send),
) -> Result<(), TokenError> {
    let token = fetch(order, clock.as_ref()).await?;
    writeln!(out, "{token}").and_then(|()| out.flush()).map_err(TokenError::Output)
}

async fn fetch(order: &TokenRequest, clock: &dyn Clock) -> Result<String, TokenError> {
    let unreachable = |why: String| TokenError::Unreachable { url: order.issuer.clone(), why };
    let (authority, path) = split_url(&order.issuer)?;
    let mut wanted = json!({"subject": order.subject});
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.extend(order.audience.as_ref().map(|to| ("audience".to_owned(), json!(to))));
        wanted.extend(order.scope.as_ref().map(|scope| ("scope".to_owned(), json!(scope))));
        wanted.extend(order.life.map(|life| ("life".to_owned(), json!(life.as_secs()))));
        let claims = order.claims.iter().map(|(name, value)| (name.clone(), claim(value)));
        wanted.insert("claims".to_owned(), claims.collect::<Map<_, _>>().into());
    }
    let deadline = clock.monotonic().plus(DEADLINE);
    let (path, wanted) = (format!("{path}/token"), wanted.to_string());
    let json = [("Content-Type", "application/json")];
    let exchange_result = exchange(&authority, "POST", &path, &json, &wanted);
    let response = timeout_at(clock, deadline, exchange_result)
        .await
        .ok_or_else(|| unreachable(format!("no response within {} s", DEADLINE.as_secs())))?
        .map_err(|error| unreachable(error.to_string()))?;
    parse_token(&response).map_err(|why| TokenError::Rejected { url: order.issuer.clone(), why })
}

fn claim(value: &str) -> Value {
    value.parse::<bool>().map_or_else(|_| json!(value), Value::Bool)
}

/// Splits a URL into `HOST:PORT` and the path without its trailing slash.
fn split_url(url: &str) -> Result<(String, &str), TokenError> {
    let wrong = || TokenError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let sane = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if authority.is_empty() || authority.contains('@') || !sane(rest) || rest.contains(['?', '#']) {
        return Err(wrong());
    }
    // An IPv6 address in brackets contains colons as well.
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Ok((authority, path.trim_end_matches('/')))
}

/// The token in a response, or why there is none.
fn parse_token(response: &Reply) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
    }
    #[derive(Deserialize)]
    struct Denied {
        error: String,
    }
    if response.status != 200 {
        let denied = serde_json::from_slice(&response.body);
        let why = denied.map_or_else(|_| String::new(), |it: Denied| it.error);
        return Err(format!("status {}, {why}", response.status));
    }
    match serde_json::from_slice::<Granted>(&response.body) {
        Ok(granted) => Ok(granted.access_token),
        Err(_) => Err("the response has no access_token".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;

    use super::*;
    use crate::{Config, Fault, start};

    fn order(issuer: &str) -> TokenRequest {
        let (audience, life) = (Some("them".to_owned()), Some(Duration::from_secs(90)));
        let scope = Some("read write".to_owned());
        TokenRequest {
            issuer: issuer.to_owned(),
            subject: "alice".to_owned(),
            audience,
            life,
            scope,
            claims: vec![
                ("phone_number".to_owned(), "+919876543210".to_owned()),
                ("phone_number_verified".to_owned(), "true".to_owned()),
            ],
        }
    }

    async fn printed(order: &TokenRequest) -> Result<String, TokenError> {
        let mut out = Vec::new();
        print_token(order, SystemClock::shared(), &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn only_the_token_is_printed() {
        let running = start(Config::on_free_ports()).await.unwrap();
        let text = printed(&order(running.issuer().issuer_url())).await.unwrap();
        let token = text.strip_suffix('\n').unwrap();
        let claims = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token).unwrap();
        assert_eq!(
            (&claims.claims["sub"], &claims.claims["aud"]),
            (&json!("alice"), &json!("them"))
        );
        let [exp, iat] = ["exp", "iat"].map(|claim| claims.claims[claim].as_i64().unwrap());
        assert_eq!(exp - iat, 90);
        assert_eq!(claims.claims["scope"], "read write");
        assert_eq!(
            (&claims.claims["phone_number"], &claims.claims["phone_number_verified"]),
            (&json!("+919876543210"), &json!(true))
        );
        let bare = TokenRequest {
            audience: None,
            life: None,
            scope: None,
            claims: Vec::new(),
            ..order(running.issuer().issuer_url())
        };
        assert!(printed(&bare).await.is_ok());
    }

    #[tokio::test]
    async fn missing_issuer_error_names_url_and_fix() {
        let running = start(Config::on_free_ports()).await.unwrap();
        let gone = running.issuer().issuer_url().to_owned();
        drop(running);
        // The port closes when the task ends, not when its handle is dropped.
        let error = loop {
            match printed(&order(&gone)).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(&gone) && error.contains("`juspay-bff simulator`"), "{error}");
    }

    #[tokio::test]
    async fn other_servers_are_reported_as_no_dev_issuer() {
        let running = start(Config::on_free_ports()).await.unwrap();
        let juspay = running.simulator().base_url();
        let error = printed(&order(juspay)).await.unwrap_err().to_string();
        assert!(error.contains(juspay) && error.contains("status 404"), "{error}");
        let issuer = running.issuer();
        for (fault, why) in [
            (Fault::Html, "no access_token"),
            (Fault::Close, "is not HTTP"),
            (Fault::Reset, "reset"),
        ] {
            issuer.inject("/token", Some(1), fault);
            let error = printed(&order(issuer.issuer_url())).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn urls_are_split() {
        for (url, authority, path) in [
            ("http://127.0.0.1:8082", "127.0.0.1:8082", ""),
            ("http://localhost", "localhost:80", ""),
            ("http://[::1]:8082/", "[::1]:8082", ""),
            ("http://[::1]", "[::1]:80", ""),
            ("http://host:1/a/b/", "host:1", "/a/b"),
        ] {
            assert_eq!(split_url(url).unwrap(), (authority.to_owned(), path));
        }
        for url in
            ["https://a", "a:1", "http://", "http:///x", "http://a b", "http://u@h", "http://h?x"]
        {
            let error = split_url(url).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains("http://HOST:PORT"), "{error}");
        }
    }
}
