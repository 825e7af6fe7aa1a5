//! `sdk.*`: what `GET /me/sdk-payload` returns for the payloads of Juspay's SDK.
//!
//! The products take different payloads, so `sdk.profile` selects one; without it the route is off.

use config::{Map, Value};

use super::{
    Settings,
    address::WebAddress,
    fault::Violation,
    juspay::{BASE_URL, header_value},
    reader::Reader,
    value::{self, one_of},
};
use crate::customer::{Field, FieldSet};

/// `sdk.*`
#[derive(Debug, Clone)]
pub struct Sdk {
    /// `sdk.profile`; `None`: there are no payloads.
    pub profile: Option<SdkProfile>,
    /// `sdk.environment`
    pub environment: &'static str,
    /// `sdk.service`
    pub service: String,
    /// `sdk.client_id`; without it, the merchant id.
    pub client_id: Option<String>,
    /// `sdk.client_id_by_audience`: audiences and their client ids.
    pub client_id_by_audience: Vec<(String, String)>,
    /// `sdk.client_id_by_platform.*`
    pub client_id_by_platform: Vec<(Platform, String)>,
    /// `sdk.tenant_id`
    pub tenant_id: Option<String>,
    /// `sdk.beta_assets`
    pub beta_assets: bool,
    /// `sdk.extra`: constants in the payloads.
    pub extra: Vec<(String, String)>,
}

/// The product, whose payloads differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdkProfile {
    /// Express Checkout SDK (EC Headless).
    Ec,
    /// UPI SDKs.
    Upi,
}

/// The platform of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Android.
    Android,
    /// iOS.
    Ios,
    /// A browser or a `WebView`.
    Web,
}

impl Platform {
    /// All platforms.
    pub const ALL: [Self; 3] = [Self::Android, Self::Ios, Self::Web];

    /// The name in settings and in the query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }
}

const PROFILE: &str = "sdk.profile";
const ENVIRONMENT: &str = "sdk.environment";
const BY_AUDIENCE: &str = "sdk.client_id_by_audience";
const EXTRA: &str = "sdk.extra";

const SANDBOX: &str = "sandbox";

/// Members of the payloads that this service sets, or that would replace the client auth token.
const OWN_MEMBERS: [&str; 9] = [
    "action",
    "authExpiry",
    "clientAuthToken",
    "clientAuthTokenExpiry",
    "clientId",
    "customerId",
    "environment",
    "merchantId",
    "reqCode",
];

impl Sdk {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let profiles = [("ec", SdkProfile::Ec), ("upi", SdkProfile::Upi)];
        let is_off = !reader.is_set(PROFILE);
        let environments = [SANDBOX, "production", "prod"].map(|it| (it, it));
        let by_platform = Platform::ALL.into_iter().filter_map(|platform| {
            let key = format!("sdk.client_id_by_platform.{}", platform.name());
            Some((platform, reader.at(key).text(header_value)?))
        });
        let client_id_by_platform = by_platform.collect();
        Self {
            profile: reader.at(PROFILE).text(|text| one_of(text, None, &profiles)),
            environment: reader.filled_unless(is_off, |it| {
                let fix = "set it to \"sandbox\" or \"production\", as in the app's SDK";
                let setting = it.at(ENVIRONMENT).required_if(!is_off, fix);
                setting.text(|text| one_of(text, None, &environments))
            }),
            service: reader.text("sdk.service", header_value),
            client_id: reader.at("sdk.client_id").text(header_value),
            client_id_by_audience: texts(reader, BY_AUDIENCE, |_, id| header_value(id).map(drop)),
            client_id_by_platform,
            tenant_id: reader.at("sdk.tenant_id").text(header_value),
            beta_assets: reader.boolean("sdk.beta_assets"),
            extra: texts(reader, EXTRA, |name, _| extra_name(name)),
        }
    }

    /// The client id for an app.
    #[must_use]
    pub fn client_id<'a>(
        &'a self,
        audience: Option<&str>,
        platform: Option<Platform>,
        merchant_id: &'a str,
    ) -> &'a str {
        let by_audience = self.client_id_by_audience.iter().find(|(it, _)| Some(&**it) == audience);
        let of_platform = self.client_id_by_platform.iter().find(|(it, _)| Some(*it) == platform);
        by_audience
            .map(|(_, id)| &**id)
            .or_else(|| of_platform.map(|(_, id)| &**id))
            .or(self.client_id.as_deref())
            .unwrap_or(merchant_id)
    }
}

