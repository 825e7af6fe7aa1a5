//! Every fault is reported with key, reason, fix and origin, and all at once (promise P9 in
//! SECURITY.md).

use super::*;

/// A line that overrides the valid settings, the faulty key, and a part of the reason.
const FAULTS: &[(&str, &str, &str)] = &[
    // Types.
    (
        "server.listen = 8080",
        "server.listen",
        "expected a string or a list of strings, found an integer",
    ),
    ("server.workers = '4'", "server.workers", "expected an integer, found a string"),
    ("server.workers = 1.5", "server.workers", "expected an integer, found a float"),
    ("cache.capacity = true", "cache.capacity", "expected an integer, found a boolean"),
    ("juspay.merchant_id = 5", "juspay.merchant_id", "expected a string, found an integer"),
    (
        "juspay.allow_plain_http = 'no'",
        "juspay.allow_plain_http",
        "expected true or false, found a string",
    ),
    (
        "auth.issuers.main.audiences = 'a'",
        "auth.issuers.main.audiences",
        "expected a list of strings",
    ),
    (
        "auth.issuers.main.audiences = ['a', 1]",
        "auth.issuers.main.audiences[1]",
        "expected a string",
    ),
    (
        "auth.issuers.main.discovery = 1",
        "auth.issuers.main.discovery",
        "expected true, false or a string, found",
    ),
    ("log.level = {a = 1}", "log.level", "expected a string, found a table"),
    ("log = 'info'", "log", "expected a table, found a string"),
    ("auth.issuers = []", "auth.issuers", "expected a table, found a list"),
    // Unknown keys.
    ("cache.capasity = 1", "cache.capasity", "no such setting"),
    ("chache.capacity = 1", "chache", "no such setting"),
    ("auth.issuers.main.audience = 'a'", "auth.issuers.main.audience", "no such setting"),
    ("tracing.per_customer = '1/s'", "tracing", "no such setting"),
    ("traces.sample = 2", "traces.sample", "expected a number from 0 to 1, found 2"),
    ("traces.endpoint = 'collector:4318'", "traces.endpoint", "begins with"),
    ("traces.service_name = ''", "traces.service_name", "empty"),
    ("traces.headers_file = '/nonexistent'", "traces.headers_file", "can't be read"),
    ("limits.per_customer = '1/fortnight'", "limits.per_customer", "expected a rate"),
    ("juspay.retry_budget = 1.1", "juspay.retry_budget", "number from 0 to 1, found 1.1"),
    ("juspay.breaker.failure_rate = '0.5'", "juspay.breaker.failure_rate", "expected a number"),
    ("juspay.ip_family = '4'", "juspay.ip_family", "an address family"),
    ("juspay.max_retries = 11", "juspay.max_retries", "11 is above the maximum of 10"),
    ("'a[99999999999]' = 1", "\"a[99999999999]\"", "no such setting"),
    // Bounds.
    ("server.workers = 0", "server.workers", "0 is below the minimum of 1"),
    ("server.workers = -1", "server.workers", "-1 is below the minimum of 1"),
    ("server.workers = 513", "server.workers", "513 is above the maximum of 512"),
    ("cache.capacity = 99999999999999999999", "cache.capacity", "from 1 to"),
    ("cache.max_hand_outs = 'often'", "cache.max_hand_outs", "expected an integer, found a string"),
    ("cache.max_hand_outs = -1", "cache.max_hand_outs", "-1 is below the minimum of 0"),
    ("auth.max_token_bytes = 255", "auth.max_token_bytes", "255 is below the minimum of 256"),
    ("cache.not_found_ttl = 2", "cache.not_found_ttl", "with a unit, found a number"),
    ("cache.not_found_ttl = '2'", "cache.not_found_ttl", "a duration with a unit"),
    ("cache.not_found_ttl = 'soon'", "cache.not_found_ttl", "one integer and one unit"),
    ("cache.not_found_ttl = '6m'", "cache.not_found_ttl", "\"6m\" is above the maximum of 5m"),
    ("juspay.deadline = '0s'", "juspay.deadline", "\"0s\" is below the minimum of 1ms"),
    ("juspay.deadline = '61s'", "juspay.deadline", "\"61s\" is above the maximum of 1m"),
    ("cache.outage_min_remaining = '0s'", "cache.outage_min_remaining", "the minimum of 1s"),
    ("cache.outage_min_remaining = '25h'", "cache.outage_min_remaining", "the maximum of 24h"),
    ("server.shutdown_grace = '0ms'", "server.shutdown_grace", "the minimum of 1ms"),
    ("server.shutdown_grace = '99999h'", "server.shutdown_grace", "the maximum of 1h"),
    ("secrets.poll = '0s'", "secrets.poll", "the minimum of 10ms"),
    ("secrets.poll = '61m'", "secrets.poll", "the maximum of 1h"),
    // Choices.
    ("log.level = 'loud'", "log.level", "expected a log level"),
    ("log.format = 'xml'", "log.format", "expected a log format"),
    ("log.access = '1/0'", "log.access", "an access log mode"),
    ("juspay.customer_id_form = 'mine'", "juspay.customer_id_form", "a form of customer ids"),
    ("response.fields = ['id', 'shoe_size']", "response.fields[1]", "documented field"),
    ("response.fields = []", "response.fields", "empty"),
    (
        "auth.issuers.main.algorithms = ['none']",
        "auth.issuers.main.algorithms[0]",
        "unsigned tokens",
    ),
    (
        "auth.issuers.main.algorithms = ['HS256']",
        "auth.issuers.main.algorithms[0]",
        "shared secret",
    ),
    ("auth.issuers.main.algorithms = []", "auth.issuers.main.algorithms", "empty"),
    ("auth.issuers.main.audiences = []", "auth.issuers.main.audiences", "empty"),
    ("auth.issuers.main.audiences = ['']", "auth.issuers.main.audiences[0]", "empty"),
    ("auth.issuers.main.typ = []", "auth.issuers.main.typ", "empty"),
    ("auth.issuers.main.ca_file = '/nonexistent'", "auth.issuers.main.ca_file", "no such file"),
    ("auth.issuers.main.max_token_age = '0s'", "auth.issuers.main.max_token_age", "minimum of 1s"),
    (
        "auth.issuers.main.max_token_age = 60",
        "auth.issuers.main.max_token_age",
        "with a unit, found a number",
    ),
    (
        "auth.issuers.main.required_scopes = ['a b']",
        "auth.issuers.main.required_scopes[0]",
        "scope",
    ),
    ("auth.issuers.main.customer_id_claim = ''", "auth.issuers.main.customer_id_claim", "empty"),
    (
        "auth.issuers.main.customer_id_prefix = 'a/'",
        "auth.issuers.main.customer_id_prefix",
        "begin",
    ),
    ("auth.issuers.Main.issuer = 'a'", "auth.issuers.Main", "upper-case letter, but only a-z, 0-9"),
    ("auth.issuers.a-b.issuer = 'a'", "auth.issuers.a-b", "other than a-z, 0-9 and _"),
    ("auth.issuers.1.issuer = 'a'", "auth.issuers.1", "does not begin with a letter"),
    ("auth.issuers.other = 'a'", "auth.issuers.other", "expected a table, found a string"),
    // Addresses, headers, keys.
    ("server.listen = 'localhost:1'", "server.listen[0]", "IP address and port"),
    ("server.admin_listen = ['127.0.0.1:1', '']", "server.admin_listen[1]", "IP address and port"),
    ("server.listen = []", "server.listen", "empty"),
    ("juspay.base_url = 'api.juspay.in'", "juspay.base_url", "begins with"),
    ("juspay.base_url = 'https://a?b'", "juspay.base_url", "query"),
    ("juspay.base_url = 'https://u:p@a'", "juspay.base_url", "user name"),
    ("juspay.base_url = 'https://a/#b'", "juspay.base_url", "fragment"),
    ("juspay.egress_proxy = 'proxy.internal:3128'", "juspay.egress_proxy", "begins with"),
    ("juspay.egress_proxy = 'https://a:3128'", "juspay.egress_proxy", "begins with https"),
    ("juspay.egress_proxy = 'http://a:3128/b'", "juspay.egress_proxy", "path"),
    ("juspay.egress_proxy = 'http://u:p@a:3128'", "juspay.egress_proxy", "user name"),
    ("juspay.merchant_id = ''", "juspay.merchant_id", "empty"),
    ("juspay.merchant_id = \"a\\nb\"", "juspay.merchant_id", "whitespace"),
    ("juspay.api_version = 'é'", "juspay.api_version", "non-ASCII"),
    ("juspay.api_key = 'a:b'", "juspay.api_key", "colon"),
    ("juspay.api_key = 'a b'", "juspay.api_key", "whitespace"),
    ("juspay.api_key = ''", "juspay.api_key", "empty"),
    ("auth.issuers.main.issuer = ''", "auth.issuers.main.issuer", "empty"),
    (
        "auth.issuers.main.issuer = 'https://login.microsoftonline.com/{tenantid}/v2.0'",
        "auth.issuers.main.issuer",
        "placeholder in braces",
    ),
    ("auth.plain_http_hosts = ['']", "auth.plain_http_hosts[0]", "expected a host name"),
    ("auth.plain_http_hosts = ['http://a']", "auth.plain_http_hosts[0]", "expected a host name"),
    ("auth.plain_http_hosts = ['a', 'a:80']", "auth.plain_http_hosts[1]", "expected a host name"),
    ("auth.plain_http_hosts = ['a/']", "auth.plain_http_hosts[0]", "expected a host name"),
    ("auth.plain_http_hosts = ['*.svc']", "auth.plain_http_hosts[0]", "expected a host name"),
    (
        "auth.issuers.main.discovery = 'http://a.example'",
        "auth.issuers.main.discovery",
        "plain http",
    ),
    // Files.
    ("server.admin_token_file = '/nonexistent'", "server.admin_token_file", "can't be read"),
    ("juspay.ca_file = '/nonexistent'", "juspay.ca_file", "can't be read"),
    ("log.customer_ref_key_file = '/dev/null'", "log.customer_ref_key_file", "it is a device"),
    ("auth.revocations_file = '/nonexistent'", "auth.revocations_file", "can't be read"),
    ("auth.revocations_file = 'Cargo.toml'", "auth.revocations_file", "is not JSON of the form"),
    ("auth.max_revocations = 0", "auth.max_revocations", "below the minimum of 1"),
    ("auth.logout_ttl = '59s'", "auth.logout_ttl", "\"59s\" is below the minimum of 1m"),
    ("auth.logout_ttl = '721h'", "auth.logout_ttl", "\"721h\" is above the maximum of 720h"),
    ("auth.dpop.max_age = '0s'", "auth.dpop.max_age", "\"0s\" is below the minimum of 1s"),
    ("auth.dpop.max_age = '11m'", "auth.dpop.max_age", "\"11m\" is above the maximum of 10m"),
    ("auth.dpop.max_proofs = 99", "auth.dpop.max_proofs", "99 is below the minimum of 100"),
    ("auth.dpop.nonces = 'on'", "auth.dpop.nonces", "true or false"),
    ("auth.dpop.nonce_key_file = '/dev/null'", "auth.dpop.nonce_key_file", "it is a device"),
    ("auth.issuers.main.dpop = 'on'", "auth.issuers.main.dpop", "\"optional\" or \"required\""),
    (
        "auth.issuers.main.id_tokens = 'yes'",
        "auth.issuers.main.id_tokens",
        "\"reject\" or \"accept\"",
    ),
    ("server.public_url = 'api.example'", "server.public_url", "begins with"),
    ("server.public_url = 'https://a?b'", "server.public_url", "query"),
    ("auth.issuers.main.logout_audiences = ['']", "auth.issuers.main.logout_audiences[0]", "empty"),
    // Conflicts.
    ("server.admin_listen = '127.0.0.1:8080'", "server.listen", "the same address"),
    ("server.listen = ['127.0.0.1:1', '127.0.0.1:1']", "server.listen", "the same address"),
    (
        "server.shutdown_delay = '20s'",
        "server.shutdown_grace",
        "is 25s by default, but must be longer than server.shutdown_delay (20s) plus \
         juspay.deadline (5s by default), or a late request would be cut off",
    ),
    ("juspay.base_url = 'http://10.0.0.1'", "juspay.base_url", "plain http"),
    (
        "juspay.egress_proxy_credentials_file = 'rustfmt.toml'",
        "juspay.egress_proxy_credentials_file",
        "content is not a user name and a password",
    ),
    (
        "juspay = {base_url = 'http://10.0.0.1', allow_plain_http = true, egress_proxy = 'http://a'}",
        "juspay.egress_proxy",
        "the proxy could read the API key",
    ),
    (
        "juspay = {base_url = 'https://localhost', egress_proxy = 'http://a'}",
        "juspay.egress_proxy",
        "a loopback address",
    ),
    (
        "juspay = {create_missing_customers = true, customer_id_form = 'juspay'}",
        "juspay.create_missing_customers",
        "only Juspay chooses such ids",
    ),
    ("limits.create_customers = '10'", "limits.create_customers", "expected a rate"),
    ("juspay.api_key_file = 'rustfmt.toml'", "juspay.api_key_file", "content is invalid"),
    (
        "cache.outage_min_remaining = '121s'",
        "cache.outage_min_remaining",
        "is 121s, longer than cache.min_remaining (2m by default), so tokens would be \
         valid for less time in an outage",
    ),
    (
        "cache.refresh_ahead = '2m'",
        "cache.refresh_ahead",
        "is 2m, but must be longer than cache.min_remaining (2m by default), or nothing is \
         refreshed in the background",
    ),
    (
        "cache.max_token_life = '5m'",
        "cache.max_token_life",
        "is 5m, but must be longer than cache.refresh_ahead (5m by default), or every cached \
         response starts a refresh",
    ),
    (
        "juspay.try_timeout = '6s'",
        "juspay.try_timeout",
        "is 6s, longer than juspay.deadline (5s by default)",
    ),
    (
        "juspay.deadline = '1s'",
        "juspay.try_timeout",
        "is 2s by default, longer than juspay.deadline (1s)",
    ),
    (
        "server.max_waiting = 1025",
        "server.max_waiting",
        "is 1025, but must be less than server.max_in_flight (1024 by default)",
    ),
    ("server.max_waiting = 1024", "server.max_waiting", "is 1024, but must be less"),
    (
        "auth.jwks_max_stale = '5m'",
        "auth.jwks_max_stale",
        "is 5m, but must be longer than auth.jwks_refresh (5m by default), or valid keys are \
         dropped between two fetches",
    ),
    ("auth.issuers.main.discovery = false", "auth.issuers.main", "no keys"),
    (
        "auth.issuers.main.jwks_url = 'https://a.example'",
        "auth.issuers.main",
        "more than one key source: jwks_url, discovery",
    ),
    ("auth.issuers.main.issuer = 'http://[::1]'", "auth.issuers.main.issuer", "development"),
    ("auth.issuers.main.issuer = 'mine'", "auth.issuers.main.discovery", "issuer identifier"),
];

