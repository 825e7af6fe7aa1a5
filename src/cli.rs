//! Defines the commands and flags. `commands` implements them.
//!
//! clap reports invalid usage and exits with code 2, like faults of the settings.

#[cfg(feature = "simulator")]
use std::net::SocketAddr;
use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    customer::CustomerId,
    settings::{Rate, duration},
};

const VERSION_AND_COMMIT: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("BUILD_COMMIT"), ")");

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "juspay-bff", version = VERSION_AND_COMMIT, about, long_about = LONG_ABOUT)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
#[command(arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_ABOUT: &str = "\
Give mobile apps their Juspay client auth token without giving them the API key.

An app sends GET /me/customer with its user's access token. The service verifies the token, fetches \
the customer that it names from Juspay, and returns Juspay's customer object with a client auth \
token. It caches the response until shortly before the client auth token expires.";

#[cfg(feature = "simulator")]
const AFTER_HELP: &str =
    "`juspay-bff demo` shows the service at work on this machine, without any setup.";
#[cfg(not(feature = "simulator"))]
const AFTER_HELP: &str = "`juspay-bff check-config` validates the settings without opening a port.";

#[cfg(feature = "simulator")]
macro_rules! demo_line {
    () => {
        "\n  juspay-bff demo                           show the service at work, without any setup"
    };
}
#[cfg(not(feature = "simulator"))]
macro_rules! demo_line {
    () => {
        ""
    };
}

const AFTER_LONG_HELP: &str = concat!(
    "Start here:",
    demo_line!(),
    "
  juspay-bff check-config --config my.toml  validate the settings, and show what they add up to
  juspay-bff doctor --config my.toml        check Juspay and the issuers from this machine
  juspay-bff serve --config my.toml         run the service

Settings:
  Built-in defaults, then each --config FILE (TOML), then environment variables; later ones override \
earlier ones. A variable is named JUSPAY_BFF__SECTION__KEY, such as JUSPAY_BFF__JUSPAY__MERCHANT_ID, \
and separates the items of a list with commas. config/default.toml documents every key.

Exit codes:
  0  success, or stopped by SIGTERM, SIGINT or SIGQUIT
  1  failure at run time
  2  invalid usage or settings; all settings errors are reported at once"
);

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    #[command(long_about = SERVE, after_long_help = SETTINGS)]
    Serve(SettingsFiles),
    /// Validate the settings and print them, secrets masked
    #[command(long_about = CHECK_CONFIG, after_long_help = SETTINGS)]
    CheckConfig(CheckConfig),
    /// Check Juspay, the API keys and the issuers from this machine
    #[command(long_about = DOCTOR, after_long_help = SETTINGS)]
    Doctor(Doctor),
    /// Show why the service accepts or rejects an access token
    #[command(long_about = EXPLAIN_TOKEN, after_long_help = SETTINGS)]
    ExplainToken(ExplainToken),
    /// Check whether the running service is ready; for containers without a shell
    #[command(long_about = HEALTHCHECK, after_long_help = SETTINGS)]
    Healthcheck(Healthcheck),
    #[cfg(feature = "simulator")]
    /// Show the service at work on this machine, without any setup
    #[command(long_about = DEMO)]
    Demo(Demo),
    #[cfg(feature = "simulator")]
    /// Run a simulated Juspay and a simulated token issuer
    #[command(long_about = SIMULATOR)]
    Simulator(Simulator),
    #[cfg(feature = "simulator")]
    /// Print an access token of the simulated issuer
    #[command(long_about = TOKEN)]
    Token(Token),
}

const SERVE: &str = "\
Run the service until SIGTERM, SIGINT or SIGQUIT.

server.listen (0.0.0.0:8080) serves apps; server.admin_listen (127.0.0.1:9464) serves operators and \
probes. With invalid settings, no port is opened.

Signals:
  SIGTERM, SIGINT, SIGQUIT  drain: accept connections for server.shutdown_delay, then finish the \
requests in progress
  SIGHUP                    reload all watched files: secrets, key set and revocation files, the TLS \
certificate
  SIGUSR1, SIGUSR2          ignored

Example:
  juspay-bff serve --config /etc/juspay-bff/settings.toml";

const CHECK_CONFIG: &str = "\
Validate the settings as `serve` does, including the files that they name, without opening a port.

