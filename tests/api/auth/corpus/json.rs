//! Headers and claims that two readers could interpret differently, or that are not readable.

use serde_json::json;

use super::{
    Row,
    forge::{Forge, base64url},
};

/// Replacements for a JSON object.
const NO_OBJECTS: &[(&str, &[u8])] = &[
    ("nothing", b""),
    ("a space", b" "),
    ("null", b"null"),
    ("true", b"true"),
    ("a number", b"1"),
    ("a text", b"\"{}\""),
    ("a list", b"[]"),
    ("a list of an object", b"[{}]"),
    ("a brace", b"{"),
    ("two objects", b"{}{}"),
    ("an object and a zero byte", b"{}\0"),
    ("a zero byte and an object", b"\0{}"),
    ("a byte order mark", b"\xef\xbb\xbf{}"),
    ("UTF-16", b"\xff\xfe{\0}\0"),
    ("UTF-32", b"{\0\0\0}\0\0\0"),
    ("a byte that isn't UTF-8", b"{\"a\":\"\xff\"}"),
    ("an overlong slash", b"{\"a\":\"\xc0\xaf\"}"),
    ("a surrogate in UTF-8", b"{\"a\":\"\xed\xa0\x80\"}"),
    ("a cut character", b"{\"a\":\"\xc3"),
    ("half a surrogate pair", b"{\"a\":\"\\ud800\"}"),
    ("the other half", b"{\"a\":\"\\udc00\"}"),
    ("half a pair as a name", b"{\"\\ud800\":1}"),
    ("a control character", b"{\"a\":\"\n\"}"),
    ("a bad escape", b"{\"a\":\"\\x41\"}"),
    ("single quotes", b"{'a':1}"),
    ("no quotes", b"{a:1}"),
    ("a comma too many", b"{\"a\":1,}"),
    ("a comma at once", b"{,}"),
    ("a comment", b"{}/* */"),
    ("another comment", b"{} // x"),
    ("NaN", b"{\"a\":NaN}"),
    ("Infinity", b"{\"a\":-Infinity}"),
    ("a hexadecimal number", b"{\"a\":0x10}"),
    ("an octal number", b"{\"a\":010}"),
    ("a plus", b"{\"a\":+1}"),
    ("a point without digits", b"{\"a\":1.}"),
    ("a point before digits", b"{\"a\":.5}"),
    ("a number beyond all", b"{\"a\":1e999}"),
    ("two members of a name", b"{\"a\":1,\"a\":1}"),
    ("two members of a name, one escaped", b"{\"a\":1,\"\\u0061\":1}"),
    ("XML", b"<a/>"),
    ("CBOR", b"\xa1\x61a\x01"),
    ("an encoded Java object", b"\xac\xed\0\x05sr"),
    ("a pickle", b"\x80\x04}\x94."),
];

pub fn headers(forge: &Forge<'_>) -> Vec<Row> {
    let [_, payload, signature] = forge.parts();
    let mut rows: Vec<Row> = NO_OBJECTS
        .iter()
        .map(|(what, text)| {
            let token = format!("{}.{payload}.{signature}", base64url(text));
            Row::invalid("not_jws", format!("header: {what}"), token)
        })
        .collect();
    let (header, claims) = (forge.header().to_string(), forge.claims().to_string());
    for member in [
        r#""alg":"none""#,
        r#""alg":"ES256""#,
        r#""\u0061lg":"none""#,
        r#""kid":"x""#,
        r#""typ":"JWT""#,
        r#""x":{"y":1},"x":{"y":2}"#,
        r#""x":{"y":1,"y":1}"#,
        r#""x":[{"y":{"z":1,"\u007a":2}}]"#,
        r#""crit":[],"crit":[]"#,
    ] {
        let doubled = header.replacen('{', &format!("{{{member},"), 1);
        let what = format!("header: {member} twice");
        rows.push(Row::invalid("not_jws", what, forge.signed(&doubled, &claims)));
    }
    let deep =
        header.replacen('{', &format!("{{\"x\":{}1{},", "[".repeat(200), "]".repeat(200)), 1);
    rows.push(Row::invalid("not_jws", "header: 200 lists deep", forge.signed(&deep, &claims)));
    rows
}

pub fn payloads(forge: &Forge<'_>) -> Vec<Row> {
    let header = forge.header().to_string();
    let [head, _, signature] = forge.parts();
    let mut rows = Vec::new();
    for (what, text) in NO_OBJECTS {
        let what = format!("claims: {what}");
        // Signed with the issuer's key if the text is UTF-8; otherwise the signature is not
        // checked.
        let token = match std::str::from_utf8(text) {
            Ok(text) => forge.claiming(&header, text),
            Err(_) => format!("{head}.{}.{signature}", base64url(text)),
        };
        rows.push(Row::invalid("not_jws", what, token));
    }
    for member in [
        r#""sub":"bob""#,
        r#""sub":"alice""#,
        r#""s\u0075b":"bob""#,
        r#""iss":"https://evil.example""#,
        r#""aud":"others""#,
        r#""exp":1"#,
        r#""exp":99999999999"#,
        r#""x":1,"x":2"#,
        r#""x":{"y":1,"y":2}"#,
        r#""x":[[{"y":1,"\u0079":1}]]"#,
        r#""app_metadata":{"customer_id":"alice","customer_id":"bob"}"#,
        r#""":1,"":2"#,
        r#""cnf":{},"cnf":{}"#,
    ] {
        let what = format!("claims: {member} twice");
        rows.push(Row::invalid("not_jws", what, forge.with_text(member)));
    }
    let deep = format!("\"x\":{}1{}", "[".repeat(200), "]".repeat(200));
    rows.push(Row::invalid("not_jws", "claims: 200 lists deep", forge.with_text(&deep)));
    let objects = format!("\"x\":{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    rows.push(Row::invalid("not_jws", "claims: 200 objects deep", forge.with_text(&objects)));
    let inside = json!({ "claims": forge.claims() }).to_string();
    let wrapped = forge.claiming(&header, &inside);
    rows.push(Row::invalid("unknown_issuer", "claims in a claim", wrapped));
    rows.push(Row::invalid("unknown_issuer", "claims: {}", forge.claiming(&header, "{}")));
    rows.push(Row::invalid(
        "unknown_issuer",
        "claims: white space",
        forge.claiming(&header, " {\n} "),
    ));
    rows
}
