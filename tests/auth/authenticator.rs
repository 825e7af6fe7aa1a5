//! The authenticator as handlers use it, with real key files.

use std::{sync::Arc, time::Duration};

use actix_web::test::TestRequest;
use juspay_bff::{
    auth::{AuthError, Authenticator, SetUpError},
    clock::{Clock as _, SystemClock, manual::ManualClock},
    metrics::Metrics,
    settings::KeySource,
    traces::Span,
};
use serde_json::json;

use super::{
    testing::{OTHER_P256, P256, clock, issuer, locally, set, settings, settle},
    world::{MAX_WAITING, limits, request, signed, token, world},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn cached_tokens_are_accepted_in_a_flood_of_unknown_tokens() {
    locally(async {
        let world = world().await;
        let cached = token("k1", json!({}));
        assert!(world.check(&cached).await.is_ok());
        let new = token("k1", json!({"jti": "another"}));
        let mut permits = world.take_permits(MAX_WAITING);
        assert!(world.check(&cached).await.is_ok());
        for unknown in [&*new, "no.token.at-all"] {
            assert_eq!(
                world.check(unknown).await.map(drop),
                Err(AuthError::Overloaded),
                "{unknown}"
            );
        }
        assert_eq!(world.metrics.auth.failures.with_label_values(&["overloaded"]).get(), 2);
        drop(permits.pop());
        assert!(world.check(&new).await.is_ok());
        let verifying = usize::try_from(world.metrics.auth.verifications.get()).unwrap();
        assert_eq!(verifying, MAX_WAITING - 1, "the permit is released");
    })
    .await;
}

#[tokio::test]
async fn key_file_is_reloaded_when_a_key_is_missing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, set(&[OTHER_P256.jwk("k0")])).unwrap();
    let mut by_file = issuer();
    by_file.keys = KeySource::File(file.path().to_owned());
    let mut settings = settings();
    settings.issuers.insert("main".to_owned(), by_file);
    let metrics = Arc::new(Metrics::new("0", "0").unwrap());
    let counter = metrics.auth.jwks_refreshes.clone();
    let clock = clock();
    let (auth, refreshers) = Authenticator::new(
        &settings,
        SECOND,
        &limits(&metrics),
        Arc::<ManualClock>::clone(&clock),
        metrics,
    )
    .unwrap();
    let by_k0 = format!("Bearer {}", signed(&OTHER_P256, "k0", json!({})));
    let by_k1 = format!("Bearer {}", token("k1", json!({})));
    let passes = async |header: &str| {
        auth.authenticate(&request(header), clock.moment(), &Span::default()).await.is_ok()
    };
    let reads = |outcome| counter.with_label_values(&["main", outcome]).get();
    // Files are read in another thread.
    let until = async |condition: &dyn Fn() -> bool| {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    locally(async {
        tokio::task::spawn_local(refreshers.run());
        until(&|| auth.ready()).await;
        assert!(passes(&by_k0).await);
        std::fs::write(&file, set(&[P256.jwk("k1")])).unwrap();
        assert!(passes(&by_k1).await, "an unknown kid reloads the file");
        assert!(!passes(&by_k0).await);
        std::fs::write(&file, set(&[OTHER_P256.jwk("k0")])).unwrap();
        let before = reads("success");
        clock.advance(SECOND);
        until(&|| reads("success") > before).await;
        assert!(passes(&by_k0).await, "each poll reloads the file");
        std::fs::write(&file, "").unwrap();
        settle().await;
        clock.advance(SECOND);
        until(&|| reads("failure") == 1).await;
        assert!(passes(&by_k0).await, "an empty file keeps the previous keys");
    })
    .await;
}

#[test]
fn two_entries_with_the_same_issuer_are_an_error() {
    let mut settings = settings();
    settings.issuers.insert("a".to_owned(), issuer());
    settings.issuers.insert("b".to_owned(), issuer());
    let metrics = Arc::new(Metrics::new("0", "0").unwrap());
    let made =
        Authenticator::new(&settings, SECOND, &limits(&metrics), SystemClock::shared(), metrics);
    assert!(matches!(made, Err(SetUpError::SameIssuer(a, b)) if a == "a" && b == "b"));
}

#[tokio::test]
async fn one_valid_token_authenticates_the_caller() {
    locally(async {
        let world = world().await;
        let authenticate = async |request: TestRequest| {
            let now = world.clock.moment();
            world.auth.authenticate(&request.to_request(), now, &Span::default()).await
        };
        let header = |token: &str| ("authorization", format!("Bearer {token}"));
        let valid = token("k1", json!({}));
        for _ in ["verified", "cached"] {
            let request = TestRequest::default().insert_header(header(&valid));
            let caller = authenticate(request).await.unwrap();
            assert_eq!((caller.customer().as_str(), caller.issuer()), ("alice", "main"));
            assert!(!format!("{caller:?}").contains("alice"));
        }
        assert_eq!(
            authenticate(TestRequest::default()).await.map(drop),
            Err(AuthError::MissingToken)
        );
        let forged = signed(&OTHER_P256, "k1", json!({}));
        let rejected = authenticate(TestRequest::default().insert_header(header(&forged))).await;
        assert_eq!(rejected.unwrap_err().reason(), "signature");
        let twice =
            TestRequest::default().append_header(header(&valid)).append_header(header(&valid));
        assert!(matches!(authenticate(twice).await, Err(AuthError::MalformedHeader(_))));
    })
    .await;
}

#[tokio::test]
async fn debug_shows_names_only() {
    locally(async {
        let world = world().await;
        assert_eq!(format!("{:?}", world.auth), r#"Authenticator { issuers: ["main"], .. }"#);
    })
    .await;
}
