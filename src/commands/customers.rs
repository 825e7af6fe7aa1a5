//! Which claim of each issuer's tokens names the customer, as `check-config` shows it.

use std::fmt;

use serde::Serialize;

use crate::settings::Settings;

/// What names the customers.
pub(super) struct Customers(Vec<CustomerSource>);

/// What names the customers of one issuer, or of the gateway.
#[derive(Serialize)]
pub(super) struct CustomerSource {
    /// The table in the settings.
    table: String,
    /// The claim; none with a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    /// What is put before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// The claim that must not say that it wasn't verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    /// Whether that claim may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    assumed_verified: bool,
    /// The header; only with a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
}

impl Customers {
    pub(super) fn of(settings: &Settings) -> Self {
        let gateway = settings.auth.gateway.iter().map(|gateway| CustomerSource {
            table: "auth.gateway".to_owned(),
            claim: None,
            prefix: None,
            verified_by: None,
            assumed_verified: false,
            header: Some(gateway.header.clone()),
        });
        let issuers = settings.auth.issuers.iter().map(|(name, issuer)| {
            let prefix = Some(issuer.customer_id_prefix.clone());
            let twin = issuer.customer_id_claim.verified_claim();
            CustomerSource {
                table: format!("auth.issuers.{name}"),
                claim: Some(issuer.customer_id_claim.as_str().to_owned()),
                prefix: prefix.filter(|prefix| !prefix.is_empty()),
                verified_by: twin.map(|twin| twin.as_str().to_owned()),
                assumed_verified: issuer.assumes_verified,
                header: None,
            }
        });
        Self(gateway.chain(issuers).collect())
    }

    pub(super) fn sources(self) -> Vec<CustomerSource> {
        self.0
    }
}

impl fmt::Display for Customers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Customers: what must be the id that Juspay knows (object_reference_id)\n#")?;
        self.0.iter().try_for_each(|source| writeln!(f, "# {source}"))
    }
}

impl fmt::Display for CustomerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, claim, prefix, verified_by, assumed_verified, header } = self;
        match (claim, header) {
            (Some(claim), _) => write!(f, "{table}: the claim {claim:?} names the customer")?,
            (None, header) => {
                let header = header.as_deref().unwrap_or_default();
                write!(f, "{table}: the header {header:?} names the customer")?;
            }
        }
        if let Some(prefix) = prefix {
            write!(f, ", with {prefix:?} before it")?;
        }
        match (verified_by, assumed_verified) {
            (Some(twin), true) => write!(f, ", unless {twin:?} is there and not true"),
            (Some(twin), false) => write!(f, ", if {twin:?} is true"),
            (None, _) => Ok(()),
        }
    }
}
