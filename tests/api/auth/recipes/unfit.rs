//! The token of a recipe, made invalid in one way each.

use serde_json::{Value, json};

use super::{
    mistakes::named_by_the_document,
    served::{Served, UntrustedIssuer, with},
};
use crate::auth::corpus::{changed, explained_as};

/// What is wrong with a token, the response, and the counted reason.
pub struct Row {
    what: String,
    token: String,
    status: u16,
    code: &'static str,
    pub reason: &'static str,
}

/// Created when needed, because times are exact to the second.
type Group = fn(&Served, &UntrustedIssuer) -> Vec<Row>;

pub const GROUPS: [Group; 9] = [
    |served, _| of_another_audience(served),
    |served, _| of_another_issuer(served),
    |served, _| of_another_kind(served),
    |served, _| without_a_required_claim(served),
    |served, _| without_a_scope(served),
    |served, _| without_a_customer(served),
    |served, _| too_old(served),
    |served, _| named_by_the_document(served),
    by_another_key,
];

impl Row {
    pub fn invalid(what: impl Into<String>, reason: &'static str, token: String) -> Self {
        Self { what: what.into(), token, status: 401, code: "invalid_token", reason }
    }

    pub fn forbidden(what: impl Into<String>, code: &'static str, token: String) -> Self {
        Self { what: what.into(), token, status: 403, code, reason: code }
    }

    pub fn expired(what: &str, token: String) -> Self {
        Self { code: "expired_token", ..Self::invalid(what, "expired", token) }
    }

    pub async fn is_rejected(&self, served: &Served) {
        let what = format!("{}: {}", served.recipe.heading, self.what);
        let series = format!("juspay_bff_auth_failures_total{{reason=\"{}\"}}", self.reason);
        let before = served.world.count(&series).await;
        let reply = served.world.client_with_token(&self.token).me().await;
        assert_eq!(reply.status, self.status, "{what}");
        assert_eq!(reply.code(), self.code, "{what}");
        assert_eq!(served.world.count(&series).await, before + 1, "{what}: not {}", self.reason);
        explained_as(&served.world, &what, &self.token, self.reason).await;
    }
}

fn of_another_audience(served: &Served) -> Vec<Row> {
    let claim = served.text("audience_claim").unwrap_or("aud");
    if claim == "none" {
        // Skipped: the audience is not checked, because every token of such an issuer is for this
        // app.
        return Vec::new();
    }
    let audience = &served.texts("audiences")[0];
    let changes = match claim {
        "aud" => vec![
            ("audience", json!({"aud": "another"})),
            ("audience", json!({"aud": ["another", format!("{audience}/")]})),
            ("audience", json!({"aud": []})),
            ("claims", json!({"aud": null})),
            ("claims", json!({"aud": null, "azp": audience, "client_id": audience})),
        ],
        _ => vec![
            ("audience", json!({claim: "another"})),
            ("audience", json!({claim: "another", "aud": audience})),
            ("claims", json!({claim: [audience]})),
            ("claims", json!({claim: null, "aud": audience})),
        ],
    };
    let several = served.accepts_id_tokens();
    let several = several.then(|| ("audience", json!({"aud": [audience, "x"], "azp": "x"})));
    rows(served, changes.into_iter().chain(several))
}

fn of_another_issuer(served: &Served) -> Vec<Row> {
    let issuer = served.text("issuer").unwrap();
    let others = if issuer.is_empty() {
        vec![json!("https://another.example"), json!("")]
    } else {
        let other_end = match issuer.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{issuer}/"),
        };
        let upper = issuer.to_uppercase();
        vec![json!("https://another.example"), json!(other_end), json!(upper), json!(null)]
    };
    let others = others.into_iter().map(|iss| ("unknown_issuer", json!({ "iss": iss })));
    rows(served, others)
}

