//! Issuer, audience, subject and purpose: wrong types, other forms and look-alikes.

use serde_json::{Value, json};

use super::{
    Row,
    forge::{AUDIENCE, Forge},
};

pub fn parties(forge: &Forge<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    issuers(forge, &mut rows);
    audiences(forge, &mut rows);
    subjects(forge, &mut rows);
    applications(forge, &mut rows);
    rows
}

fn issuers(forge: &Forge<'_>, rows: &mut Vec<Row>) {
    let iss = &*forge.iss();
    for odd in [
        json!(null),
        json!(1),
        json!(true),
        json!([iss]),
        json!([iss, "https://evil.example"]),
        json!({ "iss": iss }),
        json!({ "0": iss }),
        json!(""),
        json!(format!("{iss}/")),
        json!(format!("{iss} ")),
        json!(format!(" {iss}")),
        json!(format!("{iss}\0")),
        json!(format!("{iss}\n")),
        json!(format!("{iss}?")),
        json!(format!("{iss}#")),
        json!(format!("{iss}/../")),
        json!(format!("{iss}@evil.example")),
        json!(format!("{iss}.evil.example")),
        json!(iss.to_uppercase()),
        json!(iss.replacen("http:", "https:", 1)),
        json!(iss.replacen("http:", "HTTP:", 1)),
        json!(iss.replacen("127.0.0.1", "localhost", 1)),
        json!(iss.replacen("127.0.0.1", "127.1", 1)),
        json!(iss.replacen("127.0.0.1", "2130706433", 1)),
        json!(iss.replacen("127.0.0.1", "127.0.0.\u{ff11}", 1)),
        json!(iss.replacen("http", "htt\u{440}", 1)),
        json!(iss.replacen("http", "h\u{200b}ttp", 1)),
        json!(iss.replacen(':', "%3A", 1)),
        json!(iss[..iss.len() - 1]),
        json!(forge.untrusted_issuer.issuer_url()),
        json!("self"),
    ] {
        let token = forge.with_claims(&json!({ "iss": odd }));
        rows.push(Row::invalid("unknown_issuer", format!("iss {odd}"), token));
    }
    let token = forge.with_text_for("iss", "null");
    rows.push(Row::invalid("unknown_issuer", "iss that is null", token));
}

fn audiences(forge: &Forge<'_>, rows: &mut Vec<Row>) {
    let (audience, claim) = (AUDIENCE, forge.audience_claim);
    for odd in [
        json!(1),
        json!(true),
        json!({ audience: true }),
        json!({ "aud": audience }),
        json!([[audience]]),
        json!([audience, 1]),
        json!([audience, null]),
        json!([{ "aud": audience }]),
        json!(null),
    ] {
        let token = forge.with_claims(&json!({ claim: odd }));
        rows.push(Row::invalid("claims", format!("{claim} {odd}"), token));
    }
    let null = forge.with_text_for(claim, "null");
    rows.push(Row::invalid("claims", format!("{claim} that is null"), null));
    for odd in [
        json!(""),
        json!([]),
        json!([""]),
        json!("*"),
        json!("juspay-bff-dem"),
        json!("juspay-bff-demo2"),
        json!("xjuspay-bff-demo"),
        json!("juspay-bff-demo "),
        json!(" juspay-bff-demo"),
        json!("juspay-bff-demo\0"),
        json!("JUSPAY-BFF-DEMO"),
        json!("juspay-bff-demo other"),
        json!("juspay-bff-demo,other"),
        json!("[\"juspay-bff-demo\"]"),
        json!("juspay\u{2010}bff\u{2010}demo"),
        json!("jusp\u{430}y-bff-demo"),
        json!("juspay-bff-demo\u{200b}"),
        json!(["other", "another"]),
        json!(forge.iss()),
    ] {
        let token = forge.with_claims(&json!({ claim: odd }));
        // Only aud may be a list.
        let reason = if odd.is_array() && claim != "aud" { "claims" } else { "audience" };
        rows.push(Row::invalid(reason, format!("{claim} {odd}"), token));
    }
}