Valid settings are printed as TOML, with defaults and masked secrets. A comment after a value names \
its source: a file and line, or a variable. Comments at the end show memory use, and calls to Juspay \
by the number of active customers. The exit code is 0.

Otherwise all errors are reported at once, each with key, reason and fix. The exit code is 2.

--manifests reads rendered Kubernetes manifests instead: the settings are those of each container \
named juspay-bff, from its ConfigMaps and variables. Files that settings name are not read, but must be \
in a volume of the container. Values of the examples, such as pay.example.com, are rejected.

Example:
  juspay-bff check-config --config base.toml --config production.toml
  helm template my-release CHART --values my.yaml | juspay-bff check-config --manifests -
  juspay-bff check-config --config production.toml --replicas 3 --juspay-quota 100/s";

const DOCTOR: &str = "\
Check what the service needs, from this machine: the settings, listen addresses, secret files, \
Juspay's host (DNS, TCP, TLS), each API key with one Get Customer call, clocks, and each issuer's keys \
or introspection endpoint. Each check prints a line: ok, warning, or FAILED with the fix and the \
setting that it concerns. Secrets are never shown.

Nothing is listened on or written. The exit code is 0 if no check failed, 1 if one failed, and 2 if \
the settings are invalid.

The calls to Juspay are for a customer that does not exist. With --customer, an existing customer is \
fetched too, and the lifetime of its client auth token is compared with the settings.

Example:
  juspay-bff doctor --config /etc/juspay-bff/settings.toml --customer my_test_customer";

const EXPLAIN_TOKEN: &str = "\
Reads one access token from standard input and prints each check in the service's order, then the \
service's own verdict. A failed check shows what was expected and what was found, and if a setting \
would accept such tokens, its line. For operators; phones only get a code. The exit code is 0 if the \
token is accepted, 1 if it is rejected or there is no verdict.

Neither the token nor its signature is printed. The customer is shown as in logs \
(log.customer_ref_key_file), or by its id with --show-customer. Write `DPoP TOKEN` for a token that is \
bound to a key. An opaque token is sent to its issuer's introspection endpoint.

Example:
  juspay-bff explain-token --config /etc/juspay-bff/settings.toml < token";

const HEALTHCHECK: &str = "\
Send GET /readyz to the admin listener of the service that runs on this machine with the same \
settings. The exit code is 0 if the service is ready, and 1 otherwise, with the reason on standard \
error. --live sends GET /livez instead, which checks only that the process responds.

Only server.admin_listen is read from the settings, so no secret is needed. The first address is used, \
or loopback if it is 0.0.0.0 or [::]. Invalid settings end with code 1 too, because Docker reserves 2.

Example, in a Dockerfile:
  HEALTHCHECK CMD [\"/juspay-bff\", \"healthcheck\"]";

const SETTINGS: &str = "\
Settings are built-in defaults, then each --config FILE, then environment variables; later ones \
override earlier ones. A variable is named JUSPAY_BFF__SECTION__KEY and separates the items of a list \
with commas. config/default.toml documents every key.";

#[cfg(feature = "simulator")]
const DEMO: &str = "\
Start the simulator, its issuer and the service on loopback ports. Then show a first request (fetched \
from Juspay), a second one (from the cache), twenty concurrent requests for a new customer (one call to \
Juspay) and a forged token (401). The service keeps running; a curl line to try is printed.

Tokens of the simulator don't work in Juspay's real SDK.

Example:
  juspay-bff demo --once";

#[cfg(feature = "simulator")]
const SIMULATOR: &str = "\
Run a simulated Juspay customer API, and an issuer that signs a token for any subject: for development \
and tests on this machine, never for production. Prints the addresses, the API key and the merchant.

An unknown customer is created when it is requested. With --strict, as at Juspay, the response is 404 \
object_not_found until POST /customers has created the customer. The magic customers (sim_…) always \
exist, except sim_new and sim_rejected_field.

Calls are answered as Juspay documents. --lenient also accepts calls without x-merchantid, which Juspay \
requires and its package juspayp3 does not send. --strict-fields rejects fields that Juspay's documentation advises \
against.

--tls serves the same API over TLS too, for clients that refuse plain HTTP. CA and certificate are generated at \
each start; their keys are never written to disk.

Example, with the service and an app in other terminals:
  juspay-bff simulator
  juspay-bff serve --config config/demo.toml
  curl -H \"Authorization: Bearer $(juspay-bff token --subject alice)\" \\
    http://127.0.0.1:8080/me/customer";

#[cfg(feature = "simulator")]
const TOKEN: &str = "\
Request an access token from the simulator's issuer and print only the token, for use in scripts.

Example:
  TOKEN=$(juspay-bff token --subject alice --life 5m)";

/// Settings files, in addition to the environment variables.
#[derive(Debug, Args)]
pub struct SettingsFiles {
    /// Settings file (TOML); later files override earlier ones
    #[arg(long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// How a command prints what it has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people
    Text,
    /// One JSON document on standard output; docs/cli.md describes it
    Json,
}

/// `check-config`
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsFiles,
    /// Kubernetes manifests (YAML, - for standard input) whose settings are validated instead
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub manifests: Option<PathBuf>,
    /// Output format, also of settings errors
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Number of processes with these settings, at least 1
    #[arg(long, value_name = "N", default_value = "1", value_parser = replicas)]
    pub replicas: NonZeroU32,
    /// Juspay's rate limit for the merchant, such as 100/s; prints a warning if it is too low
    #[arg(long, value_name = "RATE")]
    pub juspay_quota: Option<Rate>,
}

