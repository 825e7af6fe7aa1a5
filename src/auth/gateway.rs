//! Trusted gateway mode (`auth.gateway`): who is calling is said by a gateway that has verified it.
//!
//! Believed is one header alone, and only from who can be nobody else: over a unix socket, over
//! loopback, or from the named subject of a verified client certificate. The settings allow no other
//! listener in this mode; it is looked at for each request all the same. Without the mode no header
//! but `Authorization` is looked at. Tokens and revocations are the gateway's business then.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{
    caller::Caller,
    error::{AuthError, Reason},
    revocation::{RevocationClaims, TokenIdentity},
};
use crate::{customer::CustomerId, settings, tls::PeerCertificate};

/// What stands for the issuer of what the gateway says. No issuer can be called so: there is none.
const NAME: &str = "gateway";

/// No issuer has this index.
const NO_ISSUER: usize = usize::MAX;

/// How a connection of the public listener has come. Where it isn't known, nobody is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approach {
    /// Over a unix socket.
    Unix,
    /// To a loopback address.
    Loopback,
    /// To any other address.
    Network,
}

/// Who is believed, and what header.
pub(super) struct Gateway {
    header: Box<str>,
    subjects: Vec<String>,
    token_identity: Arc<TokenIdentity>,
}

impl Gateway {
    pub(super) fn new(settings: &settings::Gateway) -> Self {
        let nobody = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
        let token_identity = TokenIdentity::new(NO_ISSUER, NAME.into(), nobody);
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

    /// Whom the gateway names, by the values of all headers of that name.
    pub(super) fn caller<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
        approach: Option<Approach>,
        peer: Option<&PeerCertificate>,
    ) -> Result<Caller, AuthError> {
        if !self.believes(approach, peer) {
            return Err(Reason::UntrustedPeer.into());
        }
        let value = values.next().ok_or(AuthError::MissingToken)?;
        if values.next().is_some() || value.contains(&b',') {
            // Whoever forwards a request may join two fields to one (RFC 9110 §5.3).
            return Err(AuthError::MalformedHeader(
                "The gateway's header names more than one customer.",
            ));
        }
        let value = std::str::from_utf8(value).map_err(|_| AuthError::NoCustomer)?;
        let customer = CustomerId::parse(value).map_err(|_| AuthError::NoCustomer)?;
        Ok(Caller::new(customer, Arc::clone(&self.token_identity), None))
    }

    /// Where subjects are named, every TCP connection must show one of them.
    fn believes(&self, approach: Option<Approach>, peer: Option<&PeerCertificate>) -> bool {
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
