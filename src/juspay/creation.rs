//! Creates missing customers (`juspay.create_missing_customers`): wraps a worker's client, so that a
//! call for a customer that Juspay doesn't know creates it and returns it.
//!
//! Create Customer is not idempotent, so it is never repeated. If its result is uncertain, or another
//! process has created the customer in the meantime, the customer is requested once more. All of it
//! is one fetch of the cache, within its deadline (promise P4).

use std::{rc::Rc, sync::Arc};

use futures_util::future::LocalBoxFuture;

use super::{CustomerApi, CustomerResponse, GetCustomer, InvalidResponse, JuspayError, NotCreated};
use crate::{
    clock::Clock,
    metrics::{self, Metrics, Series as _},
    rate_limit::RateLimit,
    settings::Rate,
};

/// What the workers share: the limit on creations, and their counts.
#[derive(Debug)]
pub struct Creation {
    limit: RateLimit,
    metrics: Arc<Metrics>,
}

/// A worker's client that creates missing customers.
#[derive(Debug, Clone)]
pub struct CreatingClient {
    shared: Arc<Creation>,
    inner: Rc<dyn CustomerApi>,
}

impl Creation {
    /// With the limit of `limits.create_customers`.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        metrics.upstream.creations.initialize(OUTCOMES.iter().copied());
        Self { limit: RateLimit::new(rate, clock), metrics }
    }
}

impl CreatingClient {
    /// Wraps a worker's client.
    #[must_use]
    pub fn new(shared: Arc<Creation>, inner: Rc<dyn CustomerApi>) -> Self {
        Self { shared, inner }
    }

    async fn get_or_create(self, request: GetCustomer) -> Result<CustomerResponse, JuspayError> {
        let found = self.inner.get_customer(request.clone()).await;
        if found.as_ref().err() != Some(&JuspayError::CustomerNotFound)
            || request.new_customer.is_none()
        {
            return found;
        }
        let created = self.create(&request).await;
        let outcome = outcome(&created);
        self.shared.metrics.upstream.creations.with_label_values(&[outcome]).inc();
        match created {
            Ok(created) if created.auth.is_ok() => Ok(created),
            Err(error) if !may_exist(&error) => Err(error),
            created => {
                tracing::debug!(outcome, "requesting the customer after its creation");
                match self.inner.get_customer(request).await {
                    Ok(found) => Ok(CustomerResponse { is_new: created.is_ok(), ..found }),
                    Err(JuspayError::CustomerNotFound) => created,
                    Err(error) => created.or(Err(error)),
                }
            }
        }
    }

    /// Makes the call, if the values and the limit allow it.
    async fn create(&self, request: &GetCustomer) -> Result<CustomerResponse, JuspayError> {
        if !request.new_customer.as_ref().is_some_and(|new| new.is_complete()) {
            return Err(NotCreated::NoMobileNumber.into());
        }
        self.shared.limit.spend().map_err(NotCreated::Limited)?;
        let created = self.inner.create_customer(request.clone()).await?;
        Ok(CustomerResponse { is_new: true, ..created })
    }
}

impl CustomerApi for CreatingClient {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        Box::pin(self.clone().get_or_create(request))
    }

    fn create_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        self.inner.create_customer(request)
    }

    fn recoveries(&self) -> u64 {
        self.inner.recoveries()
    }
}

metrics::labels! {
    /// The label of `customer_creations_total{outcome}`.
    const fn outcome(created: &Result<CustomerResponse, JuspayError>) in OUTCOMES {
        Ok(_) => "created",
        Err(JuspayError::NotCreated(NotCreated::Exists)) => "already_exists",
        Err(JuspayError::NotCreated(NotCreated::RejectedField(_))) => "rejected_field",
        Err(JuspayError::NotCreated(NotCreated::NoMobileNumber)) => "no_mobile_number",
        Err(JuspayError::NotCreated(NotCreated::Limited(_))) => "limited",
        Err(_) => "failure",
    }
}

/// Whether the customer may exist after this error of its creation: it was there already, or Juspay may
/// have received the request. A response about another customer proves nothing, and is rejected.
const fn may_exist(error: &JuspayError) -> bool {
    if let JuspayError::InvalidResponse(why) = error {
        return !matches!(
            why,
            InvalidResponse::OtherCustomer
                | InvalidResponse::MalformedIdentity
                | InvalidResponse::Redirect
        );
    }
    matches!(error, JuspayError::NotCreated(NotCreated::Exists)) || error.is_retryable()
}
