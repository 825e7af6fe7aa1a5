//! Compares the service's responses with `docs/openapi.json`: status, headers, codes and members.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;

use super::super::Reply;

/// `docs/openapi.json`.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON")
});

/// Headers of any HTTP response, and of any response to a browser, which the document does not list.
const OF_HTTP: [&str; 8] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "vary",
];

pub const PROBLEM: &str = "application/problem+json";

/// The object itself, if this is a reference to it (`$ref`).
pub fn resolved(value: &Value) -> &Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    DOCUMENT.pointer(reference.trim_start_matches('#')).expect("references resolve")
}

/// The documented responses to a method, by status.
pub fn responses(path: &str, method: &str) -> Option<&'static Value> {
    DOCUMENT["paths"].get(path)?.get(method.to_lowercase())?.get("responses")
}

/// Checks the response to a documented path and method. Skips responses of the HTTP parser, which have no
/// content, and of a listener without the path.
pub fn check(request: &str, reply: &Reply) {
    let mut words = request.split([' ', '?', '#']);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Some(responses) = responses(path, method) else { return };
    let media = reply.header("content-type");
    let is_bare = media.is_none() && matches!(reply.status, 400 | 408 | 411 | 413 | 431);
    let problem = (media == Some(PROBLEM) && !reply.body.is_empty()).then(|| reply.json());
    let is_elsewhere = problem.as_ref().is_some_and(|it| it["code"] == "not_found");
    if is_bare || is_elsewhere {
        return;
    }
    let what = format!("docs/openapi.json, {method} {path}, {}", reply.status);
    let response = resolved(&responses[reply.status.to_string()]);
    assert!(response.is_object(), "{what} is not documented");
    check_headers(&what, response, reply);
    let Some(media) = media else { return };
    let content = &response["content"][media.split(';').next().unwrap_or_default()];
    assert!(content.is_object(), "{what}: no {media}");
    if let Some(problem) = problem {
        check_problem(&what, content, &problem);
    } else if media == "application/json" && !reply.body.is_empty() {
        check_members(&what, resolved(&content["schema"]), &reply.json());
    }
}

fn check_headers(what: &str, response: &Value, reply: &Reply) {
    let nothing = serde_json::Map::new();
    let documented = response["headers"].as_object().unwrap_or(&nothing);
    let names: BTreeSet<_> = documented.keys().map(|name| name.to_lowercase()).collect();
    for (name, value) in &reply.headers {
        let is_known = OF_HTTP.contains(&&**name) || names.contains(name);
        // The security headers of the admin page.
        let is_for_browsers = reply.header("cross-origin-resource-policy").is_some();
        assert!(is_known || is_for_browsers, "{what}: header {name}: {value}");
    }
    for (name, header) in documented {
        let is_required = resolved(header)["required"] == true;
        let is_there = reply.header(&name.to_lowercase()).is_some();
        assert!(is_there || !is_required, "{what}: no {name} in {:?}", reply.headers);
    }
}

/// Codes whose `detail` depends on the request.
const OPEN_DETAILS: [&str; 2] = ["customer_not_creatable", "invalid_request"];

/// The example of the code has the same wording.
fn check_problem(what: &str, content: &Value, problem: &Value) {
    let code = problem["code"].as_str().expect("a code");
    let example = &content["examples"][code]["value"];
    assert!(example.is_object(), "{what}: no example with the code {code}");
    for member in ["type", "title", "status", "code", "retryable"] {
        assert_eq!(problem[member], example[member], "{what}: {member} of {code}");
    }
    if !OPEN_DETAILS.contains(&code) {
        assert_eq!(problem["detail"], example["detail"], "{what}: detail of {code}");
    }
    assert_eq!(problem["retry_after"].is_u64(), example["retry_after"].is_u64(), "{what}: {code}");
    check_members(what, resolved(&content["schema"]), problem);
}

/// Every member is documented, and no required one is missing.
fn check_members(what: &str, schema: &Value, value: &Value) {
    let Some(members) = value.as_object() else { return };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        assert!(members.contains_key(name), "{what}: no member {name}: {value}");
    }
    let Some(documented) = schema["properties"].as_object() else { return };
    for (name, value) in members {
        match documented.get(name) {
            Some(schema) => check_members(what, resolved(schema), value),
            None => assert!(schema["additionalProperties"].is_object(), "{what}: member {name}"),
        }
    }
}
