//! Trusted gateway mode (`auth.gateway`): a gateway has authenticated the caller and names the customer
//! in a header.
//!
//! The header is trusted only over a unix socket, over loopback, or from a listed subject of a verified
//! client certificate. The settings allow no other listener in this mode, and each request is checked
//! again. Tokens and revocations are the gateway's responsibility.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{
    caller::Caller,
    error::{AuthError, Reason},
    revocation::{RevocationClaims, TokenIdentity},
};
use crate::{customer::CustomerId, settings, tls::PeerCertificate};

/// The name in place of an issuer. With a gateway, the settings have no issuers.
const NAME: &str = "gateway";

/// No issuer has this index.
const NO_ISSUER: usize = usize::MAX;

/// How a connection reached the public listener. An unknown connection is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approach {
    /// Over a unix socket.
    Unix,
    /// To a loopback address.
    Loopback,
    /// To any other address.
    Network,
}

/// The trusted peers and the header.
pub(super) struct Gateway {
    header: Box<str>,
    subjects: Vec<String>,
    token_identity: Arc<TokenIdentity>,
}

impl Gateway {
    pub(super) fn new(settings: &settings::Gateway) -> Self {
        let no_claims = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
        let token_identity = TokenIdentity::new(NO_ISSUER, NAME.into(), no_claims);
        Self {
            header: settings.header.as_str().into(),
            subjects: settings.client_subjects.clone(),
            token_identity: Arc::new(token_identity),
        }
    }

    /// The name of the header, in lower case.
    pub(super) const fn header(&self) -> &str {
        &self.header
    }

    /// The caller that the gateway names, by the values of all headers of that name.
    pub(super) fn caller<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
        approach: Option<Approach>,
        peer: Option<&PeerCertificate>,
    ) -> Result<Caller, AuthError> {
        if !self.trusts(approach, peer) {
            return Err(Reason::UntrustedPeer.into());
        }
        let value = values.next().ok_or(AuthError::MissingToken)?;
        if values.next().is_some() || value.contains(&b',') {
            // A proxy may join two fields to one (RFC 9110 §5.3).
            return Err(AuthError::MalformedHeader(
                "The gateway's header names more than one customer.",
            ));
        }
        let value = std::str::from_utf8(value).map_err(|_| AuthError::NoCustomer)?;
        let customer = CustomerId::parse(value).map_err(|_| AuthError::NoCustomer)?;
        Ok(Caller::new(customer, Arc::clone(&self.token_identity), None))
    }

    /// If subjects are listed, every TCP connection must present one of them.
    fn trusts(&self, approach: Option<Approach>, peer: Option<&PeerCertificate>) -> bool {
        match approach {
            Some(Approach::Unix) => true,
            Some(Approach::Loopback) if self.subjects.is_empty() => true,
            Some(Approach::Loopback | Approach::Network) => {
                peer.is_some_and(|peer| self.subjects.iter().any(|subject| peer.has_name(subject)))
            }
            None => false,
        }
    }
}
