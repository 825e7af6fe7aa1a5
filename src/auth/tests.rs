//! The authenticator as a whole: real key files, and what a handler sees of it.

use std::{sync::Arc, time::Duration};

use actix_web::test::TestRequest;
use serde_json::json;

use super::{
    AuthError, Authenticator, SetUpError,
    testing::{
        OTHER_P256, P256, PLACES, clock, issuer, limits, locally, request, set, settings, settle,
        signed, token, world,
    },
};
use crate::{
    clock::{Clock as _, SystemClock, manual::ManualClock},
    metrics::Metrics,
    settings::KeySource,
    traces::Span,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn cached_tokens_pass_in_a_flood_of_unknown_tokens() {
    locally(async {
        let world = world().await;
        let known = token("k1", json!({}));
        assert!(world.check(&known).await.is_ok());
        let new = token("k1", json!({"jti": "another"}));
        let mut taken = world.verifying(PLACES);
        assert!(world.check(&known).await.is_ok());
        for unknown in [&*new, "no.token.at-all"] {
            assert_eq!(world.check(unknown).await, Err(AuthError::Overloaded), "{unknown}");
        }
        assert_eq!(world.metrics.auth.failures.with_label_values(&["overloaded"]).get(), 2);
        drop(taken.pop());
        assert!(world.check(&new).await.is_ok());
        let verifying = usize::try_from(world.metrics.auth.verifications.get()).unwrap();
        assert_eq!(verifying, PLACES - 1, "the place is free again");
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
    // Files are read in a thread of their own.
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
        assert!(passes(&by_k1).await, "the unknown kid makes it look");
        assert!(!passes(&by_k0).await);
        std::fs::write(&file, set(&[OTHER_P256.jwk("k0")])).unwrap();
        let before = reads("success");
        clock.advance(SECOND);
        until(&|| reads("success") > before).await;
        assert!(passes(&by_k0).await, "it looks at each poll, too");
        std::fs::write(&file, "").unwrap();
        settle().await;
        clock.advance(SECOND);
        until(&|| reads("failure") == 1).await;
        assert!(passes(&by_k0).await, "what turns empty is left alone");
    })
    .await;
}

#[test]
fn two_issuers_with_the_same_name_are_a_fault() {
    let mut settings = settings();
    settings.issuers.insert("a".to_owned(), issuer());
    settings.issuers.insert("b".to_owned(), issuer());
    let metrics = Arc::new(Metrics::new("0", "0").unwrap());
    let made =
        Authenticator::new(&settings, SECOND, &limits(&metrics), SystemClock::shared(), metrics);
    assert!(matches!(made, Err(SetUpError::SameIssuer(a, b)) if a == "a" && b == "b"));
}

#[tokio::test]
async fn a_caller_has_one_valid_token() {
    locally(async {
        let world = world().await;
        let authenticate = async |request: TestRequest| {
            let now = world.clock.moment();
            world.auth.authenticate(&request.to_request(), now, &Span::default()).await
        };
        let header = |token: &str| ("authorization", format!("Bearer {token}"));
        let good = token("k1", json!({}));
        for _ in ["verified", "cached"] {
            let request = TestRequest::default().insert_header(header(&good));
            let caller = authenticate(request).await.unwrap();
            assert_eq!((caller.customer().as_str(), caller.issuer()), ("alice", "main"));
            assert!(!format!("{caller:?}").contains("alice"));
        }
        assert_eq!(authenticate(TestRequest::default()).await, Err(AuthError::MissingToken));
        let forged = signed(&OTHER_P256, "k1", json!({}));
        let rejected = authenticate(TestRequest::default().insert_header(header(&forged))).await;
        assert_eq!(rejected.unwrap_err().reason(), "signature");
        let twice =
            TestRequest::default().append_header(header(&good)).append_header(header(&good));
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
