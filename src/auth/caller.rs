//! The permit: a [`Caller`] is made by verification and by nothing else.
//!
//! A handler that takes one as a parameter can't be reached without a good token; what it holds is
//! all that the rest of the service learns of the token (promise P1). The only file of `auth` that
//! knows actix.

use std::{fmt, sync::Arc};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{header, uri::Authority},
    web::Data,
};
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};

use super::{
    Authenticator, FirstSight,
    digest::Sha256,
    dpop::DpopRequest,
    error::{AuthError, BUG_RETRY},
    revocation::TokenIdentity,
};
use crate::{customer::CustomerId, tls::Encrypted};

/// RFC 9449 §4.1
const DPOP: &str = "dpop";

/// A caller whose token was verified, and the customer that the token names.
///
/// It can't be made up, only received from an [`Authenticator`]:
///
/// ```compile_fail,E0451
/// # use juspay_bff::{auth::Caller, customer::CustomerId};
/// let customer = CustomerId::parse("alice").unwrap();
/// let forged = Caller { customer, token_identity: todo!(), possession: None };
/// ```
#[derive(Clone)]
pub struct Caller {
    customer: CustomerId,
    token_identity: Arc<TokenIdentity>,
    /// Of tokens that are bound to a key.
    possession: Option<Arc<Possession>>,
}

/// What possession of a key is about.
struct Possession {
    /// The key's thumbprint.
    key: Sha256,
    /// The nonce that the next proof should have.
    next_nonce: Option<Arc<str>>,
}

impl Caller {
    /// `bound_to` is the key that the caller must show besides, each time.
    pub(super) fn new(
        customer: CustomerId,
        token_identity: Arc<TokenIdentity>,
        bound_to: Option<Sha256>,
    ) -> Self {
        let possession = bound_to.map(|key| Arc::new(Possession { key, next_nonce: None }));
        Self { customer: token_identity.share_with(customer), token_identity, possession }
    }

    /// The thumbprint of the key that the token is bound to.
    pub(super) fn bound_to(&self) -> Option<&Sha256> {
        self.possession.as_ref().map(|possession| &possession.key)
    }

    /// This caller, who is to be told another nonce.
    pub(super) fn with_next_nonce(self, nonce: Arc<str>) -> Self {
        let possession = self.possession.map(|possession| {
            Arc::new(Possession { key: possession.key, next_nonce: Some(nonce) })
        });
        Self { possession, ..self }
    }

    /// The nonce that the caller's next DPoP proof should have (RFC 9449 §8.2), when it is another.
    #[must_use]
    pub fn next_nonce(&self) -> Option<&str> {
        self.possession.as_ref()?.next_nonce.as_deref()
    }

    /// The customer that the token names.
    #[must_use]
    pub const fn customer(&self) -> &CustomerId {
        &self.customer
    }

    /// The name of the token's issuer in the settings.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.token_identity.issuer_name
    }

    /// Identifies the token, which may be revoked later.
    pub(super) fn token_identity(&self) -> &TokenIdentity {
        &self.token_identity
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
            tracing::error!(
                "no Authenticator for this route; rejecting the request; this is a bug in juspay-bff"
            );
            return Either::Left(ready(Err(AuthError::KeysUnavailable { retry_after: BUG_RETRY })));
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
            Err(FirstSight::Bound(bound)) => {
                let (authenticator, presented) = (Data::clone(authenticator), presented(request));
                let verified = async move { authenticator.verify_bound(*bound, &presented).await };
                Either::Right(Box::pin(verified))
            }
            Err(FirstSight::Token(token)) => {
                let authenticator = Data::clone(authenticator);
                Either::Right(Box::pin(async move { authenticator.verify(token).await }))
            }
        }
    }
}

/// What a proof must fit. Neither forwarded headers nor anything else that clients may write is
/// asked, but for the host that was meant.
fn presented(request: &HttpRequest) -> DpopRequest {
    let proofs = request.headers().get_all(DPOP).map(header::HeaderValue::as_bytes);
    let by_header = || request.headers().get(header::HOST)?.to_str().ok();
    let host = request.uri().authority().map(Authority::as_str).or_else(by_header);
    let secure = request.conn_data::<Encrypted>().is_some();
    DpopRequest::new(request.method().as_str(), secure, host, request.path(), proofs)
}
