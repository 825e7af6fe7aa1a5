//! `GET /` of the admin listener, a page for people in one answer without outside assets, and
//! `GET /settings`, which only it needs.
//!
//! The page itself holds no data: its script asks this listener's other routes. No browser can send
//! a token with an address that a person opens, so where one is needed the 401 that browsers get
//! has the page as its body: it asks for the token, keeps it in the tab's memory, and sends it with
//! what it asks for.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{
            ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY,
            REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    web,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Admin;
use crate::problem::{Challenges, Problem};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = concat!(include_str!("page/attention.js"), include_str!("page/script.js"));

/// The whole of it.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("page/index.html")
        .replace(r#"<link rel="stylesheet" href="style.css">"#, &format!("<style>{STYLE}</style>"))
        .replace(r#"<script src="script.js"></script>"#, &format!("<script>{SCRIPT}</script>"))
});

/// Nothing but its own style, script and icon; it asks nobody but this listener.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE),
    )
});

pub(super) async fn page(
    admin: web::Data<Admin>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    match admin.admits(&request) {
        Ok(()) => Ok(shell(StatusCode::OK).body(PAGE.as_str())),
        Err(problem @ Problem::MissingToken) if is_from_a_browser(&request) => {
            let mut shell = shell(StatusCode::UNAUTHORIZED);
            for challenge in problem.challenges(request.headers(), Challenges::BEARER) {
                shell.append_header((WWW_AUTHENTICATE, challenge));
            }
            Ok(shell.body(PAGE.as_str()))
        }
        Err(problem) => Err(problem),
    }
}

fn shell(status: StatusCode) -> HttpResponseBuilder {
    let mut shell = for_this_origin(status);
    shell
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    shell
}

/// The settings in force, secrets masked: what `check-config` prints.
pub(super) async fn settings(admin: web::Data<Admin>) -> HttpResponse {
    for_this_origin(StatusCode::OK)
        .content_type("text/plain; charset=utf-8")
        .body(admin.settings.to_string())
}

/// An answer that is kept nowhere, taken for nothing else, and no part of other origins' pages.
fn for_this_origin(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"));
    answer
}

fn is_from_a_browser(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