fn subjects(forge: &Forge<'_>, rows: &mut Vec<Row>) {
    for odd in [json!(["alice"]), json!([]), json!({ "sub": "alice" }), json!([["alice"]])] {
        let token = forge.with_claims(&json!({ "sub": odd }));
        rows.push(Row::invalid("claims", format!("sub {odd}"), token));
    }
    for odd in [
        json!(null),
        json!(true),
        json!(1.5),
        json!(""),
        json!(" "),
        json!("."),
        json!(".."),
        json!("a/b"),
        json!("../bob"),
        json!("a\\b"),
        json!("bob\0"),
        json!("\0bob"),
        json!("bob\u{0}alice"),
        json!("a\nb"),
        json!("a\r\nx-routing-id: bob"),
        json!("\u{85}"),
        json!("\u{7f}"),
        json!(" bob"),
        json!("bob\t"),
        json!("\u{a0}bob"),
        json!("bob\u{2003}"),
        json!("x".repeat(257)),
        json!("é".repeat(129)),
    ] {
        let what: String = format!("sub {odd}").chars().take(40).collect();
        rows.push(Row::without_customer(what, forge.with_claims(&json!({ "sub": odd }))));
    }
    for odd in ["null", "-0", "1e3", "1E400e", "18446744073709551616", "1.0"] {
        let token = forge.with_text_for("sub", odd);
        let what = format!("sub {odd}, without quotes");
        rows.push(match odd {
            "1E400e" => Row::invalid("not_jws", what, token),
            _ => Row::without_customer(what, token),
        });
    }
}

/// Tokens of the client credentials grant.
fn applications(forge: &Forge<'_>, rows: &mut Vec<Row>) {
    for app in ["client_id", "azp", "cid"] {
        for end in ["", "@clients"] {
            let client = if app == forge.audience_claim { AUDIENCE } else { "app" };
            let sub = format!("{client}{end}");
            let token = forge.with_claims(&json!({"sub": sub, app: client}));
            rows.push(Row::without_customer(
                format!("the application itself, app{end} by {app}"),
                token,
            ));
        }
    }
    // Laravel Passport names the client in `aud` only.
    for end in ["", "@clients"] {
        let what = format!("the application itself, a listed audience{end} by sub");
        let token = forge.with_claims(&json!({"sub": format!("{AUDIENCE}{end}")}));
        rows.push(Row::without_customer(what, token));
    }
}

/// Types of other tokens, and look-alikes of accepted types.
const OTHER_TYPES: [&str; 24] = [
    "dpop+jwt",
    "logout+jwt",
    "secevent+jwt",
    "token-introspection+jwt",
    "oauth-authz-req+jwt",
    "jwk-set+json",
    "id_token+jwt",
    "JOSE",
    "JOSE+JSON",
    "JWE",
    "refresh",
    "at+jwt ",
    " at+jwt",
    "at+jwt\0",
    "at+jwt;x=y",
    "at-jwt",
    "at+jw",
    "aat+jwt",
    "application/",
    "application",
    "application/application/at+jwt",
    "text/at+jwt",
    "\u{430}t+jwt",
    "at\u{ff0b}jwt",
];

/// Tokens whose header names another purpose.
pub fn types(forge: &Forge<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for typ in OTHER_TYPES {
        let token = forge.with_header(&json!({ "typ": typ }));
        rows.push(Row::invalid("type", format!("typ {typ:?}"), token));
    }
    for typ in [json!(1), json!(true), json!(["at+jwt"]), json!({}), json!([])] {
        let token = forge.with_header(&json!({ "typ": typ }));
        rows.push(Row::invalid("header", format!("typ {typ}"), token));
    }
    let header = forge.header().to_string().replacen("\"at+jwt\"", "null", 1);
    let token = forge.signed(&header, &forge.claims().to_string());
    rows.push(Row::invalid("header", "typ that is null", token));
    rows
}

