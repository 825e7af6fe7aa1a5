//! Single steps of the shared tier, for `doctor`: connect, read the server's role and memory, run every
//! script, and store and read one encrypted entry. All keys have reserved names, which no replica uses,
//! and are removed at the end.

use std::{io, num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::{
    SetUpError,
    connection::{ConnectError, Connection, Connector, describe, items},
    entry::{self, Arrival, Decoded},
    io::{Call, by_deadline, is_out_of_memory},
    names::{CustomerKeys, Names},
    operations::{look_up_arguments, store_arguments},
    reply::{is, number, text_of_lease, text_of_millis, value_parts},
    script::{self, Script},
    sealing::{self, SealingKeys},
};
use crate::{
    clock::{Clock, Moment, timeout_at},
    customer::CustomerId,
    settings::{Rate, RedisAddress, Settings, Topology},
    shared::{Content, LEASE_TIME, LeaseId, Need, Request},
};

/// Maximum time to connect, and for each call: long enough to tell a slow server from none.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time to live of what is stored.
const TTL: Duration = Duration::from_secs(10);

/// Longest text of the server that is shown.
const MAX_TEXT: usize = 32;

/// What the checks need.
pub(crate) struct Inspection {
    connector: Connector,
    address: RedisAddress,
    topology: Topology,
    names: Names,
    keys: SealingKeys,
    reserved: CustomerKeys,
    customer: CustomerId,
    max_life: Duration,
    clock: Arc<dyn Clock>,
}

/// A connection to the server.
pub(crate) struct Inspected<'i> {
    inspection: &'i Inspection,
    connection: Connection,
    /// How long it took to connect.
    pub(crate) took: Duration,
}

/// Why a step failed. Contains no text of the server but the name of a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepError {
    #[error("host name lookup failed")]
    Lookup,
    #[error("connection failed: {0}")]
    Unreachable(io::ErrorKind),
    #[error("TLS handshake failed")]
    Tls,
    #[error("the server accepts connections, but does not respond")]
    Silent,
    #[error("the server closed the connection")]
    Closed,
    #[error("no response within {PATIENCE:?}")]
    Timeout,
    #[error("the password file can't be read")]
    PasswordFile,
    #[error("the server rejects the user name or the password")]
    Credentials,
    #[error("the user may not {}", .0.as_deref().map_or_else(|| "run a command of it, or use its keys".to_owned(), |command| format!("run {command}")))]
    Right(Option<String>),
    #[error("the server does not allow scripts (EVAL and EVALSHA)")]
    Scripts,
    #[error("the server is not a cluster")]
    NotACluster,
    #[error("the server is a node of a cluster")]
    Cluster,
    #[error("the server's memory is full")]
    OutOfMemory,
    #[error("{0}")]
    Other(&'static str),
    #[error("the server's response can't be used")]
    Response,
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The program and its version, as far as the server says.
    pub(crate) program: String,
    pub(crate) is_cluster: bool,
    pub(crate) is_replica: bool,
}

/// The memory of a server, or of one primary of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// `maxmemory-policy`
    pub(crate) policy: String,
    /// `maxmemory` in bytes; 0: unlimited.
    pub(crate) limit: u64,
}

/// An entry that was stored and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoundTrip {
    /// The server's clock while it was stored.
    pub(crate) server: Timestamp,
    pub(crate) sent: Timestamp,
    pub(crate) received: Timestamp,
    /// How long the look-up took, whose time `shared.timeout` limits.
    pub(crate) look_up: Duration,
}

/// A step of the round trip that failed.
#[derive(Debug)]
pub(crate) enum RoundTripError {
    /// The script with this name.
    Script(&'static str, StepError),
    /// The entry that was read is not the one that was stored, or does not decrypt.
    Different,
    /// It could not be encrypted, which is a bug in this service.
    Encryption,
}

impl Inspection {
    /// Reads the key files. Blocks the thread for a bounded time.
    ///
    /// # Errors
    /// If a file can't be used.
    pub(crate) fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, SetUpError> {
        let names = Names::open(settings)?;
        let address = settings.shared.url.as_ref().ok_or(SetUpError::Unset)?.address.clone();
        Ok(Self {
            connector: Connector::new(&settings.shared, names.channel())?,
            address,
            topology: settings.shared.topology,
            reserved: names.reserved(rand::random()),
            names,
            keys: sealing::open(settings.shared.key_file.as_deref())?,
            customer: CustomerId::parse("juspay-bff-doctor").map_err(|_| SetUpError::Names)?,
            max_life: settings.cache.max_token_life,
            clock,
        })
    }

