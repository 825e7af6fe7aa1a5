//! The settings as a whole: defaults, sources, and what is shown.

mod claims;
mod faults;
mod gateway;
mod hmac;
mod introspection;
mod messages;
mod sdk;
mod secrets;
mod shared;
mod tls;

use std::{collections::BTreeSet, time::Duration};

use secrecy::ExposeSecret;

use super::{reader::Reader, *};

/// Complete valid settings, with nothing optional.
const VALID: &str = r#"
[juspay]
base_url = "https://api.juspay.in/"
merchant_id = "merchant"
api_key = "key"

[auth.issuers.main]
issuer = "https://id.example"
audiences = ["api"]
algorithms = ["RS256"]
discovery = true
"#;

const DEFAULT_FILE: &str = include_str!("../../config/default.toml");

fn valid() -> Sources {
    Sources::default().text("good.toml", VALID)
}

/// Returns the faults of invalid settings. Asserts that each has a fix, and that none quotes the
/// secret `hush`.
fn faults_of(sources: Sources) -> Vec<Fault> {
    let faults = sources.load().err().map(|faults| faults.iter().cloned().collect());
    let faults: Vec<Fault> = faults.unwrap_or_default();
    assert!(faults.iter().all(|fault| !fault.fix.is_empty()), "{faults:#?}");
    assert!(!format!("{faults:?}").contains("hush"), "{faults:#?}");
    faults
}

/// Compares the keys and parts of the reasons of `faults` with the expected ones.
fn compare(lines: &str, faults: &[Fault], expected: &[(&str, &str)]) {
    let keys: Vec<_> = faults.iter().map(|fault| &*fault.key).collect();
    let expected_keys: Vec<_> = expected.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, expected_keys, "{lines}: {faults:#?}");
    for (fault, (_, part)) in faults.iter().zip(expected) {
        assert!(fault.reason.contains(part), "{lines}: {}", fault.reason);
    }
}

