//! The permit: a [`Caller`] is made by verification and by nothing else.
//!
//! A handler that takes one as a parameter can't be reached without a good token; what it holds is
//! all that the rest of the service learns of the token (promise P1). The only file of `auth` that
//! knows actix.

use std::{fmt, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web::Data};
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};

use super::{Authenticator, FirstSight, error::AuthError, revocations::Grounds};
use crate::customer::CustomerId;

/// A caller whose token was verified, and the customer that the token names.
///
/// It can't be made up, only received from an [`Authenticator`]:
///
/// ```compile_fail,E0451
/// # use juspay_bff::{auth::Caller, customer::CustomerId};
/// let customer = CustomerId::parse("alice").unwrap();
/// let forged = Caller { customer, grounds: todo!() };
/// ```
#[derive(Clone)]
pub struct Caller {
    customer: CustomerId,
    grounds: Arc<Grounds>,
}

impl Caller {
    pub(super) const fn new(customer: CustomerId, grounds: Arc<Grounds>) -> Self {
        Self { customer, grounds }
    }

    /// The customer that the token names.
    #[must_use]
    pub const fn customer(&self) -> &CustomerId {
        &self.customer
    }

    /// The name of the token's issuer in the settings.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.grounds.issuer_name
    }

    /// On what grounds; they may cease to hold.
    pub(super) fn grounds(&self) -> &Grounds {
        &self.grounds
    }
}

/// Tests compare callers by whom they are.
#[cfg(test)]
impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        (&self.customer, self.issuer()) == (&other.customer, other.issuer())
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

impl FromRequest for Caller {
    type Error = AuthError;
    type Future =
        Either<Ready<Result<Self, AuthError>>, LocalBoxFuture<'static, Result<Self, AuthError>>>;

    /// Known tokens are answered at once, without an allocation.
    fn from_request(request: &HttpRequest, _body: &mut Payload) -> Self::Future {
        let Some(authenticator) = request.app_data::<Data<Authenticator>>() else {
            tracing::error!("the routes have no Authenticator, so nobody is let in: a bug");
            return Either::Left(ready(Err(AuthError::KeysUnavailable {
                retry_after: super::BUG_RETRY,
            })));
        };
        if let Some(gateway) = &authenticator.gateway {
            let values = request.headers().get_all(gateway.header());
            let values = values.map(header::HeaderValue::as_bytes);
            let (approach, peer) = (request.conn_data().copied(), request.conn_data());
            let caller = gateway.caller(values, approach, peer);
            return Either::Left(ready(caller.map_err(|error| authenticator.counted(error))));
        }
        let headers = request.headers().get_all(header::AUTHORIZATION);
        match authenticator.at_once(headers.map(header::HeaderValue::as_bytes)) {
            Ok(caller) => Either::Left(ready(Ok(caller))),
            Err(FirstSight::Refused(error)) => Either::Left(ready(Err(error))),
            Err(FirstSight::Token(token)) => {
                let authenticator = Data::clone(authenticator);
                Either::Right(Box::pin(async move { authenticator.verify(token).await }))
            }
        }
    }
}
