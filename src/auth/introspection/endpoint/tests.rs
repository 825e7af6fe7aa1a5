//! The form of requests. `tests/api` tests responses over sockets.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::tls;

fn endpoint(client_id: &str, secret: &str) -> HttpEndpoint {
    HttpEndpoint {
        url: "https://id.example/introspect".to_owned(),
        client_id: client_id.to_owned(),
        secret: Arc::new(Secret::fixed(secret.into())),
        tls: tls::client_config(None).unwrap(),
    }
}

#[test]
fn forms_are_encoded_by_the_url_standard() {
    for (text, encoded) in [
        ("aZ09*-._", "aZ09*-._"),
        ("a b", "a+b"),
        ("a+b/c=~", "a%2Bb%2Fc%3D%7E"),
        ("&=%:\u{e4}\r\n", "%26%3D%25%3A%C3%A4%0D%0A"),
        ("", ""),
    ] {
        assert_eq!(*form(text), encoded, "{text:?}");
    }
}

#[test]
fn credentials_are_encoded_twice_and_not_printed() {
    let header = endpoint("cli:ent", "s%c ret+").authorization().unwrap();
    let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(encoded).unwrap(), b"cli%3Aent:s%25c+ret%2B");
    assert!(header.is_sensitive());
    let (_client, request) = endpoint("client", "hush").request().unwrap();
    assert!(!format!("{request:?}").contains(&STANDARD.encode("client:hush")), "{request:?}");
}

#[test]
fn only_json_is_accepted() {
    for (value, is_accepted) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("application/json ;x", true),
        ("text/html", false),
        ("application/token-introspection+jwt", false),
        ("application/jsonx", false),
        ("", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
        assert_eq!(is_json(&headers), is_accepted, "{value}");
    }
    assert!(!is_json(&HeaderMap::new()));
}
