//! The control API under `/_simulator` on the Juspay listener.
//!
//! It requires no credentials, because the simulator contains no real secrets.

use jiff::SignedDuration;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Simulator, fault::Fault, http::Request, page, response::Response, rules::FaultRule, time,
    tokens::Unusable,
};

/// Prefix of all paths.
const ROOT: &str = "/_simulator";

/// `POST /keys`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySwitch {
    key: String,
    enabled: bool,
}

/// `POST /connections`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleConnections {
    fault: Fault,
}

/// `POST /clock`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOffset {
    #[serde(deserialize_with = "time::deserialize")]
    offset: SignedDuration,
}

/// `POST /tokens/use`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenUse {
    token: String,
}

/// The response to a request for the control API; `None` for other requests.
pub(super) fn response(simulator: &Simulator, request: &Request) -> Option<Response> {
    let path = request.path.strip_prefix(ROOT)?;
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    let response = match (request.method.as_str(), path) {
        ("GET", "" | "/") => Ok(Response::text(200, &page::text(simulator))),
        ("GET", "/faults") => Ok(Response::json(200, &simulator.faults())),
        ("POST", "/faults") => add_fault(simulator, request),
        ("DELETE", "/faults") => {
            simulator.clear_faults();
            Ok(done())
        }
        ("POST", "/connections") => make_connections_stale(simulator, request),
        ("POST", "/keys") => switch_key(simulator, request),
        ("POST", "/clock") => set_clock(simulator, request),
        ("GET", "/requests") => Ok(requests(simulator)),
        ("DELETE", "/requests") => {
            simulator.clear_requests();
            Ok(done())
        }
        ("GET", "/counts") => Ok(Response::json(200, &simulator.counts())),
        ("POST", "/tokens/use") => use_token(simulator, request),
        _ => Err(rejection(404, &format!("no such route; GET {ROOT} lists all routes"))),
    };
    Some(response.unwrap_or_else(|rejection| rejection))
}

fn add_fault(simulator: &Simulator, request: &Request) -> Result<Response, Response> {
    simulator.inject(read::<FaultRule>(request)?);
    Ok(Response::json(200, &simulator.faults()))
}

fn make_connections_stale(simulator: &Simulator, request: &Request) -> Result<Response, Response> {
    let StaleConnections { fault } = read(request)?;
    simulator.make_connections_stale(fault);
    Ok(done())
}

fn switch_key(simulator: &Simulator, request: &Request) -> Result<Response, Response> {
    let switch: KeySwitch = read(request)?;
    simulator.set_key(&switch.key, switch.enabled);
    Ok(done())
}

fn set_clock(simulator: &Simulator, request: &Request) -> Result<Response, Response> {
    let clock: ClockOffset = read(request)?;
    simulator.set_clock_offset(clock.offset);
    Ok(Response::json(200, &json!({"now": simulator.now().to_string()})))
}

fn requests(simulator: &Simulator) -> Response {
    let requests = simulator.requests();
    let requests: Vec<_> = requests.iter().map(AsRef::as_ref).collect();
    Response::json(200, &json!({"total": simulator.total_requests(), "requests": requests}))
}

fn use_token(simulator: &Simulator, request: &Request) -> Result<Response, Response> {
    let TokenUse { token } = read(request)?;
    simulator
        .use_token(&token)
        .map(|remaining| Response::json(200, &json!({"remaining": remaining})))
        .map_err(|unusable| {
            let why = match unusable {
                Unusable::Unknown => "unknown",
                Unusable::Expired => "expired",
                Unusable::UsedUp => "used_up",
            };
            rejection(401, why)
        })
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Response> {
    serde_json::from_slice(&request.body).map_err(|error| rejection(400, &error.to_string()))
}

fn done() -> Response {
    Response::json(200, &json!({"ok": true}))
}

pub(super) fn rejection(status: u16, why: &str) -> Response {
    Response::json(status, &json!({"error": why}))
}
