//! The commands of the cargo feature `simulator`: `demo`, `simulator` and `token`.

use std::io;

use simulator::command::{simulate, token};

use super::{CommandError, failed, signals::stop_signal};
use crate::{
    cli,
    clock::SystemClock,
    demo,
    settings::{AccessLog, Log, LogFormat, LogLevel},
    telemetry,
};

/// Runs the demo.
pub(super) async fn run_demo(flags: cli::Demo) -> Result<(), CommandError> {
    let stop = stop_signal().map_err(failed)?;
    let log = Log {
        level: LogLevel::Warn,
        format: LogFormat::Text,
        access: AccessLog::Off,
        customer_ref_key_file: None,
    };
    telemetry::init(&log).map_err(failed)?;
    demo::run(flags.listen, flags.once, stop, &mut io::stdout()).await.map_err(failed)
}

/// Runs the simulator until it is stopped.
pub(super) async fn run_simulator(flags: cli::Simulator) -> Result<(), CommandError> {
    let ca_file = flags.tls.clone();
    simulate(simulator_config(flags), ca_file.as_deref(), &mut io::stdout()).await.map_err(failed)
}

/// Prints a token of the simulator's issuer.
pub(super) async fn print_token(flags: cli::Token) -> Result<(), CommandError> {
    token::print_token(&token_request(flags), SystemClock::shared(), &mut io::stdout())
        .await
        .map_err(failed)
}

fn simulator_config(flags: cli::Simulator) -> simulator::Config {
    simulator::Config {
        listen: flags.listen,
        issuer_listen: flags.issuer_listen,
        tls: flags
            .tls
            .map(|_ca_file| simulator::Tls { listen: flags.tls_listen, names: flags.tls_names }),
        api_keys: flags.api_keys.into_iter().map(Into::into).collect(),
        merchant: flags.merchant,
        token_life: flags.token_life,
        token_uses: flags.token_uses,
        provision: !flags.strict,
        lenient: flags.lenient,
        strict_fields: flags.strict_fields,
        ..simulator::Config::default()
    }
}

fn token_request(flags: cli::Token) -> token::TokenRequest {
    token::TokenRequest {
        issuer: flags.issuer,
        subject: flags.subject,
        audience: Some(flags.audience),
        life: Some(flags.life),
        scope: (!flags.scopes.is_empty()).then(|| flags.scopes.join(" ")),
        claims: flags.claims,
    }
}
