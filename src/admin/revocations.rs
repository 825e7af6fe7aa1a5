//! The admin listener's routes that revoke tokens.
//!
//! - `POST /revocations`: an operator's entry, with the access control of a purge
//! - `POST /backchannel-logout`: an issuer's logout token (OpenID Connect Back-Channel Logout 1.0
//!   §2.5), open on any address, because the token's signature authorizes it. All failures get the same
//!   response, because any client can send requests.

use actix_web::{
    Error, HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web,
};
use futures_util::future::{join, join_all};
use serde_json::json;

use super::Admin;
use crate::{
    auth::RevokeError,
    customer::CustomerId,
    problem::Problem,
    revocation::{Entry, EntryError},
};

pub(super) async fn revoke(
    admin: web::Data<Admin>,
    body: Result<web::Bytes, Error>,
) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|_| Problem::InvalidRequest("The request body could not be read."))?;
    let entry =
        Entry::parse(&body).map_err(EntryError::message).map_err(Problem::InvalidRequest)?;
    let expires = entry.expires;
    let customers = admin.authenticator.revoke(entry.clone()).map_err(problem)?;
    let (purged, is_shared) = revoked(&admin, &customers, Some(&entry)).await;
    tracing::info!(purged, %expires, "access tokens revoked by POST /revocations");
    let (kept, note) = if is_shared {
        ("shared_tier", "Stored in the shared tier until it expires, for all replicas.")
    } else {
        (
            "memory",
            "Stored in this process's memory only, until it ends. To keep the entry and to share it \
             with other replicas, add it to auth.revocations_file.",
        )
    };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({
        "expires": expires.to_string(),
        "purged": purged,
        "kept": kept,
        "note": note,
    })))
}

const fn problem(error: RevokeError) -> Problem {
    match error {
        RevokeError::UnknownIssuer => Problem::InvalidRequest(
            "issuer is neither a name below auth.issuers nor the iss claim of an issuer's tokens.",
        ),
        RevokeError::Past => Problem::InvalidRequest("expires is in the past."),
        RevokeError::Full => Problem::RevocationsFull,
    }
}

/// Purges these customers everywhere, and announces the entry to the other replicas. Returns how many were
/// cached here, and whether the shared tier has the entry. The others purge what they learn to be revoked.
async fn revoked(admin: &Admin, customers: &[CustomerId], entry: Option<&Entry>) -> (u64, bool) {
    let announcing = async {
        match entry {
            Some(entry) => admin.cache.announce_revocation(entry).await,
            None => false,
        }
    };
    let purging = customers.iter().map(|customer| admin.cache.purge_everywhere(customer));
    let (is_announced, purged) = join(announcing, join_all(purging)).await;
    (purged.iter().map(|it| it.number).sum(), is_announced)
}

pub(super) async fn backchannel_logout(
    admin: web::Data<Admin>,
    request: HttpRequest,
    form: Result<web::Bytes, Error>,
) -> HttpResponse {
    let form = form.ok().filter(|_| is_form(&request));
    let Some(token) = form.and_then(|form| logout_token(&form)) else { return rejection() };
    match admin.authenticator.log_out(&token).await {
        Ok((customers, entry)) => {
            revoked(&admin, &customers, entry.as_ref()).await;
            HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).finish()
        }
        Err(_logged_and_counted) => rejection(),
    }
}

/// The same response for all failures (§2.8).
fn rejection() -> HttpResponse {
    HttpResponse::BadRequest()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "error": "invalid_request" }))
}

fn is_form(request: &HttpRequest) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The one `logout_token` of a form. Other parameters are ignored.
fn logout_token(form: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(form).ok()?;
    let pairs = web::Query::<Vec<(String, String)>>::from_query(form).ok()?.into_inner();
    let mut tokens = pairs.into_iter().filter(|(name, _)| name == "logout_token");
    let (_, token) = tokens.next()?;
    tokens.next().is_none().then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_has_one_logout_token() {
        for (form, token) in [
            ("logout_token=a.b-_c", Some("a.b-_c")),
            ("x=1&logout%5Ftoken=a&y", Some("a")),
            ("logout_token=", Some("")),
            ("", None),
            ("token=a", None),
            ("logout_token=a&logout_token=a", None),
        ] {
            assert_eq!(logout_token(form.as_bytes()).as_deref(), token, "{form}");
        }
        assert_eq!(logout_token(b"logout_token=\xff"), None);
    }
}