fn faults_in(text: &str) -> Vec<Fault> {
    faults_of(valid().text("x.toml", text))
}

#[test]
fn each_fault_is_reported_alone_with_its_origin() {
    for (text, key, reason) in FAULTS {
        let mut faults = faults_in(text);
        // Ignores two faults: an API key file also conflicts with the inline key of the valid
        // settings, and a collector requires a program that is built with traces.
        let is_unrelated = |fault: &Fault| {
            ["juspay.api_key is set", "without traces"].iter().any(|it| fault.reason.contains(it))
        };
        faults.retain(|fault| !is_unrelated(fault));
        compare(text, &faults, &[(key, reason)]);
        assert!(faults.iter().all(|fault| fault.origin.is_some()), "{text}");
    }
}

#[test]
fn values_at_the_bounds_are_accepted() {
    for text in [
        "server.workers = 512",
        "server.max_connections = 1",
        "server.shutdown_delay = '0s'",
        "server.shutdown_grace = '10001ms'",
        "cache.not_found_ttl = '0s'",
        "cache.outage_min_remaining = '2m'",
        "cache.refresh_ahead = '121s'",
        "cache.max_token_life = '301s'",
        "auth.jwks_max_stale = '301s'",
        "auth.verified_tokens = 0",
        "auth.max_token_bytes = 256",
        "server.admin_listen = '127.0.0.1:8081'",
        "juspay.base_url = 'http://127.0.0.1'",
        "juspay.egress_proxy = 'http://127.0.0.1:3128/'",
        "juspay = {base_url = 'http://10.0.0.1', allow_plain_http = true}",
        "auth = {allow_local_issuer = true, issuers.main.issuer = 'http://[::1]'}",
        "juspay.base_url = 'http://[::1]'\nauth.issuers.main.issuer = 'http://[::1]'",
        "juspay.customer_id_form = 'juspay'\nauth.issuers.main.customer_id_prefix = 'cs'",
        "juspay.customer_id_form = 'juspay'\nauth.issuers.main.customer_id_prefix = 'cst_a'",
    ] {
        if let Err(faults) = valid().text("x.toml", text).load() {
            panic!("{text}: {faults}");
        }
    }
}