    /// Connects as the service does.
    pub(crate) async fn connect(&self) -> Result<Inspected<'_>, StepError> {
        self.reach().await?;
        let start = self.clock.monotonic();
        match self.open_with(&self.connector).await {
            Ok(connection) => {
                let took = self.clock.monotonic().since(start);
                Ok(Inspected { inspection: self, connection, took })
            }
            Err(error) if self.topology == Topology::Cluster && !error.is_final() => {
                // The library does not say that the server is not a cluster.
                let single = self.open_with(&self.connector.single()).await;
                let Ok(connection) = single else { return Err(error) };
                let alone = Inspected { inspection: self, connection, took: Duration::ZERO };
                let is_alone = alone.identity().await.is_ok_and(|it| !it.is_cluster);
                Err(if is_alone { StepError::NotACluster } else { error })
            }
            Err(error) => Err(error),
        }
    }

    async fn open_with(&self, connector: &Connector) -> Result<Connection, StepError> {
        let deadline = self.clock.monotonic().plus(PATIENCE);
        let connecting = connector.connect(Arc::default());
        match timeout_at(&*self.clock, deadline, connecting).await {
            Some(Ok(published)) => Ok(published.connection),
            None | Some(Err(ConnectError::Timeout)) => Err(StepError::Silent),
            Some(Err(ConnectError::Password)) => Err(StepError::PasswordFile),
            Some(Err(ConnectError::Redis(ErrorKind::Io))) => Err(match self.address {
                RedisAddress::Tcp { is_tls: true, .. } => StepError::Tls,
                RedisAddress::Tcp { .. } | RedisAddress::Unix(_) => StepError::Closed,
            }),
            Some(Err(ConnectError::Redis(kind))) => Err(StepError::of_kind(kind)),
        }
    }

    /// Connects without a handshake, to tell an unreachable server from a failed handshake.
    async fn reach(&self) -> Result<(), StepError> {
        let deadline = self.clock.monotonic().plus(PATIENCE);
        let connecting = async {
            match &self.address {
                RedisAddress::Tcp { host, port, .. } => {
                    let addresses = lookup_host((host.as_str(), *port)).await;
                    let mut last = StepError::Lookup;
                    for address in addresses.map_err(|_| StepError::Lookup)? {
                        match TcpStream::connect(address).await {
                            Ok(_) => return Ok(()),
                            Err(error) => last = StepError::Unreachable(error.kind()),
                        }
                    }
                    Err(last)
                }
                RedisAddress::Unix(path) => {
                    let connected = UnixStream::connect(path).await;
                    connected.map(drop).map_err(|error| StepError::Unreachable(error.kind()))
                }
            }
        };
        let connected = timeout_at(&*self.clock, deadline, connecting).await;
        connected.unwrap_or(Err(StepError::Timeout))
    }
}