/// Tokens whose claims name another purpose.
pub fn uses(forge: &Forge<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let as_type = |typ: Value, claims: &str| {
        let mut header = forge.header();
        header["typ"] = typ;
        header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let claims = forge.claims().to_string().replacen('{', &format!("{{{claims},"), 1);
        forge.claiming(&header.to_string(), &claims)
    };
    for typ in [json!("JWT"), json!("jwt"), json!("application/jwt"), json!(""), json!(null)] {
        for claim in
            ["\"at_hash\":\"h\"", "\"c_hash\":null", "\"at\\u005fhash\":0", "\"token_use\":\"id\""]
        {
            let what = format!("an ID token, typ {typ}, {claim}");
            rows.push(Row::invalid("id_token", what, as_type(typ.clone(), claim)));
        }
    }
    kinds(forge, &mut rows);
    for cnf in [
        "{}",
        "null",
        "[]",
        "\"x\"",
        "false",
        "{\"jkt\":\"x\"}",
        "{\"x5t#S256\":\"x\"}",
        "{\"kid\":\"x\"}",
        "{\"jwk\":{}}",
    ] {
        let token = forge.with_text(&format!("\"cnf\":{cnf}"));
        rows.push(Row::invalid("confirmation", format!("cnf {cnf}"), token));
    }
    rows.push(Row::invalid("confirmation", "cnf, escaped", forge.with_text("\"c\\u006ef\":{}")));
    rows
}

/// Tokens whose claims name another kind.
fn kinds(forge: &Forge<'_>, rows: &mut Vec<Row>) {
    for kind in ["id", "ID", "id_token", "refresh", "Refresh", "Offline", "logout", "logout+jwt"] {
        for claim in ["token_use", "token_type", "typ"] {
            let reason = if kind.to_lowercase().starts_with("id") { "id_token" } else { "type" };
            let claims = json!({ claim: kind });
            rows.push(Row::invalid(reason, format!("claims {claims}"), forge.with_claims(&claims)));
        }
    }
    for events in ["null", "{}", "[]", "\"x\"", "{\"urn:x\":{}}"] {
        let what = format!("events {events}");
        rows.push(Row::invalid("type", what, forge.with_text(&format!("\"events\":{events}"))));
    }
    let listed = forge.with_claims(&json!({"token_use": ["access", "refresh"]}));
    rows.push(Row::invalid("type", "a list of kinds", listed));
}

/// Tokens without the scope `pay`, and what they have instead.
pub fn without_the_scope(forge: &Forge<'_>) -> Vec<(String, String)> {
    [
        json!({}),
        json!({"scope": ""}),
        json!({"scope": "*"}),
        json!({"scope": "Pay"}),
        json!({"scope": "PAY"}),
        json!({"scope": "pay,read"}),
        json!({"scope": "pay;read"}),
        json!({"scope": "pay\tread"}),
        json!({"scope": "pay\nread"}),
        json!({"scope": "pay\u{a0}read"}),
        json!({"scope": "pay\0"}),
        json!({"scope": "\"pay\""}),
        json!({"scope": "p\u{430}y"}),
        json!({"scope": "payment"}),
        json!({"scope": "read:pay"}),
        json!({"scope": ["pay read"]}),
        json!({"scope": [["pay"]]}),
        json!({"scope": {"pay": true}}),
        json!({"scope": true}),
        json!({"scope": 1}),
        json!({"scp": true}),
        json!({"scp": {"pay": true}}),
        json!({"scp": [["pay"]]}),
        json!({"scp": [{"pay": true}]}),
        json!({"scp": ["pay read"]}),
        json!({"scp": [true, 1, null]}),
        json!({"scopes": {"pay": true}}),
        json!({"scopes": ["pay read", "Pay", ["pay"], true]}),
        json!({"scopes": "pay,read", "permissions": ["pay"], "roles": ["pay"]}),
    ]
    .map(|claims| (format!("scope {claims}"), forge.with_claims(&claims)))
    .into()
}

/// Tokens with the scope, in each form.
pub fn with_the_scope(forge: &Forge<'_>) -> Vec<(String, String)> {
    let in_each_form = |claim: &str| {
        [json!("pay"), json!("read pay"), json!(["pay"]), json!(["read", "pay", 1])]
            .map(|scopes| json!({ claim: scopes }))
    };
    let mut rows = ["scope", "scp", "scopes"].map(in_each_form).concat();
    rows.push(json!({"scopes": "pay", "permissions": ["pay"], "roles": ["pay"]}));
    let row = |claims: Value| (format!("scope {claims}"), forge.with_claims(&claims));
    rows.into_iter().map(row).collect()
}