#[test]
fn all_missing_required_keys_are_reported() {
    let keys = |sources: Sources| {
        let faults = sources.load().unwrap_err();
        faults.iter().map(|fault| fault.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        keys(Sources::default()),
        ["juspay.base_url", "juspay.merchant_id", "auth.issuers", "juspay.api_key_file"]
    );
    let empty = Sources::default().text("x", VALID.split("issuer =").next().unwrap());
    assert_eq!(
        keys(empty),
        ["issuer", "audiences", "algorithms", ""]
            .map(|key| format!("auth.issuers.main.{key}").trim_end_matches('.').to_owned())
    );
}

#[test]
fn ambiguous_issuers_are_faults() {
    let second = "[auth.issuers.second]\nissuer = 'https://id.example'\naudiences = ['b']\n\
                  algorithms = ['ES256']\njwks_url = 'https://id.example/keys'";
    let keys: Vec<_> = faults_in(second).into_iter().map(|fault| fault.key).collect();
    assert_eq!(
        keys,
        [
            "auth.issuers.second.issuer",
            "auth.issuers.main.customer_id_prefix",
            "auth.issuers.second.customer_id_prefix"
        ]
    );
    let prefix = "juspay.customer_id_form = 'juspay'\nauth.issuers.main.customer_id_prefix = 'a'";
    assert_eq!(faults_in(prefix)[0].key, "auth.issuers.main.customer_id_prefix");
}

#[test]
fn key_sets_may_be_plain_http_on_listed_hosts_only() {
    let main =
        "[auth.issuers.main]\ndiscovery = false\nissuer = 'http://keycloak.svc:8080/realms/a'";
    let keys = "jwks_url = 'http://keycloak.svc:8080/keys'";
    let listed = "[auth]\nplain_http_hosts = ['other', 'Keycloak.SVC']";
    let settings = valid().text("x", format!("{listed}\n{main}\n{keys}")).load().unwrap().settings;
    assert_eq!(settings.auth.plain_http_hosts, ["other", "keycloak.svc"]);
    let url = KeySource::Url("http://keycloak.svc:8080/keys".to_owned());
    assert_eq!(settings.auth.issuers["main"].keys, url);

    let other = keys.replace("keycloak.svc", "svc");
    let unlisted = faults_in(&format!("{listed}\n{main}\n{other}"));
    assert_eq!(unlisted[0].key, "auth.issuers.main.jwks_url");
    assert!(unlisted[0].reason.contains("plain http"), "{}", unlisted[0].reason);
    assert!(unlisted[0].fix.contains("auth.plain_http_hosts"), "{}", unlisted[0].fix);
    // The host of this document decides which keys are valid, so it must use https.
    let discovery = main.replace("false", "'http://keycloak.svc:8080/configuration'");
    let faults = faults_in(&format!("{listed}\n{discovery}"));
    assert_eq!(faults[0].key, "auth.issuers.main.discovery", "{faults:?}");
}

#[test]
fn jwks_file_with_private_key_is_rejected() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    let settings =
        format!("[auth.issuers.main]\ndiscovery = false\njwks_file = '{}'", file.path().display());
    std::fs::write(&file, pair.serialize_pem()).unwrap();
    let faults = faults_in(&settings);
    compare("a private key", &faults, &[("auth.issuers.main.jwks_file", "holds a private key")]);
    std::fs::write(&file, pair.public_key_pem()).unwrap();
    assert!(valid().text("x", &settings).load().is_ok());
}