impl Inspected<'_> {
    /// What the server is. Every user may ask.
    pub(crate) async fn identity(&self) -> Result<Identity, StepError> {
        let response = self.within(self.connection.query_any(&redis::cmd("HELLO"))).await?;
        let Value::Map(pairs) = &response else { return Err(StepError::Response) };
        let member = |name: &[u8]| {
            let value = pairs.iter().find(|(key, _)| bytes(key) == Some(name));
            value.and_then(|(_, value)| plain_text(value)).unwrap_or_default()
        };
        let program = format!("{} {}", member(b"server"), member(b"version"));
        Ok(Identity {
            program: program.trim().to_owned(),
            is_cluster: member(b"mode") == "cluster",
            is_replica: !["master", "primary", ""].contains(&member(b"role").as_str()),
        })
    }

    /// The memory of the server, or of each primary of a cluster.
    pub(crate) async fn memory(&self) -> Result<Vec<Memory>, StepError> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let response = self.within(self.connection.query_primaries(&command)).await?;
        let texts: Vec<_> = if let Value::Map(nodes) = &response {
            nodes.iter().filter_map(|(_, value)| bytes(value)).collect()
        } else {
            bytes(&response).into_iter().collect()
        };
        let memory: Vec<_> = texts.into_iter().map(Memory::parse).collect();
        if memory.is_empty() { Err(StepError::Response) } else { Ok(memory) }
    }

    /// Subscribes to the hints that there are news.
    pub(crate) async fn hints(&self) -> Result<(), StepError> {
        let channel = self.inspection.names.channel();
        self.within(self.connection.subscribe(&channel)).await
    }

    /// Stores an entry, reads and decrypts it, and removes it.
    pub(crate) async fn round_trip(&self) -> Result<RoundTrip, RoundTripError> {
        let Inspection { reserved, clock, keys, customer, max_life, .. } = self.inspection;
        let (name, lease) = (reserved.value(), LeaseId::random());
        // With a limit, as for `no-cache`.
        let charge = Rate { count: NonZeroU32::MIN, per: Duration::from_millis(1) };
        let request = Request {
            customer: customer.clone(),
            need: Need::default(),
            charge: Some(charge),
            waited_for: None,
        };
        let look_up = || look_up_arguments(&request, lease);
        let look_up_keys = || vec![name.clone(), reserved.lease(), reserved.limit()];
        let fetch = self.run(&script::LOOK_UP, look_up_keys(), look_up()).await?;
        if !items(&fetch).first().is_some_and(|tag| is(tag, b"fetch")) {
            return Err(RoundTripError::Script(script::LOOK_UP.name, StepError::Response));
        }
        let renewal = vec![text_of_lease(lease), text_of_millis(LEASE_TIME)];
        self.run(&script::RENEW, vec![reserved.lease()], renewal).await?;
        let now = clock.moment();
        let content = Content::NotFound { ttl: TTL };
        let encoded = entry::encode(customer, &content, now.monotonic, now);
        let entry = encoded.and_then(|it| store_arguments(lease, &name, it, &keys.current()));
        let entry = entry.ok_or(RoundTripError::Encryption)?;
        let sent = clock.now();
        let version = self.run(&script::STORE, vec![name.clone(), reserved.lease()], entry).await?;
        let received = clock.now();
        let version = number(&version).and_then(|it| i64::try_from(it).ok());
        let server = version.and_then(|it| Timestamp::from_millisecond(it).ok());
        let server =
            server.ok_or(RoundTripError::Script(script::STORE.name, StepError::Response))?;
        let start = clock.moment();
        let found = self.run(&script::LOOK_UP, look_up_keys(), look_up()).await?;
        let look_up = clock.monotonic().since(start.monotonic);
        if !self.is_readable(&found, start, *max_life) {
            return Err(RoundTripError::Different);
        }
        self.run(&script::PURGE, vec![name.clone(), reserved.lease()], Vec::new()).await?;
        Ok(RoundTrip { server, sent, received, look_up })
    }

    /// Whether the response of a look-up has the entry that was stored.
    fn is_readable(&self, response: &Value, sent: Moment, max_life: Duration) -> bool {
        let Inspection { reserved, keys, customer, .. } = self.inspection;
        let [tag, Value::BulkString(value), ..] = items(response) else { return false };
        let Some((b'n', _, sealed)) = value_parts(value) else { return false };
        let plain = keys.current().open(&reserved.value(), sealed);
        let arrival = Arrival { sent, left: TTL, age: Duration::ZERO, max_life };
        let decoded = plain.and_then(|plain| entry::decode(customer, &plain, &arrival));
        is(tag, b"found") && matches!(decoded, Some(Decoded::NotFound))
    }

    /// Runs the scripts that [`Self::round_trip`] doesn't, in each of their branches that needs another
    /// right. Removes their keys.
    pub(crate) async fn other_scripts(&self) -> Result<(), RoundTripError> {
        let Inspection { reserved, names, .. } = self.inspection;
        let text = |text: &str| text.as_bytes().to_vec();
        let [stream, counter, generation, expiries, revocations] =
            ["stream", "last", "generation", "expiries", "revocations"]
                .map(|name| reserved.named(name));
        let lease = text_of_lease(LeaseId::random());
        let ttl = || text_of_millis(TTL);
        let news = || vec![text(""), text("10"), names.channel().into_bytes()];
        let revocation =
            |name: &str, expiry: &str| [news(), vec![text(name), text(expiry), text("")]].concat();
        let context = || vec![stream.clone(), counter.clone()];
        let all = || [context(), vec![expiries.clone(), revocations.clone()]].concat();
        let out = reserved.hand_outs(0);
        let calls = [
            (
                &script::FAIL,
                vec![reserved.lease(), reserved.value()],
                vec![lease, text("!"), text("x"), ttl(), text("1")],
            ),
            (&script::HAND_OUTS, vec![out.clone()], vec![text("1"), ttl()]),
            (&script::PURGE_ALL, vec![generation.clone()], vec![text("0")]),
            (&script::PUBLISH, context(), news()),
            // The second one removes the first, which has expired.
            (&script::REVOKE, all(), revocation("a", "1")),
            (&script::REVOKE, all(), revocation("b", "9999999999999")),
            (
                &script::REVOCATIONS,
                vec![expiries.clone(), revocations.clone()],
                vec![text("0"), text("9")],
            ),
            (
                &script::NEWS,
                [context(), vec![generation.clone()]].concat(),
                vec![text("0"), text("0"), text("10")],
            ),
        ];
        let mut result = Ok(());
        for (script, keys, arguments) in calls {
            result = result.and(self.run(script, keys, arguments).await.map(drop));
        }
        let mut remove = redis::cmd("DEL");
        remove.arg(&[out, stream, counter, generation, expiries, revocations]);
        let removed = self.within(self.connection.query(&remove)).await;
        result.and(removed.map(drop).map_err(|error| RoundTripError::Script("DEL", error)))
    }

    async fn run(
        &self,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Value, RoundTripError> {
        let call = Call { script, keys, arguments, timeout: PATIENCE };
        let clock = &*self.inspection.clock;
        let deadline = clock.monotonic().plus(PATIENCE);
        let response = call.run_on(&self.connection, clock, deadline).await;
        let result = response.ok_or(StepError::Timeout).and_then(|it| it.map_err(|e| (&e).into()));
        result.map_err(|error| RoundTripError::Script(script.name, error))
    }

    async fn within<T>(
        &self,
        response: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, StepError> {
        let clock = &*self.inspection.clock;
        let deadline = clock.monotonic().plus(PATIENCE);
        let response = by_deadline(clock, deadline, response).await;
        response.ok_or(StepError::Timeout)?.map_err(|error| (&error).into())
    }
}

impl StepError {
    /// Whether another topology would change nothing.
    const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Credentials | Self::PasswordFile | Self::Silent | Self::Tls | Self::Right(_)
        )
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
    fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::AuthenticationFailed => Self::Credentials,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::Right(None),
            ErrorKind::Server(ServerErrorKind::Moved) => Self::Cluster,
            kind => Self::Other(describe(kind)),
        }
    }
}

