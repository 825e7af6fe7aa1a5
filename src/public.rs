//! The public listener: `/me/customer`, `/me/sdk-payload` and `/me/prepare`, and an error for anything else.

mod cors;
mod handler;
mod request;
mod request_id;
mod request_log;
mod response;
mod sdk_payload;

pub use self::{
    cors::Cors,
    handler::Handler,
    request::check_target,
    request_id::{REQUEST_ID, RequestId},
    request_log::RequestLog,
    sdk_payload::SdkPayloads,
};