#[test]
fn plain_http_keys_require_a_local_juspay() {
    let main = "auth.issuers.main";
    let keys = |text: &str| faults_in(text).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
    let url = format!("{main}.discovery = false\n{main}.jwks_url = 'http://127.0.0.1/keys'");
    assert_eq!(keys(&url), ["auth.issuers.main.jwks_url"]);
    let discovery = format!("{main}.discovery = 'http://127.0.0.1/x'");
    assert_eq!(keys(&discovery), ["auth.issuers.main.discovery"]);
}

#[test]
fn faults_of_all_kinds_are_reported_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prod.toml");
    let text = r#"
[server]
shutdown_delay = "30s"
workers = "many"
[juspay]
base_url = "http://juspay.example"
merchant_id = "m"
api_key_file = "/nonexistent/key"
[auth.issuers.main]
issuer = "https://id.example"
audiences = ["a"]
algorithms = ["RS256", "HS256"]
[cache]
min_remaning = "1m"
not_found_ttl = 2
"#;
    std::fs::write(&path, text).unwrap();
    let faults = Sources::default().file(&path).load().unwrap_err();
    let keys: Vec<_> = faults.iter().map(|fault| &*fault.key).collect();
    assert_eq!(
        keys,
        [
            "server.workers",                  // a wrong type
            "juspay.api_key_file",             // an unreadable file
            "auth.issuers.main.algorithms[1]", // an invalid value
            "cache.not_found_ttl",             // no unit
            "server.shutdown_grace",           // a conflict between sections
            "juspay.base_url",                 // a conflict within one
            "auth.issuers.main",               // something missing
            "cache.min_remaning",              // an unknown key
        ]
    );
    let shown = faults.to_string();
    assert!(shown.contains("did you mean cache.min_remaining?"), "{shown}");
    assert!(shown.contains(&format!("where:  {}, line 4", path.display())), "{shown}");
    let delay = format!("{}, line 3", path.display());
    assert_eq!(faults.faults[4].origin, Some(delay), "of the two only the delay was set");
}

