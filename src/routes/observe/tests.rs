//! What is counted and logged of a request whose handler panics.

use actix_web::{
    App, rt,
    test::{TestRequest, init_service},
    web,
};

use super::*;
use crate::{captured_log::CapturedLog, clock::manual::ManualClock, settings::Sources};

/// What has no default.
const NEEDED: &str = r#"
    juspay = { base_url = "https://juspay.test", merchant_id = "m", api_key = "k" }
    [auth.issuers.main]
    issuer = "https://issuer.test"
    audiences = ["phones"]
    algorithms = ["ES256"]
    discovery = true
"#;

fn observer(metrics: &Arc<Metrics>) -> Rc<Observer> {
    let settings =
        Sources::default().text("needed", NEEDED).load().expect("good settings").settings;
    Rc::new(Observer {
        drain: Drain::default(),
        connections: Connections::new(metrics, 10),
        access: AccessLog::All,
        challenges: Challenges::of(&settings.auth),
        refs: CustomerRefKey::random(),
        metrics: Arc::clone(metrics),
        counts: Counts::of(metrics),
        tracer: Tracer::off(),
        clock: Arc::new(ManualClock::at("2026-01-01T00:00:00Z")),
    })
}

#[test]
fn a_panic_is_counted_and_logged_under_its_route() {
    async fn panics() -> HttpResponse {
        panic!("on purpose")
    }
    let (log, _guard) = CapturedLog::on_this_thread();
    let metrics = Arc::new(Metrics::new("1", "1").unwrap());
    let observer = observer(&metrics);
    rt::System::new().block_on(async {
        let app = App::new()
            .wrap_fn(move |request, service| observe(&observer, request, service))
            .service(web::resource(ME_CUSTOMER).route(web::get().to(panics)))
            .default_service(web::to(panics));
        let app = init_service(app).await;
        for (path, route) in [("/me/customer", "/me/customer"), ("/elsewhere", "unmatched")] {
            let request = TestRequest::get().uri(path).to_request();
            let error = app.call(request).await.expect_err("the panic's answer");
            assert_eq!(error.error_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
            let labels = [route, "500", "internal_error"];
            assert_eq!(metrics.http.requests.with_label_values(&labels).get(), 1, "{path}");
            let durations = metrics.http.duration.with_label_values(&[route]);
            assert_eq!(durations.get_sample_count(), 1, "{path}");
        }
    });
    let lines = log.text();
    for route in ["/me/customer", "unmatched"] {
        let told = format!("route=\"{route}\" status=500 code=\"internal_error\" cause=\"panic\"");
        assert!(lines.contains(&told), "{lines}");
    }
}