impl From<&RedisError> for StepError {
    fn from(error: &RedisError) -> Self {
        let detail = error.detail().unwrap_or_default();
        // A script's error has another code than that of the command in it.
        let is_right = error.code() == Some("NOPERM")
            || ["user executing the script", "ACL failure", "-NOPERM"]
                .iter()
                .any(|part| detail.contains(part));
        if error.is_timeout() {
            Self::Timeout
        } else if is_right {
            Self::Right(command_in(detail))
        } else if detail.contains("unknown command") {
            Self::Scripts
        } else if is_out_of_memory(error) {
            Self::OutOfMemory
        } else if error.kind() == ErrorKind::Io {
            Self::Closed
        } else {
            Self::of_kind(error.kind())
        }
    }
}

/// The command in "… permissions to run the 'info' command".
fn command_in(detail: &str) -> Option<String> {
    let (_, rest) = detail.split_once("run the '")?;
    let (command, _) = rest.split_once('\'')?;
    let is_command = |byte: u8| byte.is_ascii_alphabetic() || b"|-".contains(&byte);
    let is_short = (1..=MAX_TEXT).contains(&command.len());
    (is_short && command.bytes().all(is_command)).then(|| command.to_uppercase())
}

impl Memory {
    fn parse(info: &[u8]) -> Self {
        let text = String::from_utf8_lossy(info);
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        Self {
            policy: field("maxmemory_policy").filter(|it| is_plain(it)).unwrap_or_default(),
            limit: field("maxmemory").and_then(|it| it.parse().ok()).unwrap_or_default(),
        }
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum may grow")]
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

/// A short text without special characters.
fn plain_text(value: &Value) -> Option<String> {
    let text = str::from_utf8(bytes(value)?).ok()?;
    is_plain(text).then(|| text.to_owned())
}

fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    text.len() <= MAX_TEXT && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(detail: &str) -> StepError {
        let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
        StepError::from(&RedisError::from((kind, "", detail.to_owned())))
    }

    #[test]
    fn errors_of_all_versions_name_the_missing_right() {
        let right = |command: Option<&str>| StepError::Right(command.map(str::to_owned));
        for (detail, error) in [
            ("The user executing the script can't run this command or subcommand", right(None)),
            ("The user executing the script can't access at least one of the keys", right(None)),
            (
                "ACL failure in script: User bff has no permissions to run the 'xadd' command",
                right(Some("XADD")),
            ),
            ("-NOPERM this user has no permissions to run the 'get' command", right(Some("GET"))),
            ("ACL failure in script: run the 'tkn_1 secret' command", right(None)),
            ("unknown command 'EVALSHA', with args beginning with:", StepError::Scripts),
            ("-OOM command not allowed when used memory > 'maxmemory'", StepError::OutOfMemory),
            ("anything else", StepError::Other("the server rejected a command")),
        ] {
            assert_eq!(step(detail), error, "{detail}");
        }
        let message = right(Some("XADD")).to_string();
        assert_eq!(message, "the user may not run XADD");
    }

    #[test]
    fn memory_is_read_from_info() {
        let info =
            b"# Memory\r\nused_memory:9\r\nmaxmemory:1024\r\nmaxmemory_policy:allkeys-lru\r\n";
        let memory = Memory { policy: "allkeys-lru".to_owned(), limit: 1024 };
        assert_eq!(Memory::parse(info), memory);
        assert_eq!(Memory::parse(b"maxmemory_policy:<x>\nmaxmemory:-1"), Memory::default());
        assert_eq!(Memory::parse(b"\xff"), Memory::default());
    }
}
