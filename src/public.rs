//! The public listener: `GET` and `HEAD /me/customer`, and an error for anything else.

mod handler;
mod request;
mod request_id;
mod request_log;
mod response;

pub use self::{
    handler::Handler,
    request::check_target,
    request_id::{REQUEST_ID, RequestId},
    request_log::RequestLog,
};
