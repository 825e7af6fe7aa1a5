//! Shows in `check-config` which claim or header names the customer.

use std::fmt;

use serde::Serialize;

use crate::settings::Settings;

/// The sources of customer ids.
pub(super) struct CustomerSources(Vec<CustomerSource>);

/// The source of customer ids of one issuer or of the gateway.
#[derive(Serialize)]
pub(super) struct CustomerSource {
    /// The table in the settings.
    table: String,
    /// The claim; `None` for the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    /// The prefix of ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// The claim that says whether the id was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    /// Whether that claim may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    assumed_verified: bool,
    /// The header; `None` for issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
}

impl CustomerSources {
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
            let verified_claim = issuer.customer_id_claim.verified_claim();
            CustomerSource {
                table: format!("auth.issuers.{name}"),
                claim: Some(issuer.customer_id_claim.as_str().to_owned()),
                prefix: prefix.filter(|prefix| !prefix.is_empty()),
                verified_by: verified_claim
                    .map(|verified_claim| verified_claim.as_str().to_owned()),
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

impl fmt::Display for CustomerSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Customers: the claim or header that must contain Juspay's object_reference_id\n#"
        )?;
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
            write!(f, ", prefixed with {prefix:?}")?;
        }
        match (verified_by, assumed_verified) {
            (Some(verified_claim), true) => {
                write!(f, ", unless {verified_claim:?} is present and not true")
            }
            (Some(verified_claim), false) => write!(f, ", if {verified_claim:?} is true"),
            (None, _) => Ok(()),
        }
    }
}