/// The default file, with the settings uncommented that are comments in it.
fn uncommented() -> String {
    let is_setting = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let line = |line: &'static str| line.strip_prefix('#').filter(is_setting).unwrap_or(line);
    DEFAULT_FILE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn unset_keys_have_their_defaults() {
    let Loaded { settings, warnings, .. } = valid().load().unwrap();
    let Settings { server, juspay, auth, cache, response, limits, log, .. } = settings;
    let Settings { traces, shared, secrets, .. } = settings;
    assert_eq!(server.listen, [Listen::Tcp(([0, 0, 0, 0], 8080).into())]);
    assert_eq!(server.admin_listen, [Listen::Tcp(([127, 0, 0, 1], 9464).into())]);
    assert_eq!((server.admin_token_file, server.workers), (None, None));
    assert_eq!((server.max_in_flight, server.max_waiting), (1024, 512));
    assert_eq!(server.shutdown_delay, Duration::from_secs(5));
    assert_eq!(server.shutdown_grace, Duration::from_secs(25));
    assert_eq!(juspay.base_url, "https://api.juspay.in");
    assert_eq!(juspay.customer_id_form, CustomerIdForm::Merchant);
    assert_eq!((juspay.api_version, juspay.ca_file), (None, None));
    assert!(!juspay.create_missing_customers);
    assert_eq!(juspay.connect_timeout, Duration::from_secs(1));
    assert_eq!(juspay.deadline, Duration::from_secs(5));
    assert_eq!((juspay.max_in_flight, juspay.max_retries), (64, 2));
    assert_eq!(juspay.try_timeout, Duration::from_secs(2));
    assert_eq!((juspay.ip_family, juspay.api_key_next), (IpFamily::Any, None));
    let Breaker { failure_rate, window, min_calls, open_for } = juspay.breaker;
    assert_eq!((juspay.retry_budget * 10.0, failure_rate * 10.0, min_calls), (2.0, 5.0, 20));
    assert_eq!((window, open_for), (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!(auth.leeway, Duration::from_secs(30));
    assert_eq!((auth.jwks_refresh.as_secs(), auth.jwks_cooldown.as_secs()), (300, 10));
    assert_eq!(auth.jwks_max_stale, Duration::from_hours(24));
    assert_eq!((auth.max_token_bytes, auth.verified_tokens), (8192, 200_000));
    assert_eq!((auth.revocations_file, auth.max_revocations), (None, 100_000));
    assert_eq!(auth.logout_ttl, Duration::from_hours(24));
    let Dpop { max_age, max_proofs, nonces, nonce_key_file } = auth.dpop;
    assert_eq!((max_age, max_proofs), (Duration::from_mins(1), 100_000));
    assert_eq!((nonces, nonce_key_file, server.public_url), (false, None, None));
    assert_eq!(cache.capacity, 100_000);
    assert_eq!(cache.min_remaining, Duration::from_mins(2));
    assert_eq!(cache.refresh_ahead, Duration::from_mins(5));
    assert_eq!(cache.outage_min_remaining, Duration::from_secs(30));
    assert_eq!(cache.max_token_life, Duration::from_mins(15));
    assert_eq!(cache.not_found_ttl, Duration::from_secs(2));
    assert_eq!(cache.force_refresh_min_age.as_secs(), 30);
    let rate = |rate: Option<Rate>| rate.map(|rate| (rate.count.get(), rate.per.as_secs()));
    assert_eq!(rate(limits.per_customer), Some((600, 60)));
    assert_eq!(rate(limits.force_refresh_per_customer), Some((3, 60)));
    assert_eq!(rate(limits.create_customers), Some((10, 1)));
    assert_eq!(response.fields, FieldSet::all());
    assert_eq!((log.level, log.format), (LogLevel::Info, LogFormat::Json));
    assert_eq!((log.access, log.customer_ref_key_file), (AccessLog::All, None));
    assert_eq!((traces.endpoint, traces.sample * 10.0), (None, 10.0));
    assert_eq!((shared.url, shared.topology), (None, Topology::Single));
    assert_eq!((&*shared.prefix, shared.timeout), ("juspay-bff", Duration::from_millis(50)));
    assert_eq!((shared.password_file, shared.ca_file), (None, None));
    assert_eq!(secrets.poll, Duration::from_secs(10));
    assert_eq!(warnings, []);
}

#[test]
fn unset_issuer_keys_have_their_defaults() {
    let Loaded { settings, .. } = valid().load().unwrap();
    let issuer = &settings.auth.issuers["main"];
    assert!(issuer.logout_audiences.is_empty());
    assert_eq!((issuer.customer_id_claim.as_str(), &*issuer.customer_id_prefix), ("sub", ""));
    assert!(issuer.required_scopes.is_empty() && issuer.required_claims.is_empty());
    assert_eq!(issuer.typ, ["at+jwt", "jwt", ""]);
    assert_eq!((issuer.max_token_age, issuer.dpop), (None, DpopMode::Off));
    assert!(!issuer.accepts_id_tokens && !issuer.assumes_verified);
    assert_eq!(issuer.audience_claim, AudienceClaim::Aud);
    assert_eq!(issuer.new_customer, None);
}

#[test]
fn default_file_documents_every_key_and_no_other() {
    let tree = document::parse("", &uncommented()).unwrap();
    let mut reader = Reader::new(&tree, true);
    let _settings = Settings::read(&mut reader);
    let documented: toml::Table = toml::from_str(&uncommented()).unwrap();
    let mut documented = keys("", &documented);
    documented.insert("auth.issuers".to_owned());
    assert_eq!(documented, reader.known().map(str::to_owned).collect());
}

/// Tables whose keys the operator chooses.
const FREE_TABLES: [&str; 3] = ["client_id_by_audience", "extra", "required_claims"];

fn keys(at: &str, table: &toml::Table) -> BTreeSet<String> {
    let path = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    table
        .iter()
        .flat_map(|(name, value)| match value.as_table() {
            Some(inner) if !FREE_TABLES.contains(&name.as_str()) => keys(&path(name), inner),
            _ => BTreeSet::from([path(name)]),
        })
        .collect()
}

#[test]
fn issuer_defaults_match_the_default_file() {
    let documented: toml::Table = toml::from_str(&uncommented()).unwrap();
    let documented = &documented["auth"]["issuers"]["main"];
    let effective = valid().load().unwrap().effective.to_string();
    let used: toml::Table = toml::from_str(&effective).unwrap();
    for key in [
        "customer_id_claim",
        "customer_id_prefix",
        "customer_id_verified",
        "required_scopes",
        "required_claims",
        "typ",
        "audience_claim",
        "id_tokens",
        "dpop",
    ] {
        assert_eq!(used["auth"]["issuers"]["main"][key], documented[key], "{key}");
    }
}

#[test]
fn demo_file_is_valid() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo.toml");
    let settings = Sources::default().file(demo).load().unwrap().settings;
    let discovery = "http://127.0.0.1:8082/.well-known/openid-configuration".to_owned();
    assert_eq!(settings.auth.issuers["simulator"].keys, KeySource::Discovery(discovery));
}

#[test]
fn later_sources_override_earlier_ones() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one.toml", "two.toml"].map(|name| directory.path().join(name));
    std::fs::write(&one, "[cache]\ncapacity = 1\nmin_remaining = \"1m\"\n[log]\nlevel = \"warn\"")
        .unwrap();
    std::fs::write(&two, "[cache]\ncapacity = 2\n[log]\nlevel = \"error\"").unwrap();
    let sources = valid().file(one).file(two).variable("JUSPAY_BFF__LOG__LEVEL", "debug");
    let settings = sources.load().unwrap().settings;
    assert_eq!(settings.cache.capacity, 2);
    assert_eq!(settings.cache.min_remaining, Duration::from_mins(1));
    assert_eq!(settings.log.level, LogLevel::Debug);
}

#[test]
fn max_hand_outs_is_a_number_or_auto() {
    let read = |sources: Sources| sources.load().unwrap().settings.cache;
    let file = |text: &str| read(valid().text("x", format!("cache.max_hand_outs = {text}")));
    let variable = |text: &str| read(valid().variable("JUSPAY_BFF__CACHE__MAX_HAND_OUTS", text));
    assert_eq!(read(valid()).max_hand_outs, MaxHandOuts::Number(10));
    assert_eq!(file("'auto'").max_hand_outs, MaxHandOuts::Auto);
    assert_eq!(variable("auto").max_hand_outs, MaxHandOuts::Auto);
    assert_eq!(file("0").max_hand_outs, MaxHandOuts::Number(0));
    assert_eq!(variable("7").max_hand_outs, MaxHandOuts::Number(7));
    assert_eq!(file("7").hand_out_min_age(), Duration::from_secs(30));
    assert_eq!(file("'auto'").hand_out_min_age(), Duration::from_secs(5));
    let auto = valid().text("x", "cache.max_hand_outs = 'auto'").load().unwrap().effective;
    assert!(auto.to_string().contains("max_hand_outs = \"auto\" # x"), "{auto}");
    let fix = &faults_of(valid().text("x", "cache.max_hand_outs = 'often'"))[0].fix;
    assert_eq!(fix, "write an integer from 0 to 1000000, without quotes, or \"auto\"");
}

#[test]
fn environment_alone_is_sufficient() {
    let variables = [
        ("JUSPAY__BASE_URL", "http://127.0.0.1:8081"),
        ("JUSPAY__MERCHANT_ID", "0123"),
        ("JUSPAY__API_KEY", "1e3"),
        ("JUSPAY__MAX_IN_FLIGHT", "7"),
        ("JUSPAY__ALLOW_PLAIN_HTTP", "true"),
        ("AUTH__ISSUERS__MAIN__ISSUER", "http://127.0.0.1:8082"),
        ("AUTH__ISSUERS__MAIN__AUDIENCES", "app, web"),
        ("AUTH__ISSUERS__MAIN__ALGORITHMS", "ES256,RS256"),
        ("AUTH__ISSUERS__MAIN__DISCOVERY", "true"),
        ("AUTH__ISSUERS__MAIN__TYP", "at+jwt,"),
        ("AUTH__ISSUERS__MAIN__MAX_TOKEN_AGE", "12h"),
        ("AUTH__JWKS_COOLDOWN", "500ms"),
        ("SERVER__LISTEN", "127.0.0.1:0,unix:/tmp/x.sock"),
        ("RESPONSE__FIELDS", "id,juspay"),
        ("LOG__ACCESS", "1/100"),
        ("LOG__LEVEL", ""),
    ];
    let sources = variables.into_iter().fold(Sources::default(), |sources, (name, value)| {
        sources.variable(format!("JUSPAY_BFF__{name}"), value)
    });
    let Loaded { settings, effective, .. } = sources.load().unwrap();
    assert_eq!(settings.juspay.merchant_id, "0123");
    let SecretSource::Inline(key) = &settings.juspay.api_key else { panic!("a file") };
    assert_eq!(key.expose_secret(), "1e3");
    assert_eq!(settings.juspay.max_in_flight, 7);
    let issuer = &settings.auth.issuers["main"];
    assert_eq!(issuer.audiences, ["app", "web"]);
    assert_eq!(issuer.algorithms, [Algorithm::ES256, Algorithm::RS256]);
    assert_eq!(issuer.typ, ["at+jwt", ""]);
    assert_eq!(issuer.max_token_age, Some(Duration::from_hours(12)));
    assert!(matches!(issuer.keys, KeySource::Discovery(_)));
    assert_eq!(settings.auth.jwks_cooldown, Duration::from_millis(500));
    assert_eq!(settings.server.listen.len(), 2);
    assert!(!settings.response.fields.contains(Field::Object));
    assert!(matches!(settings.log.access, AccessLog::OneIn(count) if count.get() == 100));
    assert_eq!(settings.log.level, LogLevel::Info, "an empty variable counts as unset");
    let origin = "# environment variable JUSPAY_BFF__JUSPAY__MAX_IN_FLIGHT\n";
    assert!(effective.to_string().contains(&format!("max_in_flight = 7 {origin}")), "{effective}");
}

#[test]
fn similar_variables_are_warnings() {
    let loaded = valid()
        .variable("JUSPAY_BFF_LOG_LEVEL", "debug")
        .variable("JUSPAY_BFF_SERVICE_HOST", "10.0.0.1")
        .load()
        .unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].warning().starts_with("JUSPAY_BFF_LOG_LEVEL is ignored: "));
}

