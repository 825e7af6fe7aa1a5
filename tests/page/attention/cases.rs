//! The cases of each rule: metrics with which it applies, and metrics exactly at its limit with
//! which it doesn't.

/// The link's text: the alert, or `see` and the alert with the runbook for rules without an alert; the
/// severity; the text of the page; metrics with which the rule shows this text, and metrics with which it doesn't.
///
/// A metric is a line of `/metrics` without the common prefix, in which `now-900` is a time. A line
/// that begins with a status is short for a line of `http_requests_total` with the route `/me/customer`; another route
/// is written before the status.
pub type Case =
    (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

pub const CASES: &[&[Case]] = &[CUSTOMERS, SDK_PAYLOADS, JUSPAY, KEYS, SHARED_TIER, OTHERS];

const CUSTOMERS: &[Case] = &[
    (
        "JuspayBffUnserved",
        "page",
        "Customers got errors since start: upstream_error.",
        &["200 ok 9856", "502 upstream_error 145"],
        &[
            "200 ok 9856",
            "502 upstream_error 144",
            "503 keys_unavailable 999",
            "504 not_cached 999",
        ],
    ),
    (
        "JuspayBffUnserved",
        "ticket",
        "Some customers got errors since start: upstream_error.",
        &["200 ok 9969", "502 upstream_error 31"],
        &["200 ok 9970", "502 upstream_error 30", "503 keys_unavailable 999", "504 not_cached 999"],
    ),
    (
        "JuspayBffSlow",
        "ticket",
        "Customers waited longer than a second since start.",
        &[
            "http_request_duration_seconds_bucket{route=\"/me/customer\",le=\"1\"} 855",
            "http_request_duration_seconds_count{route=\"/me/customer\"} 1000",
            "200 ok 1000",
        ],
        &[
            "http_request_duration_seconds_bucket{route=\"/me/customer\",le=\"1\"} 856",
            "http_request_duration_seconds_count{route=\"/me/customer\"} 1000",
            "200 ok 1000",
        ],
    ),
    (
        "JuspayBffShortTokens",
        "ticket",
        "Customers got tokens that were valid for a minute or less since start.",
        &["token_remaining_seconds_bucket{le=\"60\"} 6", "token_remaining_seconds_count 100"],
        &["token_remaining_seconds_bucket{le=\"60\"} 5", "token_remaining_seconds_count 100"],
    ),
    (
        "JuspayBffTokensDieEarly",
        "ticket",
        "Client auth tokens stopped working before their expiry since start.",
        &["cache_token_early_death_age_seconds_count 11", "cache_tokens_total 1099"],
        &["cache_token_early_death_age_seconds_count 11", "cache_tokens_total 1100"],
    ),
    (
        "JuspayBffTokensDieEarly",
        "ticket",
        "Client auth tokens stopped working before their expiry since start.",
        &["cache_token_early_death_age_seconds_count 11", "cache_tokens_total 11"],
        &["cache_token_early_death_age_seconds_count 10", "cache_tokens_total 10"],
    ),
    (
        "JuspayBffTokensRejected",
        "ticket",
        "Most requests were rejected with 401 since start.",
        &["200 ok 50", "401 invalid_token 51"],
        &["200 ok 50", "401 expired_token 50"],
    ),
    (
        "JuspayBffShedding",
        "ticket",
        "Requests were rejected because of overload since start.",
        &["200 ok 98", "503 overloaded 2"],
        &["200 ok 99", "503 overloaded 1"],
    ),
    (
        "JuspayBffInternalErrors",
        "ticket",
        "Requests failed because of a bug since start.",
        &["200 ok 1000", "500 internal_error 1"],
        &["200 ok 1000", "500 internal_error 0"],
    ),
];

/// The app uses `/me/sdk-payload`, and floods of `/me/prepare` and `OPTIONS` hide nothing.
const SDK_PAYLOADS: &[Case] = &[
    (
        "JuspayBffUnserved",
        "page",
        "Customers got errors since start: upstream_error.",
        &[
            "/me/sdk-payload 200 ok 9856",
            "/me/sdk-payload 502 upstream_error 145",
            "/me/prepare 202 ok 999999",
            "204 ok 999999",
        ],
        &[
            "/me/sdk-payload 200 ok 9856",
            "/me/sdk-payload 502 upstream_error 144",
            "/me/prepare 500 internal_error 999999",
        ],
    ),
    (
        "JuspayBffSlow",
        "ticket",
        "Customers waited longer than a second since start.",
        &[
            "http_request_duration_seconds_bucket{route=\"/me/sdk-payload\",le=\"1\"} 855",
            "http_request_duration_seconds_count{route=\"/me/sdk-payload\"} 1000",
            "/me/sdk-payload 200 ok 1000",
            "http_request_duration_seconds_bucket{route=\"/me/customer\",le=\"1\"} 999999",
            "http_request_duration_seconds_count{route=\"/me/customer\"} 999999",
            "204 ok 999999",
            "http_request_duration_seconds_bucket{route=\"/me/prepare\",le=\"1\"} 999999",
            "http_request_duration_seconds_count{route=\"/me/prepare\"} 999999",
        ],
        &[
            "http_request_duration_seconds_bucket{route=\"/me/sdk-payload\",le=\"1\"} 856",
            "http_request_duration_seconds_count{route=\"/me/sdk-payload\"} 1000",
            "/me/sdk-payload 200 ok 1000",
        ],
    ),
    (
        "JuspayBffTokensRejected",
        "ticket",
        "Most requests were rejected with 401 since start.",
        &[
            "/me/sdk-payload 200 ok 50",
            "/me/sdk-payload 401 invalid_token 51",
            "/me/prepare 202 ok 999999",
            "204 ok 999999",
        ],
        &["/me/sdk-payload 200 ok 50", "/me/sdk-payload 401 expired_token 50"],
    ),
    (
        "JuspayBffShedding",
        "ticket",
        "Requests were rejected because of overload since start.",
        &[
            "/me/sdk-payload 200 ok 98",
            "/me/sdk-payload 503 overloaded 2",
            "/me/prepare 202 ok 999999",
            "204 ok 999999",
        ],
        &["/me/sdk-payload 200 ok 99", "/me/sdk-payload 503 overloaded 1"],
    ),
];

const JUSPAY: &[Case] = &[
    (
        "JuspayBffKeyRejected",
        "page",
        "Juspay rejected the API key since start, and customers got errors.",
        &["502 upstream_rejected_credentials 1"],
        &["502 upstream_rejected_credentials 1", "upstream_requests_total{outcome=\"success\"} 1"],
    ),
    (
        "JuspayBffKeyRejected",
        "ticket",
        "Juspay rejected the API key since start.",
        &["upstream_requests_total{outcome=\"rejected_credentials\"} 1"],
        &["upstream_requests_total{outcome=\"rejected_credentials\"} 0"],
    ),
    (
        "JuspayBffAddressRejected",
        "page",
        "Juspay rejected this server’s address since start, and customers got errors: the address \
         is not on the allow-list.",
        &["502 upstream_rejected_origin 1"],
        &["502 upstream_rejected_origin 1", "upstream_requests_total{outcome=\"success\"} 1"],
    ),
    (
        "JuspayBffAddressRejected",
        "ticket",
        "Juspay rejected this server’s address since start: the address is not on the allow-list.",
        &["upstream_requests_total{outcome=\"rejected_origin\"} 1"],
        &["upstream_requests_total{outcome=\"rejected_origin\"} 0"],
    ),
    (
        "JuspayBffBreakerOpen",
        "ticket",
        "The circuit breaker is open: Juspay is not called.",
        &["upstream_breaker_state{state=\"open\"} 1"],
        &["upstream_breaker_state{state=\"closed\"} 1"],
    ),
    (
        "JuspayBffBreakerOpen",
        "ticket",
        "The circuit breaker is half open: one call tests Juspay.",
        &["upstream_breaker_state{state=\"half_open\"} 1"],
        &["upstream_breaker_state{state=\"closed\"} 1"],
    ),
    (
        "see JuspayBffSlow",
        "ticket",
        "Calls to Juspay timed out since start.",
        &[
            "upstream_requests_total{outcome=\"success\"} 94",
            "upstream_requests_total{outcome=\"timeout\"} 6",
        ],
        &[
            "upstream_requests_total{outcome=\"success\"} 95",
            "upstream_requests_total{outcome=\"timeout\"} 5",
        ],
    ),
    (
        "JuspayBffRefreshesFail",
        "ticket",
        "Refreshes of cached tokens failed since start.",
        &[
            "cache_refreshes_total{outcome=\"success\"} 79",
            "cache_refreshes_total{outcome=\"failure\"} 21",
        ],
        &[
            "cache_refreshes_total{outcome=\"success\"} 80",
            "cache_refreshes_total{outcome=\"failure\"} 20",
        ],
    ),
    (
        "see JuspayBffRefreshesFail",
        "ticket",
        "Juspay failed, and customers got tokens with less than the normal validity since start.",
        &["cache_requests_total{outcome=\"outage\"} 1"],
        &["cache_requests_total{outcome=\"outage\"} 0"],
    ),
    (
        "JuspayBffWrongCustomer",
        "ticket",
        "Juspay returned another customer’s data since start. The response was rejected.",
        &["upstream_identity_mismatches_total 1"],
        &["upstream_identity_mismatches_total 0"],
    ),
    (
        "JuspayBffClockSkew",
        "ticket",
        "This server’s clock and Juspay’s differ by more than 30 seconds.",
        &["upstream_clock_skew_seconds -31"],
        &["upstream_clock_skew_seconds -30"],
    ),
];

const KEYS: &[Case] = &[
    (
        "JuspayBffKeysUnavailable",
        "page",
        "Access tokens could not be verified since start, because an issuer did not answer, and customers got errors.",
        &["503 keys_unavailable 1", "jwks_last_success_timestamp_seconds{issuer=\"main\"} now-901"],
        &["503 keys_unavailable 1", "jwks_last_success_timestamp_seconds{issuer=\"main\"} now-900"],
    ),
    (
        "JuspayBffKeysUnavailable",
        "page",
        "Access tokens could not be verified since start, because an issuer did not answer, and customers got errors.",
        &[
            "503 keys_unavailable 1",
            "jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"} 1",
            "jwks_last_success_timestamp_seconds{issuer=\"main\"} 0",
        ],
        &["503 keys_unavailable 1", "jwks_last_success_timestamp_seconds{issuer=\"main\"} 0"],
    ),
    (
        "JuspayBffKeysUnavailable",
        "page",
        "Access tokens could not be verified since start, because an issuer did not answer, and customers got errors.",
        &[
            "503 keys_unavailable 1",
            "auth_introspections_total{issuer=\"opaque\",outcome=\"unreachable\"} 1",
        ],
        &[
            "503 keys_unavailable 1",
            "auth_introspections_total{issuer=\"opaque\",outcome=\"inactive\"} 1",
        ],
    ),
    (
        "JuspayBffKeySetStale",
        "ticket",
        "The signing keys of main have not been fetched for more than an hour.",
        &["jwks_last_success_timestamp_seconds{issuer=\"main\"} now-3601"],
        &["jwks_last_success_timestamp_seconds{issuer=\"main\"} now-3600"],
    ),
    (
        "JuspayBffKeySetMissing",
        "ticket",
        "The signing keys of main have never been fetched.",
        &[
            "jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"} 1",
            "jwks_last_success_timestamp_seconds{issuer=\"main\"} 0",
        ],
        &["jwks_last_success_timestamp_seconds{issuer=\"main\"} 0"],
    ),
    (
        "see JuspayBffKeySetStale",
        "ticket",
        "Fetching the signing keys of main failed since start.",
        &["jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"} 1"],
        &["jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"} 0"],
    ),
];

