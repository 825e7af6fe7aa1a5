//! `GET /` of the admin listener, the operator's page in one response without external assets,
//! `GET /settings`, which the page shows, and `GET /openapi.json`.
//!
//! The page itself contains no data: its script requests the other routes of this listener. It contains
//! the runbooks, so that they are available during an outage and belong to this version. A browser
//! can't send a token when a person opens an address. So where a token is required, the 401 for browsers
//! has the page as its body. The page then prompts for the token, keeps it in the tab's memory, and sends
//! it with its requests.

use std::{env, sync::LazyLock};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{
            ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY,
            HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    web,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

use super::Admin;
use crate::problem::{Challenges, Problem};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = concat!(include_str!("page/attention.js"), include_str!("page/script.js"));

/// The complete page.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("page/index.html")
        .replace(r#"<link rel="stylesheet" href="style.css">"#, &format!("<style>{STYLE}</style>"))
        .replace(r#"<script src="script.js"></script>"#, &format!("<script>{SCRIPT}</script>"))
        .replace(
            "<!-- runbooks -->",
            &runbooks(include_str!("../../deploy/prometheus/RUNBOOKS.md")),
        )
});

/// Each section of the Markdown file, with its heading in lower case as its id, as in links to the file.
fn runbooks(markdown: &str) -> String {
    let sections = markdown.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    let details = sections.map(|(name, body)| {
        let id = name.to_ascii_lowercase();
        let mut text = String::new();
        html::push_html(&mut text, without_files(Parser::new_ext(body, Options::ENABLE_TABLES)));
        // Codes break between their words.
        let text = text.replace('_', "_<wbr>");
        format!("<details id=\"{id}\"><summary>{name}</summary>\n{text}</details>\n")
    });
    details.collect()
}

/// Keeps the texts of links to other files, which this listener doesn't have.
fn without_files<'t>(events: impl Iterator<Item = Event<'t>>) -> impl Iterator<Item = Event<'t>> {
    let mut is_kept = true;
    events.filter(move |event| {
        if let Event::Start(Tag::Link { dest_url, .. }) = event {
            is_kept = dest_url.starts_with('#');
        }
        is_kept || !matches!(event, Event::Start(Tag::Link { .. }) | Event::End(TagEnd::Link))
    })
}

/// The name of the pod, or of the machine outside of Kubernetes.
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Container runtimes set `HOSTNAME` to the pod's name.
static HOST: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let name = env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let name =
        name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    HeaderValue::from_str(&name).ok()
});

/// Allows only the page's style, script and icon, and requests to this listener.
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

/// The effective settings with masked secrets, as `check-config` prints them.
pub(super) async fn settings(admin: web::Data<Admin>) -> HttpResponse {
    let mut response = for_this_origin(StatusCode::OK);
    if let Some(host) = &*HOST {
        response.insert_header((SERVED_BY, host.clone()));
    }
    response.content_type("text/plain; charset=utf-8").body(admin.settings.to_string())
}

/// `docs/openapi.json`, the description of both listeners.
pub(super) async fn openapi() -> HttpResponse {
    for_this_origin(StatusCode::OK)
        .content_type("application/json")
        .body(include_str!("../../docs/openapi.json"))
}

/// A response that browsers don't store, don't sniff, and don't embed in pages of other origins.
fn for_this_origin(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"));
    response
}

fn is_from_a_browser(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
