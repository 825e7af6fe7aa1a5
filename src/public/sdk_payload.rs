//! The body of `GET /me/sdk-payload`: what an app passes to Juspay's SDK, made from the customer's JSON and
//! the settings.
//!
//! The products take different members (`sdk.profile`), all of them strings. Beside the payload is what the
//! app needs to know about its token, in seconds, because a phone's clock may be wrong.

use std::{borrow::Cow, collections::BTreeMap};

use actix_web::web::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    cache::Found,
    customer::CustomerId,
    settings::{Platform, Sdk, SdkProfile, Settings},
};

/// The request that the app will make to the SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SdkAction {
    Initiate,
    Process,
    UpdateAuth,
}

/// A well-formed query of `/me/sdk-payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SdkRequest {
    pub(super) action: SdkAction,
    pub(super) platform: Option<Platform>,
    /// The app's token has ended: with `updateAuth`, or `new_token=true`.
    pub(super) must_be_new: bool,
}

/// Writes payloads for one product.
#[derive(Debug, Clone)]
pub struct SdkPayloads {
    pub(super) profile: SdkProfile,
    settings: Sdk,
    merchant_id: String,
    extra: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Body<'a> {
    service: &'a str,
    payload: Payload<'a>,
    #[serde(rename = "betaAssets", skip_serializing_if = "is_false")]
    beta_assets: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    expires_in: u64,
    refresh_after: u64,
    routing_id: Cow<'a, str>,
}

/// Members that are `None` don't occur in this payload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(flatten)]
    app: Option<App<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    client_auth_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_expiry: Option<String>,
    #[serde(flatten)]
    extra: Option<&'a BTreeMap<String, String>>,
}

/// The members that name the app.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct App<'a> {
    merchant_id: &'a str,
    client_id: &'a str,
    environment: &'a str,
}

/// The members of the customer's JSON that the payloads contain.
#[derive(Deserialize)]
struct CustomerBody<'a> {
    #[serde(borrow)]
    object_reference_id: Cow<'a, str>,
    #[serde(borrow)]
    juspay: JuspayMember<'a>,
}

#[derive(Deserialize)]
struct JuspayMember<'a> {
    #[serde(borrow)]
    client_auth_token: Cow<'a, str>,
    client_auth_token_expiry: &'a str,
}

impl SdkPayloads {
    /// `None` without `sdk.profile`.
    #[must_use]
    pub fn new(settings: &Settings) -> Option<Self> {
        let sdk = settings.sdk.clone();
        Some(Self {
            profile: sdk.profile?,
            merchant_id: settings.juspay.merchant_id.clone(),
            extra: sdk.extra.iter().cloned().collect(),
            settings: sdk,
        })
    }

    /// The body for an app with this access token's `audience`. `None` if Juspay returned a customer
    /// without a reference.
    pub(super) fn body(
        &self,
        request: SdkRequest,
        (found, customer): (&Found, &CustomerId),
        audience: Option<&str>,
    ) -> Option<Bytes> {
        let Self { settings, merchant_id, .. } = self;
        let CustomerBody { object_reference_id, juspay } =
            serde_json::from_slice(&found.body).ok()?;
        let SdkRequest { action, platform, .. } = request;
        let is_upi = self.profile == SdkProfile::Upi;
        let is_initiate = action == SdkAction::Initiate;
        let is_update = action == SdkAction::UpdateAuth;
        let app = App {
            merchant_id,
            client_id: settings.client_id(audience, platform, merchant_id),
            environment: settings.environment,
        };
        let payload = Payload {
            action: action.name(),
            app: Some(app).filter(|_| is_initiate),
            customer_id: Some(&*object_reference_id).filter(|_| !is_update),
            client_auth_token: &juspay.client_auth_token,
            auth_expiry: is_upi.then(|| with_milliseconds(juspay.client_auth_token_expiry)),
            extra: Some(&self.extra).filter(|_| !is_update),
        };
        let body = Body {
            service: &settings.service,
            payload,
            beta_assets: settings.beta_assets,
            tenant_id: settings.tenant_id.as_deref(),
            expires_in: found.expires_in?.as_secs(),
            refresh_after: found.refresh_after.as_secs(),
            routing_id: customer.routing_id(),
        };
        serde_json::to_vec(&body).ok().map(Bytes::from)
    }
}

impl SdkAction {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "initiate" => Some(Self::Initiate),
            "process" => Some(Self::Process),
            "updateAuth" => Some(Self::UpdateAuth),
            _ => None,
        }
    }

    /// The payload's `action`. The app chooses that of `process`.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Initiate => Some("initiate"),
            Self::Process => None,
            Self::UpdateAuth => Some("updateAuth"),
        }
    }
}

/// The same time with milliseconds, as the SDK takes it. This service writes whole seconds.
fn with_milliseconds(expiry: &str) -> String {
    expiry.strip_suffix('Z').map_or_else(|| expiry.to_owned(), |time| format!("{time}.000Z"))
}

/// For a member that occurs only if it is true.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(member: &bool) -> bool {
    !*member
}
