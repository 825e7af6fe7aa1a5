//! How the client handles errors and headers. `tests/api` covers responses.

use prometheus::{IntGaugeVec, Opts};

use super::*;
use crate::{
    clock::{SystemClock, manual::ManualClock},
    juspay::tests::shipped_settings,
    secret_file::Secret,
};

#[test]
fn p2_debug_hides_the_key() {
    let gauge = IntGaugeVec::new(Opts::new("g", "g"), &["slot"]).unwrap();
    let key = |text: &str| Arc::new(Secret::fixed(text.into()));
    let keys = ApiKeys::new(key("hush"), Some(key("silence")), gauge);
    let settings = settings::Juspay {
        base_url: "https://juspay.test".to_owned(),
        api_key: settings::SecretSource::Inline("hush".into()),
        ..shipped_settings()
    };
    let metrics = Arc::new(Metrics::new("", "").unwrap());
    let juspay = Juspay::new(settings, keys, SystemClock::shared(), metrics).unwrap();
    let shown = format!("{:?}", Client::new(Arc::new(juspay)));
    assert!(shown.contains("https://juspay.test"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains("silence"), "{shown}");
    let authorization = authorization(&"hush".into()).unwrap();
    assert_eq!(authorization, "Basic aHVzaDo=");
    assert!(!format!("{authorization:?}").contains("aHVz"));
}

#[test]
fn call_dropped_after_its_deadline_counts_as_timeout() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z");
    let metrics = Arc::new(Metrics::new("", "").unwrap());
    let gauge = metrics.upstream.key_slot.clone();
    let keys = ApiKeys::new(Arc::new(Secret::fixed("hush".into())), None, gauge);
    let settings = shipped_settings();
    let juspay =
        Juspay::new(settings, keys, Arc::new(clock.clone()), Arc::clone(&metrics)).unwrap();
    let deadline = clock.monotonic().plus(Duration::from_secs(5));
    let start = clock.monotonic();
    let call = |outcome| Call { juspay: &juspay, start, deadline, outcome, span: Span::default() };
    let given_up = || drop(call(None));
    let counts = || {
        ["aborted", "timeout"]
            .map(|outcome| metrics.upstream.requests.with_label_values(&[outcome]).get())
    };
    clock.advance(Duration::from_millis(4_999));
    given_up();
    assert_eq!(counts(), [1, 0]);
    clock.advance(Duration::from_millis(1));
    given_up();
    assert_eq!(counts(), [1, 1]);
    drop(call(Some("success")));
    assert_eq!(counts(), [1, 1]);
    let duration = &metrics.upstream.duration;
    assert_eq!(duration.get_sample_count(), 3);
    assert!((duration.get_sample_sum() - 14.999).abs() < 1e-6, "{}", duration.get_sample_sum());
}

#[test]
fn connection_failures_are_distinguished() {
    use ConnectionFailure as C;
    for (error, failure) in [
        (ConnectError::Resolver("no such host".into()), C::Resolve),
        (ConnectError::NoRecords, C::Resolve),
        (ConnectError::Timeout, C::ConnectTimeout),
        (ConnectError::Io(io::ErrorKind::TimedOut.into()), C::ConnectTimeout),
        (ConnectError::Io(io::ErrorKind::InvalidData.into()), C::Tls),
        (ConnectError::Io(io::ErrorKind::ConnectionRefused.into()), C::Connect),
        (ConnectError::Disconnected, C::Broken),
    ] {
        let expected = from_send_error(SendRequestError::Connect(error));
        assert_eq!(expected, JuspayError::Connection(failure));
    }
}

#[test]
fn broken_connection_is_not_invalid_http() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let broken = JuspayError::Connection(ConnectionFailure::Broken);
    assert_eq!(from_send_error(SendRequestError::Send(reset())), broken);
    assert_eq!(from_send_error(SendRequestError::Response(reset().into())), broken);
    let no_http = SendRequestError::Response(httparse::Error::Version.into());
    assert_eq!(from_send_error(no_http), InvalidResponse::Http.into());
}
