//! The origin of a 401 or 403: Juspay itself, recognized by its documented JSON, or something else,
//! such as a firewall.

use serde_json::Value;

use super::RetryAfter;

/// Juspay's `error_code` or `error_info.code` in the 401 of a wrong API key.
const CREDENTIALS_CODES: [&str; 2] = ["access_denied", "UNAUTHORIZED"];

/// Juspay's `error_info.code` in the 403 of a blocked address.
const ORIGIN_CODES: [&str; 1] = ["BAD_ORIGIN"];

/// The origin of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedBy {
    /// Juspay itself, with its documented JSON.
    Juspay,
    /// Something else, possibly for this customer only.
    Unknown,
    /// This service, because other calls were rejected. The hold ends after this time.
    Hold(RetryAfter),
}

impl RejectedBy {
    /// Classifies the body of a 401.
    pub(super) fn of_credentials(body: &[u8]) -> Self {
        Self::read(body, &CREDENTIALS_CODES)
    }

    /// Classifies the body of a 403.
    pub(super) fn of_origin(body: &[u8]) -> Self {
        Self::read(body, &ORIGIN_CODES)
    }

    fn read(body: &[u8], known: &[&str]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let codes = [body.get("error_code"), body.get("error_info").and_then(|it| it.get("code"))];
        let mut codes = codes.into_iter().flatten().filter_map(Value::as_str);
        if codes.any(|code| known.contains(&code)) { Self::Juspay } else { Self::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_json_counts_as_juspays_rejection() {
        let denied = r#"{"status":"error","error_code":"access_denied","error_info":{"code":"UNAUTHORIZED"}}"#;
        let inner = r#"{"error_info":{"code":"UNAUTHORIZED"}}"#;
        let origin = r#"{"error":true,"error_info":{"code":"BAD_ORIGIN","category":"USER_ERROR"}}"#;
        let pages = ["", "<html>403 Forbidden</html>", "null", "[]", "{}"];
        let read = |status: u16, body: &str| {
            let is_401 = status == 401;
            let of = if is_401 { RejectedBy::of_credentials } else { RejectedBy::of_origin };
            of(body.as_bytes())
        };
        for (status, body) in [(401, denied), (401, inner), (403, origin)] {
            assert_eq!(read(status, body), RejectedBy::Juspay, "{status} {body}");
        }
        let others = pages.into_iter().flat_map(|page| [(401, page), (403, page)]);
        for (status, body) in others.chain([(401, origin), (403, denied), (403, inner)]) {
            assert_eq!(read(status, body), RejectedBy::Unknown, "{status} {body}");
        }
    }
}
