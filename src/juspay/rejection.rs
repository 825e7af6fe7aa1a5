//! Who rejected a call with 401 or 403: Juspay itself, by the JSON that it documents, or something
//! else, such as a firewall in front of it.

use serde_json::Value;

use super::RetryAfter;

/// What the 401 of a wrong API key says, in `error_code` or `error_info.code`.
const CREDENTIALS_CODES: [&str; 2] = ["access_denied", "UNAUTHORIZED"];

/// What the 403 of a blocked address says in `error_info.code`.
const ORIGIN_CODES: [&str; 1] = ["BAD_ORIGIN"];

/// Who rejected a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedBy {
    /// Juspay: its own JSON says so.
    Juspay,
    /// Something else, perhaps for this customer only.
    Unknown,
    /// This service: other calls were rejected, and Juspay isn't called for so long.
    Hold(RetryAfter),
}

impl RejectedBy {
    /// Reads the body of a 401.
    pub(super) fn of_credentials(body: &[u8]) -> Self {
        Self::read(body, &CREDENTIALS_CODES)
    }

    /// Reads the body of a 403.
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
    fn only_juspays_documented_json_is_juspays_own() {
        let denied = r#"{"status":"error","error_code":"access_denied","error_info":{"code":"UNAUTHORIZED"}}"#;
        let inner = r#"{"error_info":{"code":"UNAUTHORIZED"}}"#;
        let origin = r#"{"error":true,"error_info":{"code":"BAD_ORIGIN","category":"USER_ERROR"}}"#;
        let of = [
            (
                RejectedBy::of_credentials as fn(&[u8]) -> RejectedBy,
                [denied, inner],
                [origin, "{}"],
            ),
            (RejectedBy::of_origin, [origin, origin], [denied, "[]"]),
        ];
        for (read, own, other) in of {
            for body in own {
                assert_eq!(read(body.as_bytes()), RejectedBy::Juspay, "{body}");
            }
            for body in other.into_iter().chain(["", "<html>403 Forbidden</html>", "null"]) {
                assert_eq!(read(body.as_bytes()), RejectedBy::Unknown, "{body}");
            }
        }
    }
}