const SHARED_TIER: &[Case] = &[
    (
        "JuspayBffSharedTierAway",
        "ticket",
        "The shared tier is away: customers are fetched as without it.",
        &["shared_state{state=\"connected\"} 0", "shared_state{state=\"disconnected\"} 1"],
        &["shared_state{state=\"connected\"} 1", "shared_state{state=\"disconnected\"} 0"],
    ),
    (
        "JuspayBffSharedTierAway",
        "ticket",
        "The shared tier is partly away: a node of the cluster is down.",
        &["shared_state{state=\"partly_connected\"} 1"],
        &["shared_state{state=\"connected\"} 1"],
    ),
    (
        "JuspayBffSharedTierAway",
        "ticket",
        "The shared tier is skipped: its server responds too late.",
        &["shared_state{state=\"breaker_open\"} 1"],
        &["shared_state{state=\"connected\"} 1"],
    ),
    (
        "JuspayBffSharedEntriesUnreadable",
        "ticket",
        "Entries in the shared tier were unreadable since start.",
        &["shared_requests_total{outcome=\"unreadable\"} 1"],
        &["shared_requests_total{outcome=\"unreadable\"} 0"],
    ),
    (
        "JuspayBffSharedExtraFetches",
        "ticket",
        "The shared tier was slow or full since start, which caused extra calls to Juspay.",
        &[
            "shared_requests_total{outcome=\"found\"} 94",
            "shared_requests_total{outcome=\"timeout\"} 4",
            "shared_requests_total{outcome=\"out_of_memory\"} 2",
        ],
        &[
            "shared_requests_total{outcome=\"found\"} 95",
            "shared_requests_total{outcome=\"timeout\"} 5",
            "shared_requests_total{outcome=\"disconnected\"} 999",
        ],
    ),
];

