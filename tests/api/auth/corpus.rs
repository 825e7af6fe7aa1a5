//! A corpus of token attacks, as tables. Each row is a token, its rejection, and the counted
//! reason. No row may cause a 5xx, reveal more than its code, reach Juspay, or make the service
//! call an address in the token.
//!
//! The tables: `algorithms`, `keys`, `signatures`, `shapes`, `json`, `claims`, `times`,
//! `confusion`. Each row runs against each kind of issuer (`issuers`), with `aud` and with another
//! `audience_claim`. `valid` has tokens that look unusual but are valid.

mod algorithms;
mod claims;
mod confusion;
mod forge;
mod issuers;
mod json;
mod keys;
mod shapes;
mod signatures;
mod times;
mod valid;

use std::{collections::BTreeMap, sync::Arc};

use juspay_bff::auth::{AuthError, Explanation, explain};
use serde_json::json;
use simulator::{Algorithm, Fault, MintRequest, issuer::INTROSPECTION_PATH};
use tokio::task::LocalSet;

pub use self::{
    forge::{AUDIENCE, Forge, changed, mac},
    issuers::IssuerKind,
};
use super::{
    COOLDOWN, INVALID_REQUEST, INVALID_TOKEN, assert_rejected, second_issuer, verdicts::Verdicts,
};
use crate::support::{Reply, ScriptedServer, Stage, World};

/// A token and its rejection.
pub struct Row {
    what: String,
    token: String,
    status: u16,
    code: &'static str,
    /// The label of `auth_failures_total`.
    reason: &'static str,
}

impl Row {
    /// An invalid token with this reason.
    fn invalid(reason: &'static str, what: impl Into<String>, token: String) -> Self {
        Self { what: what.into(), token, status: 401, code: "invalid_token", reason }
    }

    fn expired(what: impl Into<String>, token: String) -> Self {
        Self { code: "expired_token", ..Self::invalid("expired", what, token) }
    }

    /// Not a token by RFC 6750 §2.1.
    fn malformed(what: impl Into<String>, token: String) -> Self {
        let (status, code) = (400, "invalid_request");
        Self { status, code, ..Self::invalid("malformed_header", what, token) }
    }

    /// Longer than `auth.max_token_bytes`.
    fn too_large(what: impl Into<String>, token: String) -> Self {
        let (status, code) = (400, "token_too_large");
        Self { status, code, ..Self::invalid("too_long", what, token) }
    }

    fn without_customer(what: impl Into<String>, token: String) -> Self {
        let (status, code) = (403, "no_customer");
        Self { status, code, ..Self::invalid("no_customer", what, token) }
    }

    /// The result for the token.
    fn verdict(&self) -> &'static str {
        if self.status == 200 { "accepted" } else { self.reason }
    }

    fn challenge(&self) -> Option<&'static str> {
        match self.status {
            400 => Some(INVALID_REQUEST),
            401 => Some(INVALID_TOKEN),
            _ => None,
        }
    }
}

/// A table, created when needed, because some times are exact to the second.
type Table = fn(&Forge<'_>) -> Vec<Row>;

const TABLES: [(&str, Table); 19] = [
    ("none", algorithms::none),
    ("public_keys_as_secrets", algorithms::public_keys_as_secrets),
    ("of_another_kind", algorithms::of_another_kind),
    ("brought_along", keys::brought_along),
    ("extensions", keys::extensions),
    ("kids", keys::kids),
    ("elliptic", signatures::elliptic),
    ("rsa", signatures::rsa),
    ("parts", shapes::parts),
    ("other_serialisations", shapes::other_serialisations),
    ("encodings", shapes::encodings),
    ("sizes", shapes::sizes),
    ("headers", json::headers),
    ("payloads", json::payloads),
    ("parties", claims::parties),
    ("types", claims::types),
    ("uses", claims::uses),
    ("ends_and_beginnings", times::ends_and_beginnings),
    ("confusion", confusion::issuers),
];

/// Failures so far, by reason.
async fn failures(world: &World) -> BTreeMap<String, u64> {
    let text = world.admin().get("/metrics").await.text();
    let series = |line: &str| {
        let rest = line.strip_prefix("juspay_bff_auth_failures_total{reason=\"")?;
        let (reason, count) = rest.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().expect("a whole number")))
    };
    text.lines().filter_map(series).collect()
}

/// The problem without the members that differ between requests.
fn comparable_problem(reply: &Reply) -> String {
    let mut problem = reply.json();
    for member in ["request_id", "retry_after"] {
        problem.as_object_mut().expect("an object").remove(member);
    }
    problem.to_string()
}

