//! Keys and extensions inside a token (RFC 8725 §2.9 and §3.10, RFC 7515 §4.1), and `kid`s with
//! injections.

use serde_json::{Value, json};
use simulator::Algorithm;

use super::{
    Row,
    forge::{Forge, changed},
};

pub fn brought_along(forge: &Forge<'_>) -> Vec<Row> {
    let own = forge.untrusted_issuer.jwks()["keys"][0].clone();
    let trap = |path: &str| format!("http://{}/{path}", forge.trap);
    let own_kid = forge.untrusted_issuer.kid(Algorithm::ES256).unwrap();
    let mut rows = Vec::new();
    let brought = [
        ("jwk", json!({ "jwk": own })),
        ("a set", json!({"jwks": {"keys": [own]}})),
        ("a key as kid's neighbour", json!({"keys": [own]})),
        ("jku", json!({"jku": trap("jwks")})),
        ("jku at the untrusted issuer's", json!({"jku": forge.untrusted_issuer.jwks_url()})),
        ("jku with our name in it", json!({"jku": format!("{}@{}", forge.iss(), forge.trap)})),
        ("x5u", json!({"x5u": trap("cert.pem")})),
        ("x5c", json!({"x5c": ["MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"]})),
        ("x5t", json!({"x5t": "AAAAAAAAAAAAAAAAAAAAAAAAAAA", "x5t#S256": "AAAA"})),
        ("all at once", json!({"jwk": own, "jku": trap("a"), "x5u": trap("b"), "x5c": ["AAAA"]})),
        ("iss in the header", json!({"iss": forge.untrusted_issuer.issuer_url()})),
        ("nothing", json!({})),
    ];
    for (what, members) in &brought {
        for (kid, which) in [(forge.header()["kid"].clone(), "our kid"), (Value::Null, "no kid")] {
            let header = changed(changed(forge.header(), members), &json!({ "kid": kid }));
            let what = format!("{what}, with {which}");
            rows.push(Row::invalid("signature", what, forge.by_untrusted_issuer(&header)));
        }
    }
    for (what, members) in &brought {
        let header = changed(changed(forge.header(), members), &json!({ "kid": own_kid }));
        let what = format!("{what}, with the untrusted issuer's kid");
        rows.push(Row::invalid("unknown_key", what, forge.by_untrusted_issuer(&header)));
    }
    rows
}

/// Signed with the issuer's key, but with a header that changes how the token is read.
pub fn extensions(forge: &Forge<'_>) -> Vec<Row> {
    let text = |member: &str| {
        let header = forge.header().to_string().replacen('{', &format!("{{{member},"), 1);
        forge.signed(&header, &forge.claims().to_string())
    };
    [
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""crit":"exp""#,
        r#""crit":{}"#,
        r#""crit":["exp"]"#,
        r#""crit":["b64"],"b64":false"#,
        r#""crit":["b64"],"b64":true"#,
        r#""crit":["http://example.com/UNDEFINED"],"http://example.com/UNDEFINED":true"#,
        r#""crit":["alg","kid"]"#,
        r#""cr\u0069t":["exp"]"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""b64":null"#,
        r#""crit":["zip"],"zip":"DEF""#,
        r#""crit":["unknown"],"unknown":1"#,
        r#""crit":["missing"]"#,
        r#""enc":"A128CBC-HS256""#,
        r#""enc":null"#,
    ]
    .map(|member| Row::invalid("header", member, text(member)))
    .into()
}

/// `kid`s for services that look them up in files, databases, shells, directories or templates.
const INJECTED: [&str; 35] = [
    "",
    " ",
    "*",
    "%",
    "null",
    "0",
    "undefined",
    "..",
    "../../../../../../dev/null",
    "/dev/null",
    "/proc/self/environ",
    "file:///etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\host\\share\\key",
    "' OR '1'='1",
    "x' UNION SELECT 'secret' --",
    "'; DROP TABLE keys; --",
    "\" || true || \"",
    "$(id)",
    "`id`",
    "; id",
    "| id",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>",
    "a\0",
    "\r\nX-Injected: 1",
    "\u{feff}",
    "\u{202e}kid",
    "%00",
    "%2e%2e%2f",
    "*)(uid=*",
    "${kid}",
    "__proto__",
    "constructor",
];

pub fn kids(forge: &Forge<'_>) -> Vec<Row> {
    let kid = forge.header()["kid"].as_str().expect("a text").to_owned();
    let with = |kid: &Value| {
        let mut header = forge.header();
        header["kid"] = kid.clone();
        forge.found_by_kid(&header)
    };
    let mut rows = Vec::new();
    for odd in [
        json!(null),
        json!(1),
        json!(-1.5),
        json!(true),
        json!([kid]),
        json!({ "kid": kid }),
        json!("x".repeat(257)),
        json!("../".repeat(500)),
        json!("é".repeat(129)),
    ] {
        let what: String = format!("kid {odd}").chars().take(60).collect();
        rows.push(Row::invalid("header", what, with(&odd)));
    }
    let trap = format!("http://{}/kid", forge.trap);
    for odd in INJECTED.into_iter().chain([&*trap]) {
        rows.push(Row::invalid("unknown_key", format!("kid {odd:?}"), with(&json!(odd))));
    }
    let nearly = [
        format!("{kid} "),
        format!(" {kid}"),
        format!("{kid}\0"),
        format!("{kid}\0/dev/null"),
        format!("{kid}="),
        format!("{kid}/.."),
        format!("../{kid}"),
        kid[1..].to_owned(),
        kid[..kid.len() - 1].to_owned(),
        kid.to_uppercase(),
        kid.to_lowercase(),
        kid.repeat(2),
        "x".repeat(256),
        "é".repeat(128),
    ];
    rows.extend(
        nearly
            .iter()
            .map(|odd| Row::invalid("unknown_key", format!("kid {odd:?}"), with(&json!(odd)))),
    );
    rows
}
