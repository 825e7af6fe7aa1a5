//! Defines the commands and flags. `commands` implements them.
//!
//! clap reports invalid usage and exits with code 2, like faults of the settings.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

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
Gives mobile apps their Juspay client auth token, and keeps the API key.

A phone asks GET /me/customer with the access token of its login. The service verifies the token, \
asks Juspay for the customer that it names, and answers with Juspay's customer object and a client \
auth token in it, from memory as long as that token lives long enough.";

const AFTER_HELP: &str = "`juspay-bff demo` shows it all on this machine, without any set-up.";

const AFTER_LONG_HELP: &str = "\
Start here:
  juspay-bff demo                           all of it on this machine, without any set-up
  juspay-bff check-config --config my.toml  are these settings good, and what do they add up to?
  juspay-bff doctor --config my.toml        do Juspay and the issuers take them, from this machine?
  juspay-bff serve --config my.toml         the service

Settings:
  The built-in defaults, then each --config FILE (TOML) over the ones before it, then the \
environment: JUSPAY_BFF__SECTION__KEY, such as JUSPAY_BFF__JUSPAY__MERCHANT_ID, with commas in \
lists. config/default.toml documents every key.

Exit codes:
  0  done, or stopped as asked to (SIGTERM, SIGINT, SIGQUIT)
  1  something failed at run time
  2  wrong usage or wrong settings; all that is wrong with the settings is told at once";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    #[command(long_about = SERVE, after_long_help = SETTINGS)]
    Serve(SettingsFiles),
    /// Check the settings and print those in force, secrets masked
    #[command(long_about = CHECK_CONFIG, after_long_help = SETTINGS)]
    CheckConfig(CheckConfig),
    /// Check from this machine what the service needs: Juspay, the API keys, the issuers
    #[command(long_about = DOCTOR, after_long_help = SETTINGS)]
    Doctor(Doctor),
    /// Tell why the service takes or refuses a bearer token
    #[command(long_about = EXPLAIN_TOKEN, after_long_help = SETTINGS)]
    ExplainToken(ExplainToken),
    /// Check whether the running service is ready; for containers without a shell
    #[command(long_about = HEALTHCHECK, after_long_help = SETTINGS)]
    Healthcheck(Healthcheck),
    /// Show the service at work on this machine, without any set-up
    #[command(long_about = DEMO)]
    Demo(Demo),
    /// Run a stand-in for Juspay, and an issuer of tokens beside it
    #[command(long_about = SIMULATOR)]
    Simulator(Simulator),
    /// Print a token of the simulator's issuer
    #[command(long_about = TOKEN)]
    Token(Token),
}

const SERVE: &str = "\
Runs the service until SIGTERM, SIGINT or SIGQUIT.

Phones are answered on server.listen (0.0.0.0:8080), operators and probes on server.admin_listen \
(127.0.0.1:9464). With wrong settings no port is opened.

Signals:
  SIGTERM, SIGINT, SIGQUIT  drain: new connections are still served for server.shutdown_delay, then the \
requests under way are finished
  SIGHUP                    read all watched files at once: secrets, key sets and revocations by file, the \
TLS certificate
  SIGUSR1, SIGUSR2          ignored

Example:
  juspay-bff serve --config /etc/juspay-bff/settings.toml";

const CHECK_CONFIG: &str = "\
Reads the settings as `serve` would, files that they name included, and opens no port.

Good settings are printed as TOML, defaults included and secrets masked, each with the file and \
line or the variable that it came from; the exit code is 0. Behind them stands, as comments, what \
they add up to: memory, and calls to Juspay by the number of active customers. Otherwise everything \
that is wrong is told at once, with key, reason and fix; the exit code is 2.

Example:
  juspay-bff check-config --config base.toml --config production.toml
  juspay-bff check-config --config production.toml --replicas 3 --juspay-quota 100/s";

const DOCTOR: &str = "\
Checks, from where it runs, what the service needs there: the settings, addresses to listen on, \
secret files, Juspay's host (DNS, TCP, TLS), each API key with one Get Customer call, clocks, and each \
issuer's keys or introspection endpoint. Prints a line for each: ok, warning, or FAILED with what to \
do and which setting it is about. No secret is shown.

Nothing is listened on and nothing is written. The exit code is 0 when nothing has failed, 1 when \
something has, 2 when the settings are wrong.

Juspay is asked for a customer that doesn't exist. With --customer, a real one is asked for besides, \
and the life of its token is held against the settings.

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
Sends GET /readyz to the admin listener of the service that runs here with the same settings, and \
ends with code 0 when it is ready, else with code 1 and the reason on standard error. With --live it \
is GET /livez, which says whether the process still answers.

Of the settings only server.admin_listen is read, so no secret has to be there: its first address, \
and loopback where that is 0.0.0.0 or [::]. Any trouble with the settings ends with code 1 as well, \
because Docker reserves 2.

