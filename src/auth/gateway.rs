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
use crate::{
    connection_info::{ConnectionInfo, Transport},
    customer::CustomerId,
    settings,
};

/// The name in place of an issuer. With a gateway, the settings have no issuers.
const NAME: &str = "gateway";

/// No issuer has this index.
const NO_ISSUER: usize = usize::MAX;

/// The trusted peers and the header.
pub(super) struct Gateway {
    header: Box<str>,
    subjects: Vec<String>,
    name: Arc<str>,
}

impl Gateway {
    pub(super) fn new(settings: &settings::Gateway) -> Self {
        Self {
            name: NAME.into(),
            header: settings.header.as_str().into(),
            subjects: settings.client_subjects.clone(),
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
        connection: Option<&ConnectionInfo>,
    ) -> Result<Caller, AuthError> {
        if !self.trusts(connection) {
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
        let claims = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
        let identity = TokenIdentity::new(NO_ISSUER, Arc::clone(&self.name), claims);
        Ok(Caller::new(customer, identity, None, None, None))
    }

    /// If subjects are configured, every TCP connection must present one of them. An unknown connection is
    /// not trusted.
    fn trusts(&self, connection: Option<&ConnectionInfo>) -> bool {
        let Some(connection) = connection else { return false };
        match connection.transport {
            Transport::Unix => true,
            Transport::Loopback if self.subjects.is_empty() => true,
            Transport::Loopback | Transport::Network => {
                let peer = connection.client_certificate.as_ref();
                peer.is_some_and(|peer| self.subjects.iter().any(|subject| peer.has_name(subject)))
            }
        }
    }
}