const OTHERS: &[Case] = &[
    (
        "JuspayBffCacheNearCapacity",
        "ticket",
        "The cache is nearly full.",
        &["cache_entries 91", "cache_capacity 100"],
        &["cache_entries 90", "cache_capacity 100"],
    ),
    (
        "JuspayBffLogLinesLost",
        "ticket",
        "Log lines were lost since start.",
        &["log_lines_lost_total 1"],
        &["log_lines_lost_total 0"],
    ),
    (
        "JuspayBffSecretNotRead",
        "ticket",
        "The file of api_key can’t be read.",
        &["secret_last_reload_success_timestamp_seconds{secret=\"api_key\"} now-301"],
        &["secret_last_reload_success_timestamp_seconds{secret=\"api_key\"} now-300"],
    ),
    (
        "JuspayBffCertificateEnds",
        "ticket",
        "The TLS certificate of server expires in less than 14 days.",
        &["tls_certificate_not_after_timestamp_seconds{certificate=\"server\"} now+1209599"],
        &["tls_certificate_not_after_timestamp_seconds{certificate=\"server\"} now+1209600"],
    ),
    (
        "JuspayBffCertificateEnds",
        "page",
        "The TLS certificate of server has expired.",
        &["tls_certificate_not_after_timestamp_seconds{certificate=\"server\"} now-1"],
        &["tls_certificate_not_after_timestamp_seconds{certificate=\"server\"} now+0"],
    ),
];
