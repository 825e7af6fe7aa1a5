//! `http_requests_total` and `http_request_duration_seconds`: the routes, and what is counted of each.

use std::time::Duration;

use actix_web::{dev::ServiceRequest, http::StatusCode};
use prometheus::{Histogram, IntCounter};

use super::ME_CUSTOMER;
use crate::{
    metrics::{self, Http, Metrics, Series as _},
    problem::Problem,
};

/// The label of an answer that is no problem's.
pub(super) const OK: &str = "ok";

/// The path that was routed by: a closed set, whatever clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    MeCustomer,
    Unmatched,
}

impl Route {
    metrics::labels! {
        pub(super) const fn label(self) in LABELS {
            Self::MeCustomer => ME_CUSTOMER,
            Self::Unmatched => "unmatched",
        }
    }

    /// The route of a request: its path is known before it is routed.
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let path = request.match_info().as_str();
        if path == ME_CUSTOMER { Self::MeCustomer } else { Self::Unmatched }
    }
}

/// The metrics of most requests, looked up once.
#[derive(Debug, Clone)]
pub struct Counts {
    /// `http_requests_total`, of answered customers.
    served: IntCounter,
    /// `http_request_duration_seconds`, of customers asked for.
    duration: Histogram,
}

impl Counts {
    /// Those of `metrics`, where each series exists from now on.
    #[must_use]
    pub fn of(metrics: &Metrics) -> Self {
        let Http { requests, duration, .. } = &metrics.http;
        duration.initialize(Route::LABELS.iter().copied());
        let problems = Problem::on_customer_route().map(|problem| (Route::MeCustomer, problem));
        let others = Problem::on_other_routes().map(|problem| (Route::Unmatched, problem));
        for (route, problem) in problems.chain(others) {
            requests.create(&[route.label(), &problem.status().to_string(), problem.code()]);
        }
        let route = Route::MeCustomer.label();
        Self {
            served: requests.with_label_values(&[route, StatusCode::OK.as_str(), OK]),
            duration: duration.with_label_values(&[route]),
        }
    }

    /// Counts an answer.
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