fn of_another_kind(served: &Served) -> Vec<Row> {
    let mut kinds = vec![
        ("type", json!({"token_use": "refresh"})),
        ("type", json!({"token_type": "refresh"})),
        ("type", json!({"typ": "Refresh"})),
        ("type", json!({"typ": "Offline"})),
        ("type", json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}})),
    ];
    let says_access_token = served.header()["typ"] == "at+jwt";
    if !served.accepts_id_tokens() {
        kinds.push(("id_token", json!({"token_use": "id"})));
        kinds.push(("id_token", json!({"typ": "ID"})));
        if !says_access_token {
            kinds.push(("id_token", json!({"at_hash": "h"})));
            kinds.push(("id_token", json!({"c_hash": "h", "nonce": "n"})));
        }
    }
    let mut rows = rows(served, kinds);
    let mut typ = served.texts("typ");
    typ.retain(|typ| typ == "at+jwt");
    if !typ.is_empty() {
        let header = changed(served.header(), &json!({"typ": "JWT"}));
        let token = served.signed(&header, &served.claims());
        rows.push(Row::invalid("the header of an ID token", "type", token));
    }
    rows
}

fn without_a_required_claim(served: &Served) -> Vec<Row> {
    let mut rows = Vec::new();
    for (claim, values) in served.required() {
        let other = values[0].as_bool().map_or_else(|| json!("another"), |value| json!(!value));
        let as_text = json!(format!("{} ", values[0]));
        for value in [None, Some(Value::Null), Some(other), Some(as_text), Some(json!(values))] {
            let what = format!("required {claim}: {value:?}");
            let claims = with(served.claims(), &claim, value);
            rows.push(Row::invalid(what, "claims", served.token(&claims)));
        }
    }
    rows
}

fn without_a_scope(served: &Served) -> Vec<Row> {
    let mut rows = Vec::new();
    for scope in served.texts("required_scopes") {
        for (what, replacement) in [("without", ""), ("with more than", &*format!("{scope}.x"))] {
            let mut claims = served.claims();
            for name in ["scope", "scp", "scopes"] {
                let Some(granted) = claims.get_mut(name) else { continue };
                let text = granted.to_string().replace(&scope, replacement);
                *granted = serde_json::from_str(&text).expect("JSON");
            }
            let what = format!("{what} the scope {scope}");
            rows.push(Row::forbidden(what, "insufficient_scope", served.token(&claims)));
        }
    }
    rows
}

fn without_a_customer(served: &Served) -> Vec<Row> {
    let claim = served.text("customer_id_claim").unwrap_or("sub");
    let removed = with(served.claims(), claim, None);
    let mut rows = vec![Row::forbidden("no customer", "no_customer", served.token(&removed))];
    if ["email", "phone_number"].contains(&claim) {
        let unverified = with(served.claims(), &format!("{claim}_verified"), Some(json!(false)));
        rows.push(Row::forbidden("unverified", "no_customer", served.token(&unverified)));
    }
    rows
}

fn too_old(served: &Served) -> Vec<Row> {
    let mut rows = vec![Row::expired("expired", served.token(&served.expired()))];
    if let Some(age) = served.text("max_token_age") {
        assert_eq!(age, "1h", "{}", served.recipe.heading);
        let now = served.world.clock_seconds();
        let old = changed(served.claims(), &json!({"iat": now - 3631, "exp": now + 86_400}));
        rows.push(Row::expired("older than max_token_age", served.token(&old)));
    }
    rows
}

fn by_another_key(served: &Served, untrusted: &UntrustedIssuer) -> Vec<Row> {
    let token = served.forged(untrusted, &served.claims());
    vec![Row::invalid("another key", "signature", token)]
}

/// Tokens with these changes of the claims, and their reasons.
fn rows(served: &Served, changes: impl IntoIterator<Item = (&'static str, Value)>) -> Vec<Row> {
    let row = |(reason, changes): (&'static str, Value)| {
        let token = served.token(&changed(served.claims(), &changes));
        Row::invalid(changes.to_string(), reason, token)
    };
    changes.into_iter().map(row).collect()
}
