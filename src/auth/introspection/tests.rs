//! Who is asked about what, how often, and for how long an answer counts: with an issuer that does
//! as it is told, and a clock that is turned by hand.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{
    auth::Authenticator,
    auth::testing::{
        ISSUER, P256, PLACES, START, World, base64url, header, introspected_issuer, issuer,
        locally, set, settings, settle, token, with, world_of_auth,
    },
    captured_log::CapturedLog,
    clock::manual::ManualClock,
    revocation::{Entry, Target},
};

const SECOND_SUBSCRIBER: Duration = Duration::from_secs(1);
const ASKED: &str = "https://asked.example";

/// An issuer that is asked.
struct Oracle {
    says: Mutex<BTreeMap<String, Result<Bytes, AskError>>>,
    asked: Mutex<Vec<String>>,
    held: watch::Sender<bool>,
    panics: AtomicBool,
}

impl Oracle {
    fn says(&self, token: &str, answer: &Value) {
        self.says.lock().unwrap().insert(token.to_owned(), Ok(answer.to_string().into()));
    }

    fn fails(&self, token: &str, error: AskError) {
        self.says.lock().unwrap().insert(token.to_owned(), Err(error));
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Asker for Oracle {
    fn ask(&self, token: &str) -> LocalBoxFuture<'static, Result<Bytes, AskError>> {
        assert!(!self.panics.load(Ordering::Relaxed), "as it was told");
        self.asked.lock().unwrap().push(token.to_owned());
        let unknown = || Ok(r#"{"active":false}"#.into());
        let says = self.says.lock().unwrap().get(token).cloned().unwrap_or_else(unknown);
        let mut held = self.held.subscribe();
        Box::pin(async move {
            held.wait_for(|held| !held).await.unwrap();
            says
        })
    }
}

fn good(sub: &str) -> Value {
    json!({"active": true, "aud": "juspay-bff", "sub": sub, "exp": START + 300, "iat": START})
}

/// An issuer `main` with keys, and `asked` without.
async fn worlds() -> (World, Arc<Oracle>) {
    worlds_with(settings()).await
}

async fn worlds_with(auth: settings::Auth) -> (World, Arc<Oracle>) {
    let asked = settings::Issuer { issuer: ASKED.to_owned(), ..introspected_issuer() };
    let issuers = [("asked", asked, Bytes::new()), ("main", issuer(), set(&[P256.jwk("k1")]))];
    let mut whole = auth.clone();
    whole.issuers.extend(issuers.iter().map(|(name, it, _)| ((*name).to_owned(), it.clone())));
    let world = world_of_auth(auth, issuers).await;
    let oracle = Arc::new(Oracle {
        says: Mutex::default(),
        asked: Mutex::default(),
        held: watch::Sender::new(false),
        panics: AtomicBool::new(false),
    });
    let World { auth, clock, metrics, origins, limits } = world;
    let ticking: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let answering: Arc<dyn Asker> = Arc::<Oracle>::clone(&oracle);
    let introspection = Introspection::by(answering, &whole, &limits, &ticking, &metrics.auth);
    let auth = Arc::into_inner(auth).unwrap();
    let auth = Arc::new(Authenticator { introspection: Some(introspection), ..auth });
    (World { auth, clock, metrics, origins, limits }, oracle)
}

fn count(world: &World, outcome: &str) -> u64 {
    world.metrics.auth.introspections.with_label_values(&["asked", outcome]).get()
}

#[tokio::test]
async fn p1_a_token_is_its_own_customers_and_is_asked_about_once() {
    locally(async {
        let (world, oracle) = worlds().await;
        for (token, sub) in [("a", "alice"), ("b", "bob")] {
            oracle.says(token, &good(sub));
            for _ in ["first sight", "known"] {
                assert_eq!(world.outcome(token).await, Ok(sub.to_owned()));
            }
            let caller = world.check(token).await.unwrap();
            assert_eq!(caller.issuer(), "asked");
        }
        assert_eq!((oracle.asked(), count(&world, "active")), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn whoever_a_token_names_is_asked_and_nobody_else() {
    locally(async {
        let (world, oracle) = worlds().await;
        // Of the issuer with keys: good, forged, expired, and broken in every part.
        let good_jwt = token("k1", json!({}));
        let (head, _) = good_jwt.rsplit_once('.').unwrap();
        let payload = head.split_once('.').unwrap().1;
        let broken = |header: &str| format!("{}.{payload}.AAAA", base64url(header));
        for (token, outcome) in [
            (good_jwt.clone(), Ok("alice".to_owned())),
            (format!("{head}.AAAA"), Err("signature")),
            (token("k1", json!({"exp": START - 300})), Err("expired")),
            (broken("{}"), Err("header")),
            (broken(r#"{"alg":"ES256","crit":["x"]}"#), Err("header")),
            (broken("no"), Err("not_jws")),
            (format!("{head}.*"), Err("malformed_header")),
            (format!("{head}.A"), Err("not_jws")),
            (format!("{head}."), Err("signature")),
            (format!("{head}.x.y.z"), Err("not_jws")),
        ] {
            assert_eq!(world.outcome(&token).await, outcome, "{token}");
        }
        assert_eq!(oracle.asked(), 0);
        // All others: of strangers, of the asked one itself, of nobody.
        let other = |iss: Value| {
            let claims = with(&json!({"iss": iss, "sub": "alice"}), json!({})).to_string();
            P256.sign(jsonwebtoken::Algorithm::ES256, &header("k1").to_string(), &claims)
        };
        let others = [other(json!(ASKED)), other(json!("x")), other(json!([ISSUER])), "a.b".into()];
        for (number, token) in others.iter().enumerate() {
            assert_eq!(world.outcome(token).await, Err("inactive"), "{token}");
            assert_eq!(oracle.asked(), number + 1, "{token}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_such_an_issuer_nobody_is_asked() {
    locally(async {
        let world = crate::auth::testing::world().await;
        assert_eq!(world.outcome("a").await, Err("not_jws"));
    })
    .await;
}

#[tokio::test]
async fn of_those_who_show_one_token_at_a_time_one_asks() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &good("alice"));
        oracle.says("b", &good("bob"));
        oracle.held.send_replace(true);
        let phones: Vec<_> = (0..50).map(|_| world.spawn("a".to_owned())).collect();
        let other = world.spawn("b".to_owned());
        settle().await;
        assert_eq!((oracle.asked(), world.waiting()), (2, 51));
        // Whoever hangs up, even the one who began it, leaves the others' answer alone.
        phones[0].abort();
        oracle.held.send_replace(false);
        let callers = join_all(phones.into_iter().skip(1)).await;
        for caller in callers {
            assert_eq!(caller.unwrap().unwrap().customer().as_str(), "alice");
        }
        assert_eq!(other.await.unwrap().unwrap().customer().as_str(), "bob");
        assert_eq!((oracle.asked(), world.waiting()), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn p6_whatever_goes_wrong_is_a_503_and_is_asked_anew() {
    locally(async {
        let (world, oracle) = worlds().await;
        let unavailable = Err(AuthError::KeysUnavailable { retry_after: SECOND_SUBSCRIBER });
        for (error, outcome) in [
            (AskError::Unreachable, "unreachable"),
            (AskError::Timeout, "timeout"),
            (AskError::Credentials, "rejected_credentials"),
            (AskError::Status(500), "error"),
            (AskError::Status(400), "error"),
            (AskError::Answer, "invalid_response"),
        ] {
            oracle.fails("a", error);
            let before = count(&world, outcome);
            assert_eq!(world.check("a").await, unavailable, "{error}");
            assert_eq!(count(&world, outcome), before + 1, "{error}");
        }
        oracle.says("a", &json!({"active": "yes"}));
        assert_eq!(world.check("a").await, unavailable);
        oracle.panics.store(true, Ordering::Relaxed);
        assert_eq!(world.check("a").await, unavailable);
        assert_eq!(count(&world, "invalid_response"), 3);
        oracle.panics.store(false, Ordering::Relaxed);
        oracle.says("a", &good("alice"));
        assert_eq!(world.outcome("a").await, Ok("alice".to_owned()), "at once");
    })
    .await;
}

#[tokio::test]
async fn the_log_tells_when_an_issuer_begins_to_fail_and_when_it_answers_again() {
    let (log, _guard) = CapturedLog::on_this_thread();
    locally(async {
        let (world, oracle) = worlds().await;
        let told = || {
            let log = log.text();
            let count = |text| log.matches(text).count();
            (count("token introspection failed"), count("token introspection works again"))
        };
        oracle.says("a", &good("alice"));
        assert!(world.check("a").await.is_ok());
        assert_eq!(told(), (0, 0));
        for _ in 0..2 {
            oracle.fails("b", AskError::Unreachable);
            assert!(world.check("b").await.is_err());
            assert_eq!(told(), (1, 0));
        }
        for unknown in ["c", "d"] {
            assert!(world.check(unknown).await.is_err());
            assert_eq!(told(), (1, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn p6_an_issuer_that_is_silent_keeps_nobody_for_longer_than_two_seconds() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.held.send_replace(true);
        // More than are asked about at a time: the others' turn doesn't come.
        let phones: Vec<_> = (0..100).map(|number| world.spawn(format!("a{number}"))).collect();
        settle().await;
        assert_eq!((oracle.asked(), world.waiting()), (64, 100));
        world.pass(Duration::new(1, 999_999_999)).await;
        assert!(!phones.iter().any(tokio::task::JoinHandle::is_finished));
        world.pass(Duration::from_nanos(1)).await;
        for phone in join_all(phones).await {
            assert_eq!(phone.unwrap().unwrap_err().reason(), "keys_unavailable");
        }
        assert_eq!((count(&world, "timeout"), world.waiting()), (100, 0));
    })
    .await;
}

#[tokio::test]
async fn half_of_the_room_is_left_to_others() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &good("alice"));
        let known = token("k1", json!({}));
        assert!(world.check("a").await.is_ok() && world.check(&known).await.is_ok());
        oracle.held.send_replace(true);
        for number in 0..PLACES / 2 {
            drop(world.spawn(format!("new{number}")));
        }
        settle().await;
        assert_eq!(world.check("b").await, Err(AuthError::Overloaded));
        assert!(world.check("a").await.is_ok() && world.check(&known).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn p4_requests_with_one_token_leave_half_of_the_places_to_others() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &good("alice"));
        oracle.says("b", &good("bob"));
        oracle.held.send_replace(true);
        let phones: Vec<_> = (0..PLACES / 2).map(|_| world.spawn("a".to_owned())).collect();
        settle().await;
        assert_eq!(world.check("a").await, Err(AuthError::TooManyAtOnce));
        let others: Vec<_> = (0..PLACES / 4).map(|_| world.spawn("b".to_owned())).collect();
        settle().await;
        assert_eq!(world.check("b").await, Err(AuthError::Overloaded), "the rest is for others");
        assert_eq!(oracle.asked(), 2);
        oracle.held.send_replace(false);
        for caller in join_all(phones.into_iter().chain(others)).await {
            assert!(caller.unwrap().is_ok());
        }
        assert_eq!(world.waiting(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_answer_counts_for_the_settings_time_from_the_question_on() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &good("alice"));
        oracle.held.send_replace(true);
        let phone = world.spawn("a".to_owned());
        settle().await;
        world.pass(SECOND_SUBSCRIBER).await;
        oracle.held.send_replace(false);
        assert!(phone.await.unwrap().is_ok());
        // Revoked there: it takes effect when the answer has had its time.
        oracle.says("a", &json!({"active": false}));
        world.pass(Duration::new(58, 999_999_999)).await;
        assert!(world.knows("a"));
        world.pass(Duration::from_nanos(1)).await;
        assert_eq!(world.outcome("a").await, Err("inactive"));
        assert_eq!(oracle.asked(), 2);
        // Nothing is remembered of a token that isn't active.
        oracle.says("a", &good("alice"));
        assert_eq!(world.outcome("a").await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn no_answer_counts_beyond_its_tokens_end() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &with(&good("alice"), json!({"exp": START + 10})));
        assert!(world.check("a").await.is_ok());
        world.pass(Duration::from_secs(9)).await;
        assert!(world.knows("a"));
        world.pass(SECOND_SUBSCRIBER).await;
        assert!(!world.knows("a"));
        assert_eq!(world.outcome("a").await, Ok("alice".to_owned()), "within the leeway");
        assert!(!world.knows("a"));
        world.pass(Duration::from_secs(30)).await;
        assert_eq!(world.outcome("a").await, Err("expired"));
    })
    .await;
}

#[tokio::test]
async fn without_a_time_to_count_each_request_asks() {
    locally(async {
        let auth = settings::Auth { introspection_cache: Duration::ZERO, ..settings() };
        let (world, oracle) = worlds_with(auth).await;
        oracle.says("a", &good("alice"));
        for number in 1..=3 {
            assert!(world.check("a").await.is_ok() && oracle.asked() == number);
        }
        assert_eq!(world.auth.tokens.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn revocations_hold_for_tokens_that_are_asked_about() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &with(&good("alice"), json!({"jti": "j-1"})));
        oracle.says("b", &with(&good("bob"), json!({"exp": START - 300})));
        let revoke = |target| {
            let issuer = "asked".into();
            let expires = Timestamp::from_second(START + 1000).unwrap();
            world.auth.revoke(Entry { issuer, target, expires }).unwrap()
        };
        assert!(world.check("a").await.is_ok());
        let customers = revoke(Target::Token("j-1".into()));
        assert_eq!(customers.len(), 1, "by what is remembered of the token");
        assert_eq!(world.outcome("a").await, Err("revoked"));
        world.auth.forget_all();
        assert_eq!(world.outcome("a").await, Err("revoked"), "though the issuer vouches for it");
        let issued_before = Timestamp::from_second(START + 1).unwrap();
        let customers = revoke(Target::Subject { sub: "bob".into(), issued_before });
        assert_eq!(customers[0].as_str(), "bob");
        assert_eq!(world.outcome("b").await, Err("revoked"), "not expired");
        // Of the same subject at the other issuer nothing is said.
        let other = token("k1", json!({"sub": "bob", "jti": "j-1"}));
        assert_eq!(world.outcome(&other).await, Ok("bob".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_before_all_was_forgotten_is_not_remembered_and_not_joined() {
    locally(async {
        let (world, oracle) = worlds().await;
        oracle.says("a", &good("alice"));
        oracle.held.send_replace(true);
        let early = world.spawn("a".to_owned());
        settle().await;
        world.auth.forget_all();
        let late = world.spawn("a".to_owned());
        settle().await;
        assert_eq!(oracle.asked(), 2);
        late.abort();
        settle().await;
        oracle.held.send_replace(false);
        assert!(early.await.unwrap().is_ok());
        assert!(!world.knows("a"));
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_can_be_asked_is_ready_and_takes_no_logout_tokens() {
    locally(async {
        let (world, oracle) = worlds().await;
        world.pass(crate::auth::testing::MAX_STALE + SECOND_SUBSCRIBER).await;
        world.origin().fail();
        assert!(world.auth.ready());
        let claims = json!({"iss": ASKED, "aud": "juspay-bff"}).to_string();
        let text = P256.sign(jsonwebtoken::Algorithm::ES256, &header("k1").to_string(), &claims);
        assert!(world.auth.log_out(&text).await.is_err());
        assert_eq!(oracle.asked(), 0);
    })
    .await;
}