#[test]
fn every_broken_file_is_reported_along_with_other_faults() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one.toml", "two.toml"].map(|name| directory.path().join(name));
    std::fs::write(&one, "a = \n").unwrap();
    std::fs::write(&two, b"\xff").unwrap();
    let missing = directory.path().join("missing.toml");
    let sources = Sources::default().file(&one).file(&two).file(&missing);
    let faults = sources.text("x", "log.level = 'loud'\nlog.lvl = 1").load().unwrap_err();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.clone()).collect();
    let files = [one, two, missing].map(|path| path.display().to_string());
    assert_eq!(keys[..3], files);
    assert_eq!(keys[3..], ["log.level", "log.lvl"], "nothing is missed");
}

#[test]
fn fault_of_a_variable_names_the_variable() {
    let sources = valid()
        .variable("JUSPAY_BFF__CACHE__CAPACITY", "many")
        .variable("JUSPAY_BFF__LOG", "info")
        .variable("JUSPAY_BFF__LOG__LEVEL__X", "info")
        .variable("juspay_bff__cache__capasity", "1");
    let faults = sources.load().unwrap_err();
    let shown: Vec<_> = faults.iter().map(|f| (&*f.key, f.origin.as_deref().unwrap())).collect();
    assert_eq!(
        shown,
        [
            ("log", "environment variable JUSPAY_BFF__LOG"),
            ("cache.capacity", "environment variable JUSPAY_BFF__CACHE__CAPACITY"),
            ("log.level", "environment variable JUSPAY_BFF__LOG__LEVEL__X"),
            ("cache.capasity", "environment variable juspay_bff__cache__capasity"),
        ]
    );
}

