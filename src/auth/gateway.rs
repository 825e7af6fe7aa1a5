//! Trusted gateway mode (`auth.gateway`): who is calling is said by a gateway that has verified it.
//!
//! Believed is one header alone, and only from who can be nobody else: over a unix socket, over
//! loopback, or from the named subject of a verified client certificate. The settings allow no other
//! listener in this mode; it is looked at for each request all the same. Without the mode no header
//! but `Authorization` is looked at. Tokens and revocations are the gateway's business then.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{AuthError, Caller, Reason, revocations::TokenIdentity, token::RevocationClaims};
use crate::{
    connection_info::{ConnectionInfo, Transport},
    customer::CustomerId,
    settings,
};

/// What stands for the issuer of what the gateway says. No issuer can be called so: there is none.
const NAME: &str = "gateway";

/// No issuer has this index.
const NO_ISSUER: usize = usize::MAX;

/// Who is believed, and what header.
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
            // Whoever forwards a request may join two fields to one (RFC 9110 §5.3).
            return Err(AuthError::MalformedHeader(
                "The gateway's header names more than one customer.",
            ));
        }
        let value = std::str::from_utf8(value).map_err(|_| AuthError::NoCustomer)?;
        let customer = CustomerId::parse(value).map_err(|_| AuthError::NoCustomer)?;
        let nobody = RevocationClaims { sub: None, jti: None, sid: None, iat: None };
        let identity = TokenIdentity::new(NO_ISSUER, Arc::clone(&self.name), nobody);
        Ok(Caller::new(customer, identity, None))
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
