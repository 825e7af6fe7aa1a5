//! `http_requests_total` and `http_request_duration_seconds`, by route.

use std::time::Duration;

use actix_web::http::StatusCode;
use prometheus::{Histogram, IntCounter};

use crate::{
    metrics::{self, Http, Metrics, Series as _},
    problem::Problem,
};

/// The label of a successful response.
pub(super) const OK: &str = "ok";

/// The route of a request. Unknown paths share one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::public) enum Route {
    MeCustomer,
    MeSdkPayload,
    MePrepare,
    Unmatched,
}

impl Route {
    /// The routes of this service.
    pub(in crate::public) const ME: [Self; 3] =
        [Self::MeCustomer, Self::MeSdkPayload, Self::MePrepare];

    /// The path, if it is one of this service.
    pub(in crate::public) const fn path(self) -> Option<&'static str> {
        match self {
            Self::MeCustomer | Self::MeSdkPayload | Self::MePrepare => Some(self.label()),
            Self::Unmatched => None,
        }
    }

    /// The methods, as in `Allow`, if the path is one of this service.
    pub(in crate::public) const fn methods(self, has_options: bool) -> Option<&'static str> {
        match (self, has_options) {
            (Self::MeCustomer | Self::MeSdkPayload, false) => Some("GET, HEAD"),
            (Self::MeCustomer | Self::MeSdkPayload, true) => Some("GET, HEAD, OPTIONS"),
            (Self::MePrepare, false) => Some("POST"),
            (Self::MePrepare, true) => Some("POST, OPTIONS"),
            (Self::Unmatched, _) => None,
        }
    }

    metrics::labels! {
        pub(in crate::public) const fn label(self) in LABELS {
            Self::MeCustomer => "/me/customer",
            Self::MeSdkPayload => "/me/sdk-payload",
            Self::MePrepare => "/me/prepare",
            Self::Unmatched => "unmatched",
        }
    }
}

/// The counters of successful customer requests, looked up once.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// `http_requests_total` of successful customer requests.
    served: IntCounter,
    /// `http_request_duration_seconds` of customer requests.
    duration: Histogram,
}

impl Counts {
    /// Creates every series, so that each starts at 0.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let Http { requests, duration, .. } = &metrics.http;
        duration.initialize(Route::LABELS.iter().copied());
        let problems = [Route::MeCustomer, Route::MeSdkPayload]
            .into_iter()
            .flat_map(|route| Problem::on_customer_routes().map(move |problem| (route, problem)));
        let prepare = Problem::on_prepare().map(|problem| (Route::MePrepare, problem));
        let others = Problem::on_other_routes().map(|problem| (Route::Unmatched, problem));
        let off = (Route::MeSdkPayload, Problem::NotFound);
        for (route, problem) in problems.chain(prepare).chain(others).chain([off]) {
            requests.create(&[route.label(), &problem.status().to_string(), problem.code()]);
        }
        let ok = [(Route::MeSdkPayload, "200"), (Route::MePrepare, "202")];
        let preflights = Route::ME.map(|route| (route, "204"));
        for (route, status) in ok.into_iter().chain(preflights) {
            requests.create(&[route.label(), status, OK]);
        }
        let route = Route::MeCustomer.label();
        Self {
            served: requests.with_label_values(&[route, StatusCode::OK.as_str(), OK]),
            duration: duration.with_label_values(&[route]),
        }
    }

    /// Counts a response.
    pub(super) fn count(
        &self,
        metrics: &Http,
        (route, status, code): (Route, StatusCode, &str),
        elapsed: Duration,
    ) {
        let label = route.label();
        let seconds = elapsed.as_secs_f64();
        let is_customer = route == Route::MeCustomer;
        if is_customer && status == StatusCode::OK && code == OK {
            self.served.inc();
        } else {
            metrics.requests.with_label_values(&[label, status.as_str(), code]).inc();
        }
        if is_customer {
            self.duration.observe(seconds);
        } else {
            metrics.duration.with_label_values(&[label]).observe(seconds);
        }
    }
}