fn replicas(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "write an integer of 1 or more, such as 3".to_owned())
}

/// `healthcheck`
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsFiles,
    /// Request /livez instead of /readyz
    #[arg(long)]
    pub live: bool,
    /// Time to wait for the response
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsFiles,
    /// Output format, also of settings errors
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Existing customer whose client auth token is checked for its lifetime
    #[arg(long, value_name = "ID", value_parser = CustomerId::parse)]
    pub customer: Option<CustomerId>,
}

/// `explain-token`
#[derive(Debug, Args)]
pub struct ExplainToken {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsFiles,
    /// Output format, also of settings errors
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Call no issuer: without a key file the signature is not checked
    #[arg(long)]
    pub offline: bool,
    /// Show the customer's id
    #[arg(long)]
    pub show_customer: bool,
}

#[cfg(feature = "simulator")]
/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Exit after the tour, with code 0 if every step succeeded
    #[arg(long)]
    pub once: bool,
    /// Address of the service; port 0 selects a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

#[cfg(feature = "simulator")]
/// `simulator`
#[derive(Debug, Args)]
pub struct Simulator {
    /// Address of the simulated Juspay
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Address of the simulated issuer
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    pub issuer_listen: SocketAddr,
    /// Also serve the simulated Juspay over TLS, and write the CA certificate to trust to FILE
    #[arg(long, value_name = "FILE")]
    pub tls: Option<PathBuf>,
    /// Address of the TLS listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443", requires = "tls")]
    pub tls_listen: SocketAddr,
    /// Host name or address of the certificate, in addition to localhost; can be repeated
    #[arg(long = "tls-name", value_name = "NAME", requires = "tls")]
    pub tls_names: Vec<String>,
    /// Accepted API key; can be repeated
    #[arg(long = "api-key", value_name = "KEY", default_value = "sim_key")]
    pub api_keys: Vec<String>,
    /// Merchant of all customers
    #[arg(long, value_name = "ID", default_value = "sim_merchant")]
    pub merchant: String,
    /// Lifetime of client auth tokens
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration::parse)]
    pub token_life: Duration,
    /// Number of times that a client auth token can be used
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    pub token_uses: u32,
    /// Return 404 for unknown customers instead of creating them
    #[arg(long)]
    pub strict: bool,
    /// Reject new customers with an id of fewer than 8 characters, or a mobile number that contains the
    /// country code or anything but digits
    #[arg(long)]
    pub strict_fields: bool,
    /// Accept calls without x-merchantid
    #[arg(long)]
    pub lenient: bool,
}

#[cfg(feature = "simulator")]
/// `token`
#[derive(Debug, Args)]
pub struct Token {
    /// Customer: the token's sub claim
    #[arg(long, value_name = "ID")]
    pub subject: String,
    /// Address of the simulated issuer
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8082")]
    pub issuer: String,
    /// The token's aud claim
    #[arg(long, value_name = "A", default_value = "juspay-bff-demo")]
    pub audience: String,
    /// Lifetime of the token
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub life: Duration,
    /// Scope of the token; can be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Additional claim, a string or true or false; can be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    pub claims: Vec<(String, String)>,
}