/// A table of texts by names that the operator chooses.
fn texts(
    reader: &mut Reader<'_>,
    key: &str,
    check: impl Fn(&str, &str) -> Result<(), Violation>,
) -> Vec<(String, String)> {
    let fix = "write a table of strings in a settings file";
    let check = &check;
    reader.filled(|it| {
        it.at(key).fix_of_type(fix).or(Map::<String, Value>::new()).table(|name, value| {
            let text = value::text(value)?;
            check(name, text)?;
            Ok(((name.to_owned(), text.to_owned()), text.into()))
        })
    })
}

fn extra_name(name: &str) -> Result<(), Violation> {
    if name.to_ascii_lowercase().starts_with("signature") {
        let reason = "a signature is an alternative to the client auth token, and no constant";
        Err(Violation::new(reason, "remove it"))
    } else if OWN_MEMBERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        Err(Violation::new("the service or the app sets this member itself", "remove it"))
    } else if name.is_empty() {
        Err(Violation::new("the name is empty", "write the name of a member, or remove it"))
    } else {
        Ok(())
    }
}

/// Reports settings that make no usable payload.
pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    if !reader.is_set(PROFILE) {
        return;
    }
    check_environment(reader);
    check_fields(&settings.response.fields, reader);
    for (audience, _) in &settings.sdk.client_id_by_audience {
        let mut issuers = settings.auth.issuers.values();
        if !issuers.any(|issuer| issuer.audiences.contains(audience)) {
            let reason = "no issuer accepts one of its audiences, so its client id is never used";
            let fix = "write audiences as in auth.issuers.NAME.audiences";
            reader.warning(BY_AUDIENCE, Violation::new(reason, fix));
        }
    }
}

/// Reports an environment that contradicts Juspay's address.
fn check_environment(reader: &mut Reader<'_>) {
    let host = reader.raw_text(BASE_URL).and_then(WebAddress::read).and_then(|it| it.host);
    let is_sandbox = host.and_then(is_juspay_sandbox);
    if let (Some(is_sandbox), Some(environment)) = (is_sandbox, reader.valid_text(ENVIRONMENT))
        && is_sandbox != (environment == SANDBOX)
    {
        let kind = if is_sandbox { "Juspay's sandbox" } else { "Juspay's production" };
        let reason = format!("is \"{environment}\", but juspay.base_url is {kind}");
        let fix = "use the same environment in both; tokens of one don't work in the other";
        reader.conflict(&[ENVIRONMENT, BASE_URL], reason, fix);
    }
}

/// Reports missing fields that the payloads need.
fn check_fields(fields: &FieldSet, reader: &mut Reader<'_>) {
    let missing = [Field::ObjectReferenceId, Field::Juspay].map(|it| (it, fields.contains(it)));
    for (field, _) in missing.into_iter().filter(|(_, is_there)| !is_there) {
        let name = field.name();
        let reason = format!("does not include \"{name}\", which the payloads of sdk.profile need");
        let fix = format!("add \"{name}\", or remove sdk.profile");
        reader.conflict(&["response.fields", PROFILE], reason, fix);
    }
}

/// Whether a host of Juspay is the sandbox; `None` for other hosts, such as those of banks.
fn is_juspay_sandbox(host: &str) -> Option<bool> {
    let host = host.to_ascii_lowercase();
    let is_juspay = [".juspay.in", ".juspay.io"].iter().any(|domain| host.ends_with(domain));
    is_juspay.then(|| host.split('.').any(|label| label == SANDBOX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_of_a_host_is_known_for_juspay_only() {
        for (host, is_sandbox) in [
            ("sandbox.juspay.in", Some(true)),
            ("payments.sandbox.juspay.in", Some(true)),
            ("api.juspay.in", Some(false)),
            ("api-ns1.juspay.io", Some(false)),
            ("Sandbox.Juspay.IN", Some(true)),
            ("sandbox.bank.example", None),
            ("127.0.0.1", None),
            ("notjuspay.in", None),
        ] {
            assert_eq!(is_juspay_sandbox(host), is_sandbox, "{host}");
        }
    }
}
