//! The incidents: how each is caused, and what the page, the alerts, the log and the runbook say.

/// One incident.
pub struct Incident {
    pub name: &'static str,
    /// Settings of the service. `{files}`, `{opaque}` and `{introspection_url}` are replaced.
    pub settings: &'static str,
    pub causes: &'static [Cause],
    /// The service starts with it.
    pub starts_with_it: bool,
    /// Time between the start of the world and that of the service.
    pub days_later: u64,
    /// Time between the cause and the first scrape.
    pub minutes_later: u64,
    pub traffic: Traffic,
    /// Words for the cause that the page, the alert, the log line and the runbook share.
    pub cause: &'static str,
    /// The lines of the page, each with the alert that its link names.
    pub attention: &'static [(&'static str, &'static str)],
    /// The alerts that fire if the minute repeats, with their severities.
    pub alerts: &'static [&'static str],
    /// The beginning of a message and fields of a log line; `None` if there is none.
    pub log: Option<(&'static str, &'static [(&'static str, &'static str)])>,
    /// The alert whose runbook explains the incident.
    pub runbook: Option<&'static str>,
}

/// What happens.
pub enum Cause {
    /// A request to the control API of the simulator: a path below `/_simulator` and its body.
    Simulator(&'static str, &'static str),
    KeySetGone,
    IntrospectionGone,
    NewSigningKeys,
    /// A file of the service is removed.
    Remove(&'static str),
    /// SIGTERM.
    Stop,
    /// The disk of the log is full.
    FullDisk,
}

/// The requests of a minute, 24 of them.
#[derive(Clone, Copy)]
pub enum Traffic {
    /// Each of another customer.
    New,
    /// Of cached customers.
    Known,
    /// New customers with a token for another service.
    WrongAudience,
    /// New customers with tokens that need introspection.
    Opaque,
    /// New customers over TLS.
    Tls,
    /// New customers without any response of Juspay.
    Unanswered,
    /// New customers, each answered by Juspay after two seconds.
    Slow,
    /// Three new customers while another waits for Juspay.
    Crowd,
    /// New customers of an app that uses only `/me/sdk-payload` and `/me/prepare`.
    SdkPayload,
}

const UNSERVED: &[&str] = &["JuspayBffUnserved page", "JuspayBffUnserved ticket"];

/// New customers of a service with default settings, and nothing to see.
const QUIET: Incident = Incident {
    name: "",
    settings: "",
    causes: &[],
    starts_with_it: false,
    days_later: 0,
    minutes_later: 0,
    traffic: Traffic::New,
    cause: "",
    attention: &[("Nothing needs attention.", "")],
    alerts: &[],
    log: None,
    runbook: None,
};

pub const INCIDENTS: &[Incident] = &[
    QUIET_DAY,
    SERVER_ERRORS,
    SDK_PAYLOAD,
    TIMEOUTS,
    RESETS,
    CLOSED,
    STALLED,
    TOO_MANY,
    BREAKER,
    WRONG_KEY,
    WRONG_ADDRESS,
    WEB_PAGE,
    REDIRECT,
    CUT,
    CUT_CHUNKS,
    EMPTY,
    HUGE,
    INTERIM,
    NO_TOKEN,
    EMPTY_TOKEN,
    NO_EXPIRY,
    UNREADABLE_EXPIRY,
    EXPIRED_TOKENS,
    OTHER_CUSTOMER,
    SHORT_TOKENS,
    CLOCK,
    REFRESHES,
    SLOW,
    OVERLOAD,
    FULL_CACHE,
    NO_KEYS,
    STALE_KEYS,
    NEW_KEYS,
    INTROSPECTION,
    WRONG_AUDIENCE,
    SECRET,
    FULL_DISK,
    CERTIFICATE_ENDS,
    CERTIFICATE_EXPIRED,
    DRAIN,
    DOWN,
];

const QUIET_DAY: Incident = Incident { name: "no incident", ..QUIET };

/// Customers get errors, and nothing else needs attention: the incident's name, the fault of the simulator, the
/// code of the responses, and the cause in the log.
macro_rules! unserved {
    ($name:literal, $fault:literal, $code:literal, $cause:literal) => {
        Incident {
            name: $name,
            causes: &[Cause::Simulator("faults", concat!("{\"fault\": ", $fault, "}"))],
            cause: $code,
            attention: &[(
                concat!("▲ Customers got errors in the last minute: ", $code, "."),
                "JuspayBffUnserved",
            )],
            alerts: UNSERVED,
            log: Some(("request", &[("code", $code), ("cause", $cause)])),
            runbook: Some("JuspayBffUnserved"),
            ..QUIET
        }
    };
}

const SERVER_ERRORS: Incident = unserved!(
    "Juspay returns 500",
    r#"{"status": {"status": 500}}"#,
    "upstream_error",
    "server_error"
);
const SDK_PAYLOAD: Incident = Incident {
    name: "Juspay returns 500, and the app uses /me/sdk-payload",
    settings: "sdk = { profile = \"ec\", environment = \"sandbox\" }",
    traffic: Traffic::SdkPayload,
    ..SERVER_ERRORS
};
const RESETS: Incident =
    unserved!("connections to Juspay break", r#""reset""#, "upstream_error", "connection");
const CLOSED: Incident =
    unserved!("connections to Juspay close", r#""close""#, "upstream_error", "connection");
const TOO_MANY: Incident = unserved!(
    "Juspay's quota is used up",
    r#"{"status": {"status": 429}}"#,
    "upstream_unavailable",
    "too_many_requests"
);

/// A response of Juspay that can't be used.
macro_rules! unusable {
    ($name:literal, $fault:literal, $cause:literal) => {
        unserved!($name, $fault, "upstream_invalid_response", $cause)
    };
}

const TIMEOUTS: Incident = Incident {
    name: "Juspay does not answer",
    causes: &[Cause::Simulator("faults", r#"{"fault": "hang"}"#)],
    traffic: Traffic::Unanswered,
    cause: "upstream_timeout",
    attention: &[
        ("▲ Customers got errors in the last minute: upstream_timeout.", "JuspayBffUnserved"),
        ("△ Customers waited longer than a second in the last minute.", "JuspayBffSlow"),
        ("△ Calls to Juspay timed out in the last minute.", "JuspayBffSlow"),
    ],
    alerts: &["JuspayBffSlow ticket", "JuspayBffUnserved page", "JuspayBffUnserved ticket"],
    log: Some(("request", &[("code", "upstream_timeout"), ("cause", "timeout")])),
    runbook: Some("JuspayBffUnserved"),
    ..QUIET
};

const STALLED: Incident = Incident {
    name: "responses stall",
    causes: &[Cause::Simulator("faults", r#"{"fault": "stalled_body"}"#)],
    ..TIMEOUTS
};

const BREAKER: Incident = Incident {
    name: "the circuit breaker opens",
    settings: "juspay.breaker = { min_calls = 5, window = \"1m\", open_for = \"5m\" }",
    causes: &[Cause::Simulator("faults", r#"{"fault": {"status": {"status": 503}}}"#)],
    cause: "circuit breaker",
    attention: &[
        (
            "▲ Customers got errors in the last minute: upstream_error, upstream_unavailable.",
            "JuspayBffUnserved",
        ),
        ("△ The circuit breaker is open: Juspay is not called.", "JuspayBffBreakerOpen"),
    ],
    alerts: &["JuspayBffBreakerOpen ticket", "JuspayBffUnserved page", "JuspayBffUnserved ticket"],
    log: Some(("circuit breaker opened; not calling Juspay", &[])),
    runbook: Some("JuspayBffBreakerOpen"),
    ..QUIET
};

const WRONG_KEY: Incident = Incident {
    name: "the API key is wrong",
    causes: &[Cause::Simulator("keys", r#"{"key": "sim_key", "enabled": false}"#)],
    cause: "API key",
    attention: &[
        (
            "▲ Customers got errors in the last minute: upstream_rejected_credentials.",
            "JuspayBffUnserved",
        ),
        (
            "▲ Juspay rejected the API key in the last minute, and customers got errors.",
            "JuspayBffKeyRejected",
        ),
    ],
    alerts: &[
        "JuspayBffKeyRejected page",
        "JuspayBffKeyRejected ticket",
        "JuspayBffUnserved page",
        "JuspayBffUnserved ticket",
    ],
    log: Some(("Juspay rejected the API key", &[])),
    runbook: Some("JuspayBffKeyRejected"),
    ..QUIET
};

const WRONG_ADDRESS: Incident = Incident {
    name: "the address is not on the allow-list",
    causes: &[Cause::Simulator("faults", r#"{"fault": {"error": "bad_origin"}}"#)],
    cause: "address",
    attention: &[
        (
            "▲ Customers got errors in the last minute: upstream_rejected_origin.",
            "JuspayBffUnserved",
        ),
        (
            "▲ Juspay rejected this server’s address in the last minute, and customers got errors: \
             the address is not on the allow-list.",
            "JuspayBffAddressRejected",
        ),
    ],
    alerts: &[
        "JuspayBffAddressRejected page",
        "JuspayBffAddressRejected ticket",
        "JuspayBffUnserved page",
        "JuspayBffUnserved ticket",
    ],
    log: Some(("Juspay rejected this server's address", &[])),
    runbook: Some("JuspayBffAddressRejected"),
    ..QUIET
};

const WEB_PAGE: Incident = unusable!("another server answers with a web page", r#""html""#, "json");
const REDIRECT: Incident = unusable!(
    "Juspay redirects",
    r#"{"redirect": {"location": "https://other.example/"}}"#,
    "redirect"
);
const CUT: Incident = unusable!("a proxy cuts responses short", r#"{"cut_body": {}}"#, "truncated");
const CUT_CHUNKS: Incident =
    unusable!("a proxy cuts chunked responses short", r#"{"cut_chunked": {}}"#, "truncated");
const EMPTY: Incident = unusable!("responses are empty", r#""empty""#, "json");
const HUGE: Incident =
    unusable!("responses are too large", r#"{"huge": {"bytes": 2000000}}"#, "too_large");
const INTERIM: Incident = unusable!(
    "a proxy sends an interim response",
    r#"{"interim": {"status": 102, "gap_ms": 0}}"#,
    "interim"
);
const NO_TOKEN: Incident =
    unusable!("Juspay returns no client auth token", r#"{"token": "missing"}"#, "no_token");
const EMPTY_TOKEN: Incident =
    unusable!("client auth tokens are empty", r#"{"token": "empty_token"}"#, "no_token");
const NO_EXPIRY: Incident =
    unusable!("client auth tokens have no expiry", r#"{"token": "no_expiry"}"#, "no_expiry");
const UNREADABLE_EXPIRY: Incident = unusable!(
    "the expiry of client auth tokens is unreadable",
    r#"{"token": "unreadable_expiry"}"#,
    "no_expiry"
);
const EXPIRED_TOKENS: Incident = unusable!(
    "client auth tokens have expired",
    r#"{"token": {"life": {"seconds": 0}}}"#,
    "too_short_lived"
);

const OTHER_CUSTOMER: Incident = Incident {
    name: "Juspay returns another customer",
    causes: &[Cause::Simulator("faults", r#"{"fault": {"object": "other_customer"}}"#)],
    cause: "customer",
    attention: &[
        (
            "▲ Customers got errors in the last minute: upstream_invalid_response.",
            "JuspayBffUnserved",
        ),
        (
            "△ Juspay returned another customer’s data in the last minute. The response was rejected.",
            "JuspayBffWrongCustomer",
        ),
    ],
    alerts: &[
        "JuspayBffUnserved page",
        "JuspayBffUnserved ticket",
        "JuspayBffWrongCustomer ticket",
    ],
    log: Some(("call to Juspay failed", &[("cause", "other_customer")])),
    runbook: Some("JuspayBffWrongCustomer"),
    ..QUIET
};

const SHORT_TOKENS: Incident = Incident {
    name: "Juspay's tokens are short-lived",
    causes: &[Cause::Simulator("faults", r#"{"fault": {"token": {"life": {"seconds": 50}}}}"#)],
    cause: "tokens",
    attention: &[(
        "△ Customers got tokens that were valid for a minute or less in the last minute.",
        "JuspayBffShortTokens",
    )],
    alerts: &["JuspayBffShortTokens ticket"],
    log: Some(("client auth tokens live less than four times cache.min_remaining", &[])),
    runbook: Some("JuspayBffShortTokens"),
    ..QUIET
};

const CLOCK: Incident = Incident {
    name: "the server's clock is ahead",
    causes: &[Cause::Simulator("clock", r#"{"offset": "-2m"}"#)],
    cause: "clock",
    attention: &[(
        "△ This server’s clock and Juspay’s differ by more than 30 seconds.",
        "JuspayBffClockSkew",
    )],
    alerts: &["JuspayBffClockSkew ticket"],
    log: Some(("this server's clock is", &[])),
    runbook: Some("JuspayBffClockSkew"),
    ..QUIET
};

const REFRESHES: Incident = Incident {
    name: "Juspay fails while all customers are cached",
    causes: &[Cause::Simulator("faults", r#"{"fault": {"status": {"status": 500}}}"#)],
    minutes_later: 12,
    traffic: Traffic::Known,
    cause: "fail",
    attention: &[(
        "△ Refreshes of cached tokens failed in the last minute.",
        "JuspayBffRefreshesFail",
    )],
    alerts: &["JuspayBffRefreshesFail ticket"],
    log: Some(("call to Juspay failed", &[("outcome", "server_error")])),
    runbook: Some("JuspayBffRefreshesFail"),
    ..QUIET
};

const SLOW: Incident = Incident {
    name: "Juspay is slow",
    traffic: Traffic::Slow,
    attention: &[("△ Customers waited longer than a second in the last minute.", "JuspayBffSlow")],
    cause: "second",
    alerts: &["JuspayBffSlow ticket"],
    runbook: Some("JuspayBffSlow"),
    ..QUIET
};

const OVERLOAD: Incident = Incident {
    name: "more new customers than concurrent calls",
    settings: "server.max_waiting = 1",
    traffic: Traffic::Crowd,
    cause: "overload",
    attention: &[
        ("▲ Customers got errors in the last minute: overloaded.", "JuspayBffUnserved"),
        ("△ Requests were rejected because of overload in the last minute.", "JuspayBffShedding"),
    ],
    alerts: &["JuspayBffShedding ticket", "JuspayBffUnserved page", "JuspayBffUnserved ticket"],
    log: Some(("request", &[("code", "overloaded"), ("cause", "max_waiting")])),
    runbook: Some("JuspayBffShedding"),
    ..QUIET
};

const FULL_CACHE: Incident = Incident {
    name: "the cache is nearly full",
    settings: "cache.capacity = 25",
    cause: "cache",
    attention: &[("△ The cache is nearly full.", "JuspayBffCacheNearCapacity")],
    alerts: &["JuspayBffCacheNearCapacity ticket"],
    runbook: Some("JuspayBffCacheNearCapacity"),
    ..QUIET
};

const NO_KEYS: Incident = Incident {
    name: "a new pod cannot fetch the signing keys",
    starts_with_it: true,
    causes: &[Cause::KeySetGone],
    cause: "keys",
    attention: &[
        ("▲ Not ready: no issuer has keys yet.", "JuspayBffKeySetMissing"),
        (
            "▲ Access tokens could not be verified in the last minute, because an issuer did not answer, and \
             customers got errors.",
            "JuspayBffKeysUnavailable",
        ),
        ("△ The signing keys of main have never been fetched.", "JuspayBffKeySetMissing"),
        ("△ Fetching the signing keys of main failed in the last minute.", "JuspayBffKeySetStale"),
    ],
    alerts: &["JuspayBffKeySetMissing ticket", "JuspayBffKeysUnavailable page"],
    log: Some(("failed to fetch JWKS; no usable keys available", &[])),
    runbook: Some("JuspayBffKeySetMissing"),
    ..QUIET
};

const STALE_KEYS: Incident = Incident {
    name: "an issuer's key set is gone for an hour",
    causes: &[Cause::KeySetGone],
    minutes_later: 62,
    cause: "keys",
    attention: &[
        (
            "△ The signing keys of main have not been fetched for more than an hour.",
            "JuspayBffKeySetStale",
        ),
        ("△ Fetching the signing keys of main failed in the last minute.", "JuspayBffKeySetStale"),
    ],
    alerts: &["JuspayBffKeySetStale ticket"],
    log: Some(("failed to fetch JWKS; keeping the previous keys and retrying", &[])),
    runbook: Some("JuspayBffKeySetStale"),
    ..QUIET
};

const NEW_KEYS: Incident = Incident {
    name: "an issuer's key set is gone, and it has new keys",
    causes: &[Cause::KeySetGone, Cause::NewSigningKeys],
    minutes_later: 16,
    cause: "issuer",
    attention: &[
        (
            "▲ Access tokens could not be verified in the last minute, because an issuer did not answer, and \
             customers got errors.",
            "JuspayBffKeysUnavailable",
        ),
        ("△ Fetching the signing keys of main failed in the last minute.", "JuspayBffKeySetStale"),
    ],
    alerts: &["JuspayBffKeySetStale ticket", "JuspayBffKeysUnavailable page"],
    log: Some(("failed to fetch JWKS; keeping the previous keys and retrying", &[])),
    runbook: Some("JuspayBffKeysUnavailable"),
    ..QUIET
};

const INTROSPECTION: Incident = Incident {
    name: "the introspection endpoint is down",
    settings: r#"
        auth.shared_customer_ids = true
        [auth.issuers.opaque]
        issuer = "{opaque}"
        audiences = ["juspay-bff-demo"]
        introspection_url = '{introspection_url}'
        introspection_client_id = 'juspay-bff'
        introspection_client_secret_file = '{files}/secret'
    "#,
    causes: &[Cause::IntrospectionGone],
    traffic: Traffic::Opaque,
    cause: "issuer",
    attention: &[(
        "▲ Access tokens could not be verified in the last minute, because an issuer did not answer, and \
             customers got errors.",
        "JuspayBffKeysUnavailable",
    )],
    alerts: &["JuspayBffKeysUnavailable page"],
    log: Some(("token introspection failed", &[])),
    runbook: Some("JuspayBffKeysUnavailable"),
    ..QUIET
};

const WRONG_AUDIENCE: Incident = Incident {
    name: "the app's tokens are for another audience",
    traffic: Traffic::WrongAudience,
    cause: "401",
    attention: &[(
        "△ Most requests were rejected with 401 in the last minute.",
        "JuspayBffTokensRejected",
    )],
    alerts: &["JuspayBffTokensRejected ticket"],
    log: Some(("request", &[("reason", "audience")])),
    runbook: Some("JuspayBffTokensRejected"),
    ..QUIET
};

const SECRET: Incident = Incident {
    name: "the API key's file is gone",
    settings: "juspay.api_key_file = '{files}/api-key'",
    causes: &[Cause::Remove("api-key")],
    minutes_later: 6,
    cause: "file",
    attention: &[("△ The file of api_key can’t be read.", "JuspayBffSecretNotRead")],
    alerts: &["JuspayBffSecretNotRead ticket"],
    log: Some(("failed to reload secret file", &[])),
    runbook: Some("JuspayBffSecretNotRead"),
    ..QUIET
};

const FULL_DISK: Incident = Incident {
    name: "the disk of the log is full",
    causes: &[Cause::FullDisk],
    cause: "log lines",
    attention: &[("△ Log lines were lost in the last minute.", "JuspayBffLogLinesLost")],
    alerts: &["JuspayBffLogLinesLost ticket"],
    log: Some(("log lines lost; standard output was full, closed or slow", &[])),
    runbook: Some("JuspayBffLogLinesLost"),
    ..QUIET
};

const TLS: &str = "server.tls = { cert_file = '{files}/tls.crt', key_file = '{files}/tls.key' }";

const CERTIFICATE_ENDS: Incident = Incident {
    name: "the TLS certificate is about to expire",
    settings: TLS,
    // From 2026-11-23 to 2039-12-26.
    days_later: 4781,
    traffic: Traffic::Tls,
    cause: "certificate",
    attention: &[(
        "△ The TLS certificate of server expires in less than 14 days.",
        "JuspayBffCertificateEnds",
    )],
    alerts: &["JuspayBffCertificateEnds ticket"],
    runbook: Some("JuspayBffCertificateEnds"),
    ..QUIET
};

const CERTIFICATE_EXPIRED: Incident = Incident {
    name: "the TLS certificate has expired",
    days_later: 4791,
    attention: &[("▲ The TLS certificate of server has expired.", "JuspayBffCertificateEnds")],
    alerts: &["JuspayBffCertificateEnds page", "JuspayBffCertificateEnds ticket"],
    ..CERTIFICATE_ENDS
};

const DRAIN: Incident = Incident {
    name: "a pod drains",
    settings: "server.shutdown_delay = \"5m\"\nserver.shutdown_grace = \"10m\"",
    causes: &[Cause::Stop],
    log: Some(("shutdown started: reporting not ready", &[])),
    ..QUIET
};

const DOWN: Incident = Incident {
    name: "all pods are gone",
    causes: &[Cause::Stop],
    cause: "",
    attention: &[(
        "▲ The service is unreachable. The page shows the last known values.",
        "JuspayBffDown",
    )],
    alerts: &["JuspayBffDown page"],
    log: Some(("shutdown complete", &[])),
    runbook: Some("JuspayBffDown"),
    ..QUIET
};
