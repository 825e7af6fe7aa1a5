//! The control API under `/_simulator`, on the listener that plays Juspay.
//!
//! It asks for no credentials: the simulator holds nothing worth stealing.

use jiff::SignedDuration;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Simulator, answer::Answer, fault::Fault, http::Request, page, rules::FaultRule, span,
    tokens::Unusable,
};

/// What every path here begins with.
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
    #[serde(deserialize_with = "span::deserialize")]
    offset: SignedDuration,
}

/// `POST /tokens/use`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenUse {
    token: String,
}

/// The answer to a request that is for the control API; `None` when it is for Juspay.
pub(super) fn answer(simulator: &Simulator, request: &Request) -> Option<Answer> {
    let path = request.path.strip_prefix(ROOT)?;
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    let answer = match (request.method.as_str(), path) {
        ("GET", "" | "/") => Ok(Answer::text(200, &page::text(simulator))),
        ("GET", "/faults") => Ok(Answer::json(200, &simulator.faults())),
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
        ("GET", "/counts") => Ok(Answer::json(200, &simulator.counts())),
        ("POST", "/tokens/use") => use_token(simulator, request),
        _ => Err(refusal(404, &format!("no such route; GET {ROOT} lists all routes"))),
    };
    Some(answer.unwrap_or_else(|refusal| refusal))
}

fn add_fault(simulator: &Simulator, request: &Request) -> Result<Answer, Answer> {
    simulator.inject(read::<FaultRule>(request)?);
    Ok(Answer::json(200, &simulator.faults()))
}

fn make_connections_stale(simulator: &Simulator, request: &Request) -> Result<Answer, Answer> {
    let StaleConnections { fault } = read(request)?;
    simulator.make_connections_stale(fault);
    Ok(done())
}

fn switch_key(simulator: &Simulator, request: &Request) -> Result<Answer, Answer> {
    let switch: KeySwitch = read(request)?;
    simulator.set_key(&switch.key, switch.enabled);
    Ok(done())
}

fn set_clock(simulator: &Simulator, request: &Request) -> Result<Answer, Answer> {
    let clock: ClockOffset = read(request)?;
    simulator.set_clock_offset(clock.offset);
    Ok(Answer::json(200, &json!({"now": simulator.now().to_string()})))
}

fn requests(simulator: &Simulator) -> Answer {
    let requests = simulator.requests();
    let requests: Vec<_> = requests.iter().map(AsRef::as_ref).collect();
    Answer::json(200, &json!({"total": simulator.total_requests(), "requests": requests}))
}

fn use_token(simulator: &Simulator, request: &Request) -> Result<Answer, Answer> {
    let TokenUse { token } = read(request)?;
    simulator
        .use_token(&token)
        .map(|remaining| Answer::json(200, &json!({"remaining": remaining})))
        .map_err(|unusable| {
            let why = match unusable {
                Unusable::Unknown => "unknown",
                Unusable::Expired => "expired",
                Unusable::UsedUp => "used_up",
            };
            refusal(401, why)
        })
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Answer> {
    serde_json::from_slice(&request.body).map_err(|error| refusal(400, &error.to_string()))
}

fn done() -> Answer {
    Answer::json(200, &json!({"ok": true}))
}

pub(super) fn refusal(status: u16, why: &str) -> Answer {
    Answer::json(status, &json!({"error": why}))
}
