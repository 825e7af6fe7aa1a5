//! Juspay's error responses, copied from its documentation where that shows them in full.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::response::Response;

/// 400 from Create.
const DUPLICATE: &str = concat!(
    r#"{"status":"invalid_request_error","error_code":"unique","#,
    r#""error_message":"Customer with given object reference id already exist for your account.","#,
    r#""error_info":{"user_message":"Already exists.","#,
    r#""developer_message":"Customer account with given object reference already exists.","#,
    r#""code":"ALREADY_EXISTS","category":"USER_ERROR"}}"#
);

/// The documented reason of a rejected field.
pub(super) const INVALID_VALUE: &str = "Invalid value.";

/// 401, which has no `error_message`.
const ACCESS_DENIED: &str = concat!(
    r#"{"status":"error","error_code":"access_denied","#,
    r#""error_info":{"user_message":"Unauthorized.","#,
    r#""developer_message":"Invalid API Key. Please pass a valid and active api key.","#,
    r#""code":"UNAUTHORIZED","category":"USER_ERROR"}}"#
);

/// 403, which has neither `status` nor `error_code`.
const BAD_ORIGIN: &str = concat!(
    r#"{"error":true,"error_message":"Internal Server error.","user_message":"Bad Origin.","#,
    r#""error_info":{"code":"BAD_ORIGIN","category":"USER_ERROR","user_message":"Bad Origin.","#,
    r#""developer_message":"IP Verification Failed"}}"#
);

/// 404 for an unknown customer.
const NOT_FOUND: &str = concat!(
    r#"{"error_message":"Cannot find what you are looking for","#,
    r#""status":"invalid_request_error","error_code":"object_not_found","#,
    r#""error_info":{"#,
    r#""user_message":"Cannot process your request as customer account not found.","#,
    r#""developer_message":"Customer account not found.","#,
    r#""code":"RESOURCE_NOT_FOUND","category":"USER_ERROR"}}"#
);

/// An error that Juspay documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiError {
    /// 400 `Mandatory fields are missing`: `x-merchantid` or a field that Create requires is
    /// missing.
    MandatoryFieldsMissing,
    /// 400 `Invalid Request`: `mobile_number` is empty.
    EmptyValue,
    /// 400 `unique`: the customer id exists.
    Duplicate,
    /// 401 `access_denied`: the API key is missing, unknown or disabled.
    AccessDenied,
    /// 403 `BAD_ORIGIN`: the client's address isn't on the allow-list.
    BadOrigin,
    /// 404 `object_not_found`: no such customer.
    NotFound,
}

impl ApiError {
    /// The response without the common header fields.
    pub(super) fn response(self) -> Response {
        match self {
            Self::MandatoryFieldsMissing => {
                mandatory_fields_missing("Mandatory fields are missing")
            }
            Self::EmptyValue => invalid_fields(&[("mobile_number", INVALID_VALUE)]),
            Self::Duplicate => Response::raw_json(400, DUPLICATE),
            Self::AccessDenied => Response::raw_json(401, ACCESS_DENIED),
            Self::BadOrigin => Response::raw_json(403, BAD_ORIGIN),
            Self::NotFound => Response::raw_json(404, NOT_FOUND),
        }
    }
}

/// 400 with a message that names the missing fields.
pub(super) fn mandatory_fields_missing(message: &str) -> Response {
    Response::json(
        400,
        &json!({
            "status": "Bad Request",
            "error_code": "Mandatory fields are missing",
            "error_message": message,
        }),
    )
}

/// 400 for fields with a wrong value, each with the reason.
pub(super) fn invalid_fields(fields: &[(&str, &str)]) -> Response {
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let rejected = |(name, reason): &(&str, &str)| json!({"field_name": name, "reason": reason});
    Response::json(
        400,
        &json!({
            "status": "Invalid Request",
            "error_code": "Invalid Request",
            "error_message": format!("Wrong value in {}", names.join(", ")),
            "error_info": {
                "user_message": "Invalid request params. Please verify your input.",
                "developer_message": "Invalid request params",
                "code": "INVALID_INPUT",
                "category": "USER_ERROR",
                "fields": fields.iter().map(rejected).collect::<Vec<_>>(),
            },
        }),
    )
}

/// 404 for an unknown path: a web server's HTML page instead of Juspay's JSON.
pub(super) fn wrong_route() -> Response {
    Response::html(
        404,
        "<html>\n<head><title>404 Not Found</title></head>\n\
         <body><center><h1>404 Not Found</h1></center></body>\n</html>\n",
    )
}