#[cfg(feature = "simulator")]
fn claim(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write a name, = and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;
    use crate::{COMMIT, VERSION};

    fn parse(arguments: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("juspay-bff").chain(arguments.split_whitespace());
        CommandLine::try_parse_from(words).map(|line| line.command)
    }

    const COMMANDS: [&str; 5] = ["serve", "check-config", "doctor", "explain-token", "healthcheck"];

    /// The commands of the cargo feature `simulator`.
    const SIMULATOR_COMMANDS: [&str; 3] = ["demo", "simulator", "token"];

    #[test]
    fn command_line_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn settings_files_keep_their_order() {
        let Command::Serve(SettingsFiles { files }) = parse("serve --config b --config a").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(files, [PathBuf::from("b"), PathBuf::from("a")]);
        assert!(
            matches!(parse("check-config"), Ok(Command::CheckConfig(none)) if none.settings.files.is_empty())
        );
    }

    #[cfg(feature = "simulator")]
    #[test]
    fn simulator_flags_have_their_defaults() {
        let Command::Simulator(simulator) = parse("simulator").unwrap() else {
            panic!("another command")
        };
        assert_eq!(simulator.listen, ([127, 0, 0, 1], 8081).into());
        assert_eq!(simulator.issuer_listen, ([127, 0, 0, 1], 8082).into());
        assert_eq!(simulator.api_keys, ["sim_key"]);
        assert_eq!(simulator.merchant, "sim_merchant");
        assert_eq!(simulator.token_life, Duration::from_mins(15));
        assert_eq!((simulator.token_uses, simulator.strict), (30, false));
        assert_eq!((simulator.strict_fields, simulator.lenient), (false, false));
        let Command::Simulator(simulator) = parse("simulator --api-key a --api-key b").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(simulator.api_keys, ["a", "b"]);
        let Command::Simulator(simulator) =
            parse("simulator --tls ca.pem --tls-name a.test").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(simulator.tls_listen, ([127, 0, 0, 1], 8443).into());
        assert_eq!(simulator.tls_names, ["a.test"]);
        assert!(parse("simulator --tls-name a.test").is_err());
        assert!(parse("simulator --tls-listen 127.0.0.1:1").is_err());
    }

    #[cfg(feature = "simulator")]
    #[test]
    fn token_needs_a_subject() {
        let Command::Token(token) =
            parse("token --subject a --life 90s --scope x --scope y --claim b=c=d").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(
            (&*token.issuer, &*token.audience),
            ("http://127.0.0.1:8082", "juspay-bff-demo")
        );
        assert_eq!(token.life, Duration::from_secs(90));
        assert_eq!(token.scopes, ["x", "y"]);
        assert_eq!(token.claims, [("b".to_owned(), "c=d".to_owned())]);
        assert_eq!(parse("token").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn invalid_usage_exits_with_code_2() {
        for arguments in [
            "serve --port 1",
            "fly",
            "token --subject a --life 60",
            "token --subject a --claim b",
            "demo --listen x",
            "check-config --replicas 0",
            "check-config --format xml",
            "check-config --manifests a --config b",
            "healthcheck --timeout 2",
            "check-config --juspay-quota 100",
            "doctor --customer a/b",
            "explain-token eyJ",
            "",
        ] {
            assert_eq!(parse(arguments).unwrap_err().exit_code(), 2, "{arguments}");
        }
    }

    #[test]
    fn version_contains_the_commit() {
        let version = parse("--version").unwrap_err().to_string();
        assert_eq!(version, format!("juspay-bff {VERSION} (commit {COMMIT})\n"));
        assert!(!COMMIT.is_empty());
    }

    #[test]
    fn help_lists_exit_codes_and_settings_sources() {
        let help = parse("--help").unwrap_err().to_string();
        assert!(help.contains("Exit codes:") && help.contains("JUSPAY_BFF__"), "{help}");
        let simulator_commands =
            if cfg!(feature = "simulator") { &SIMULATOR_COMMANDS[..] } else { &[] };
        for command in COMMANDS.iter().chain(simulator_commands) {
            let help = parse(&format!("{command} --help")).unwrap_err().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }

    #[cfg(not(feature = "simulator"))]
    #[test]
    fn without_the_simulator_its_commands_do_not_exist() {
        let help = parse("--help").unwrap_err().to_string();
        for command in SIMULATOR_COMMANDS {
            assert!(!help.contains(&format!("  {command} ")), "{help}");
            assert_eq!(parse(command).unwrap_err().kind(), ErrorKind::InvalidSubcommand);
        }
    }
}