/// The explanation of a token, which must not contain the token.
pub async fn explained(world: &World, what: &str, token: &str) -> Explanation {
    let header = format!("Bearer {token}");
    let clock = Arc::new(world.clock.clone());
    let explaining = Box::pin(explain(&world.settings, &header, false, clock));
    let explanation = LocalSet::new().run_until(explaining).await.expect("valid settings");
    for check in &explanation.checks {
        let printed = format!("{check:?}");
        for part in token.split('.').filter(|part| part.len() > 40) {
            assert!(!printed.contains(part), "{what}: {printed}");
        }
    }
    explanation
}

/// Checks that the explanation's verdict and its first failed check match the service's rejection.
pub async fn explained_as(world: &World, what: &str, token: &str, reason: &str) {
    let explanation = explained(world, what, token).await;
    let failure = explanation.failure().map(AuthError::reason);
    let verdict = explanation.verdict.expect("a verdict");
    let verdict = verdict.map(|_| ()).map_err(|error| error.reason());
    assert_eq!((verdict, failure), (Err(reason), Some(reason)), "{what}: {:?}", explanation.checks);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_of_the_corpus_is_rejected_for_its_reason() {
    let verdicts = attack(IssuerKind::PublicKeys, "aud").await;
    println!("{verdicts}");
    verdicts.compare();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_of_the_corpus_is_rejected_where_another_claim_is_the_audience() {
    let verdicts = attack(IssuerKind::PublicKeys, "client_id").await;
    println!("{verdicts}");
    verdicts.compare_names();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_shared_secrets_rejects_every_token_of_the_corpus() {
    let verdicts = attack(IssuerKind::Hmac, "aud").await;
    println!("{verdicts}");
    verdicts.compare_names();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_shared_secrets_rejects_every_token_by_another_audience_claim() {
    let verdicts = attack(IssuerKind::Hmac, "client_id").await;
    println!("{verdicts}");
    verdicts.compare_names();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_of_the_corpus_is_rejected_for_any_introspection_response() {
    let verdicts = attack(IssuerKind::Introspection, "aud").await;
    println!("{verdicts}");
    verdicts.compare_names();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_introspected_issuers_tokens_are_rejected_by_another_audience_claim() {
    let verdicts = attack(IssuerKind::Introspection, "client_id").await;
    println!("{verdicts}");
    verdicts.compare_names();
}

/// Sends each token of the corpus to a service with an issuer of this kind, and returns the
/// results.
async fn attack(kind: IssuerKind, audience_claim: &'static str) -> Verdicts {
    let stage = Stage::set().await;
    let untrusted_issuer = second_issuer(&stage).await;
    let trap = ScriptedServer::new().await;
    let files = tempfile::tempdir().unwrap();
    let settings = kind.settings(&stage, audience_claim, &files);
    let world = stage.open_ready(&settings).await;
    let rsa = MintRequest { algorithm: Algorithm::RS256, ..MintRequest::of("alice") };
    let rsa = rsa.with(audience_claim, AUDIENCE);
    assert_eq!(world.client_with(&rsa).me().await.status, 200);
    let forge = Forge::new(&world, untrusted_issuer.issuer(), trap.address, kind, audience_claim);

    let mut attack = Attack::new(&forge).await;
    for (name, table) in TABLES {
        world.clock.advance(COOLDOWN);
        for row in table(&forge) {
            attack.send(name, row).await;
        }
    }
    assert!(!trap.was_contacted(), "a token made the service call its address");
    assert_eq!(world.simulator().total_requests(), 1, "the one before the attacks");
    // An introspection response may lack `iss`.
    let accepted = usize::from(kind == IssuerKind::Introspection);
    assert_eq!(attack.verdicts.accepted(), accepted);
    let valid = forge.with_claims(&json!({}));
    attack.script_introspection(&valid);
    assert_eq!(world.client_with_token(&valid).me().await.status, 200);
    attack.verdicts
}

/// A run of the corpus.
struct Attack<'f> {
    forge: &'f Forge<'f>,
    /// Failures so far, by reason.
    counts: BTreeMap<String, u64>,
    /// The problem of each code.
    problems: BTreeMap<&'static str, String>,
    verdicts: Verdicts,
}

impl<'f> Attack<'f> {
    async fn new(forge: &'f Forge<'f>) -> Self {
        let counts = failures(forge.world).await;
        let verdicts = Verdicts::of("attacks").with_random_parts_of(forge);
        Self { forge, counts, problems: BTreeMap::new(), verdicts }
    }

    /// Sends one token.
    async fn send(&mut self, table: &str, row: Row) {
        let world = self.forge.world;
        let is_introspected = self.script_introspection(&row.token);
        let row = self.forge.kind.adapt(table, row, is_introspected);
        if row.reason == "unknown_key" {
            world.clock.advance(COOLDOWN);
        }
        let reply = world.client_with_token(&row.token).me().await;
        assert_eq!(reply.status, row.status, "{}", row.what);
        if row.status == 200 {
            assert_eq!(reply.json()["object_reference_id"], "alice", "{}", row.what);
        } else {
            self.check_rejection(&row, &reply).await;
        }
        assert_eq!(failures(world).await, self.counts, "{}: not {}", row.what, row.reason);
        world.issuer().clear_faults();
        self.verdicts.note(row.verdict(), &row.what);
    }

    async fn check_rejection(&mut self, row: &Row, reply: &Reply) {
        assert_rejected(&row.what, reply, row.status, row.code, row.challenge());
        *self.counts.entry(row.reason.to_owned()).or_default() += 1;
        let problem = comparable_problem(reply);
        let first = self.problems.entry(row.code).or_insert_with(|| problem.clone());
        // The problem of a malformed header describes the fault: there is nothing to protect.
        assert!(row.status == 400 || problem == *first, "{}: {}", row.what, reply.text());
        explained_as(self.forge.world, &row.what, &row.token, row.reason).await;
    }

    /// Makes the introspection endpoint respond as in the row, if the token is opaque.
    fn script_introspection(&self, token: &str) -> bool {
        let Some(body) = self.forge.introspection_response(token) else { return false };
        let headers = BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]);
        let fault = Fault::Status { status: 200, headers, body };
        self.forge.world.issuer().inject(INTROSPECTION_PATH, None, fault);
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_valid_tokens_get_their_customer() {
    let stage = Stage::set().await;
    let untrusted_issuer = second_issuer(&stage).await;
    let trap = ScriptedServer::new().await;
    let world = stage.open_ready("").await;
    let kind = IssuerKind::PublicKeys;
    let forge = Forge::new(&world, untrusted_issuer.issuer(), trap.address, kind, "aud");
    let rows = valid::rows(&forge);
    let mut verdicts = Verdicts::of("good").with_random_parts_of(&forge);
    for (what, customer, token) in &rows {
        let reply = world.client_with_token(token).me().await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        assert_eq!(reply.json()["object_reference_id"], **customer, "{what}");
        let explanation = explained(&world, what, token).await;
        assert_eq!(explanation.failure(), None, "{what}: {:?}", explanation.checks);
        let caller = explanation.verdict.unwrap().unwrap();
        assert_eq!(Some(caller.customer()), explanation.customer.as_ref(), "{what}");
        assert_eq!(caller.customer().as_str(), &**customer, "{what}");
        verdicts.note("accepted", what);
    }
    verdicts.compare();
    println!("unusual valid tokens: {0} of {0} got their own customer", rows.len());
    assert!(!trap.was_contacted(), "a token made the service call its address");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_granted_only_by_exact_words() {
    let stage = Stage::set().await;
    let untrusted_issuer = second_issuer(&stage).await;
    let trap = ScriptedServer::new().await;
    let world = stage.open_ready("auth.issuers.main.required_scopes = [\"pay\"]").await;
    let kind = IssuerKind::PublicKeys;
    let forge = Forge::new(&world, untrusted_issuer.issuer(), trap.address, kind, "aud");
    let challenge = r#"Bearer realm="juspay-bff", error="insufficient_scope", scope="pay""#;
    let rows = claims::without_the_scope(&forge);
    let mut verdicts = Verdicts::of("scopes");
    for (what, token) in &rows {
        let reply = world.client_with_token(token).me().await;
        assert_rejected(what, &reply, 403, "insufficient_scope", Some(challenge));
        explained_as(&world, what, token, "insufficient_scope").await;
        verdicts.note("insufficient_scope", what);
    }
    println!("corpus of scopes: {0} of {0} rejected", rows.len());
    assert_eq!(world.simulator().total_requests(), 0);
    for (what, token) in &claims::with_the_scope(&forge) {
        let reply = world.client_with_token(token).me().await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        assert_eq!(explained(&world, what, token).await.failure(), None, "{what}");
        verdicts.note("accepted", what);
    }
    verdicts.compare();
}