Example, in a Dockerfile:
  HEALTHCHECK CMD [\"/juspay-bff\", \"healthcheck\"]";

const SETTINGS: &str = "\
Settings are the built-in defaults, then each --config FILE over the ones before it, then the \
environment: JUSPAY_BFF__SECTION__KEY, with commas in lists. config/default.toml documents every \
key.";

const DEMO: &str = "\
Starts the simulator, its issuer and the service on loopback ports, then shows a first call (asked \
of Juspay), a second (from memory), twenty at once for a new customer (one call to Juspay) and a \
forged token (401). It goes on serving and prints a curl line to try.

Tokens of the simulator don't work in Juspay's real SDK.

Example:
  juspay-bff demo --once";

const SIMULATOR: &str = "\
Runs a stand-in for Juspay's customer API, and beside it an issuer that signs tokens for anybody: \
for development and tests on this machine, never for production. Prints its addresses, the API key \
and the merchant.

A customer that is unknown is made up when it is requested. With --strict it doesn't exist, as at \
Juspay, until POST /customers has created it: 404 object_not_found. The magic customers (sim_…) \
always exist.

Example, with the service and a phone in other terminals:
  juspay-bff simulator
  juspay-bff serve --config config/demo.toml
  curl -H \"Authorization: Bearer $(juspay-bff token --subject alice)\" \\
    http://127.0.0.1:8080/me/customer";

const TOKEN: &str = "\
Asks the simulator's issuer for a bearer token and prints it, and nothing else, so that it can be \
used in scripts.

Example:
  TOKEN=$(juspay-bff token --subject alice --life 5m)";

/// Settings files, in addition to the environment variables.
#[derive(Debug, Args)]
pub struct SettingsFiles {
    /// A settings file (TOML); later ones go over earlier ones
    #[arg(long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// How a command prints what it has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
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
    /// How to print the result, settings errors included
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// How many processes run with these settings, 1 or more
    #[arg(long, value_name = "N", default_value = "1", value_parser = replicas)]
    pub replicas: NonZeroU32,
    /// How often Juspay lets the merchant ask, such as 100/s; warns when that won't do
    #[arg(long, value_name = "RATE")]
    pub juspay_quota: Option<Rate>,
}

fn replicas(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "write a whole number of 1 or more, such as 3".to_owned())
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
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsFiles,
    /// How to print the result, settings errors included
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// A customer that exists, to see how long its client auth token lives
    #[arg(long, value_name = "ID", value_parser = CustomerId::parse)]
    pub customer: Option<CustomerId>,
}

/// `explain-token`
#[derive(Debug, Args)]
pub struct ExplainToken {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsFiles,
    /// How to print the result, settings errors included
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Call no issuer: without a key file the signature is not checked
    #[arg(long)]
    pub offline: bool,
    /// Show the customer's id
    #[arg(long)]
    pub show_customer: bool,
}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// End after the tour, with code 0 when all went as it should
    #[arg(long)]
    pub once: bool,
    /// Where the service listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// `simulator`
#[derive(Debug, Args)]
pub struct Simulator {
    /// Where the stand-in for Juspay listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Where the issuer listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    pub issuer_listen: SocketAddr,
    /// An API key that is accepted; may be given several times
    #[arg(long = "api-key", value_name = "KEY", default_value = "sim_key")]
    pub api_keys: Vec<String>,
    /// The merchant that customers belong to
    #[arg(long, value_name = "ID", default_value = "sim_merchant")]
    pub merchant: String,
    /// How long client auth tokens live
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration::parse)]
    pub token_life: Duration,
    /// How often a client auth token can be used
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    pub token_uses: u32,
    /// Answer 404 for customers that nobody has created, instead of making them up
    #[arg(long)]
    pub strict: bool,
}

/// `token`
#[derive(Debug, Args)]
pub struct Token {
    /// The customer: the token's sub claim
    #[arg(long, value_name = "ID")]
    pub subject: String,
    /// The issuer's address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8082")]
    pub issuer: String,
    /// The token's aud claim
    #[arg(long, value_name = "A", default_value = "juspay-bff-demo")]
    pub audience: String,
    /// How long the token lives
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub life: Duration,
    /// A scope of the token; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
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

    const COMMANDS: [&str; 8] = [
        "serve",
        "check-config",
        "doctor",
        "explain-token",
        "healthcheck",
        "demo",
        "simulator",
        "token",
    ];

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
        let Command::Simulator(simulator) = parse("simulator --api-key a --api-key b").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(simulator.api_keys, ["a", "b"]);
    }

    #[test]
    fn a_token_needs_a_subject() {
        let Command::Token(token) =
            parse("token --subject a --life 90s --scope x --scope y").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(
            (&*token.issuer, &*token.audience),
            ("http://127.0.0.1:8082", "juspay-bff-demo")
        );
        assert_eq!(token.life, Duration::from_secs(90));
        assert_eq!(token.scopes, ["x", "y"]);
        assert_eq!(parse("token").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn invalid_usage_exits_with_code_2() {
        for arguments in [
            "serve --port 1",
            "fly",
            "token --subject a --life 60",
            "demo --listen x",
            "check-config --replicas 0",
            "check-config --format xml",
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
        for command in COMMANDS {
            let help = parse(&format!("{command} --help")).unwrap_err().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }
}