#[test]
fn effective_settings_load_again() {
    let first = valid().load().unwrap().effective.to_string();
    assert!(first.contains("api_key = \"********\" # good.toml, line 5\n"), "{first}");
    assert!(first.contains("\ncapacity = 100000\n"), "defaults have no comment: {first}");
    let again = Sources::default().text("again", &*first).load().unwrap();
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", valid().load().unwrap().settings));
    let read: toml::Table = toml::from_str(&first).unwrap();
    let defaults: toml::Table = toml::from_str(DEFAULT_FILE).unwrap();
    assert!(keys("", &read).is_superset(&keys("", &defaults)));
}

#[test]
fn several_issuers_need_distinct_prefixes_or_shared_ids() {
    let second = |text: &str| {
        let rest = "issuer = 'https://b.example'\naudiences = ['b']\nalgorithms = ['ES256']\n\
                    discovery = true";
        valid().text("second", format!("{text}\n[auth.issuers.second]\n{rest}"))
    };
    assert!(second("[auth]\nshared_customer_ids = true").load().is_ok());
    let main = "[auth.issuers.main]\ncustomer_id_prefix = ";
    let other = |sources: Sources, prefix: &str| {
        sources.text("x", format!("[auth.issuers.second]\ncustomer_id_prefix = '{prefix}'")).load()
    };
    for (one, two, valid) in [
        ("a-", "b-", true),
        ("", "b-", true),
        ("b-", "", true),
        ("", "", false),
        ("a", "a", false),
        ("a", "ab", false),
        ("ab", "a", false),
    ] {
        let loaded = other(second(&format!("{main}'{one}'")), two);
        assert_eq!(loaded.is_ok(), valid, "{one:?} {two:?}");
    }
}

#[test]
fn discovery_false_is_treated_as_unset() {
    let keys = "[auth.issuers.main]\ndiscovery = false\njwks_url = 'https://id.example/jwks'";
    let settings = valid().text("x", keys).load().unwrap().settings;
    let url = KeySource::Url("https://id.example/jwks".to_owned());
    assert_eq!(settings.auth.issuers["main"].keys, url);
    let address = "[auth.issuers.main]\ndiscovery = 'https://id.example/x'";
    let settings = valid().text("x", address).load().unwrap().settings;
    let discovery = KeySource::Discovery("https://id.example/x".to_owned());
    assert_eq!(settings.auth.issuers["main"].keys, discovery);
}