#[test]
fn inline_key_and_key_file_conflict() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "key\n").unwrap();
    let path = file.path().display();
    let [fault] = &faults_in(&format!("juspay.api_key_file = '{path}'"))[..] else {
        panic!("not one")
    };
    assert!(fault.reason.contains("juspay.api_key is set too"));
    let from_file = VALID.replace("api_key = \"key\"", &format!("api_key_file = '{path}'"));
    let settings = Sources::default().text("x", from_file).load().unwrap().settings;
    assert!(matches!(settings.juspay.api_key, SecretSource::File(found) if found == file.path()));
}

#[test]
fn unused_issuer_roots_are_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    std::fs::write(&file, ca.cert.pem()).unwrap();
    let trust = format!("[auth.issuers.main]\nca_file = '{}'\n", file.path().display());
    let settings = valid().text("x.toml", &*trust).load().unwrap().settings;
    assert_eq!(settings.auth.issuers["main"].ca_file.as_deref(), Some(file.path()));
    let text = trust + "discovery = false\njwks_file = 'Cargo.toml'";
    let [fault] = &faults_in(&text)[..] else { panic!("not one") };
    assert_eq!(fault.key, "auth.issuers.main.ca_file");
    assert!(fault.reason.contains("nothing is fetched"), "{}", fault.reason);
}
