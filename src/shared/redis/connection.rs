//! Opens connections, each with a fresh look-up of the host's address and the password file read again,
//! and says which node of a cluster has a key. Does not decide when: that is `manager`'s task.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, ProtocolVersion, PushInfo, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;

use super::{SetUpError, health::Health};
use crate::{
    regular_file, secret_file,
    settings::{self, RedisAddress, RedisUrl, Topology},
};

/// Maximum time to connect, and for a command of the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Number of slots of a cluster.
const SLOTS: u16 = 16_384;

/// Maximum size of a file of root certificates, in bytes.
const MAX_ROOTS_BYTES: u64 = 4 * 1024 * 1024;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    url: RedisUrl,
    topology: Topology,
    password_file: Option<PathBuf>,
    roots: Option<Vec<u8>>,
    /// The channel of hints.
    channel: String,
}

/// A connection to one server, or to the nodes of a cluster. Clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection that is known to work, and its nodes.
pub(super) struct Published {
    pub(super) connection: Connection,
    pub(super) nodes: Nodes,
}

/// The nodes behind a connection.
pub(super) struct Nodes {
    /// The index of the node of each slot; empty for a single server.
    slots: Vec<u8>,
    pub(super) health: Vec<Health>,
}

/// Why there is no connection. Contains no text of the server, which might quote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the password file can't be read")]
    Password,
    #[error("connection timed out")]
    Timeout,
    #[error("{}", describe(*.0))]
    Redis(ErrorKind),
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) {
            Self::Redis(ErrorKind::AuthenticationFailed)
        } else {
            Self::Redis(error.kind())
        }
    }
}

/// What an error means to an operator.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
pub(super) fn describe(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Io => "connection failed, or the TLS handshake",
        ErrorKind::AuthenticationFailed => "the user name or the password is wrong",
        ErrorKind::RESP3NotSupported => "the server is older than Redis 6",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "the server is loading its data",
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "the server is a read-only replica",
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            "the user lacks the right to a command or key"
        }
        ErrorKind::Server(ServerErrorKind::ClusterDown) => "the cluster is down",
        ErrorKind::Server(ServerErrorKind::MasterDown) => "the primary is down",
        ErrorKind::Server(_) => "the server rejected a command",
        ErrorKind::ClusterConnectionNotFound => "no node of the cluster is reachable",
        _ => "the server's response can't be used",
    }
}

impl Connector {
    /// Reads the root certificates. Blocks the thread for a bounded time.
    pub(super) fn new(settings: &settings::Shared, channel: String) -> Result<Self, SetUpError> {
        let roots = settings.ca_file.as_deref();
        let roots = roots.map(|path| regular_file::read_blocking(path, MAX_ROOTS_BYTES));
        Ok(Self {
            url: settings.url.clone().ok_or(SetUpError::Unset)?,
            topology: settings.topology,
            password_file: settings.password_file.clone(),
            roots: roots.transpose()?.map(|content| content.to_vec()),
            channel,
        })
    }

    /// Opens a connection. `hint` is notified when there may be news, and when the connection ends.
    pub(super) async fn connect(&self, hint: Arc<Notify>) -> Result<Published, ConnectError> {
        let info = self.info(self.password().await?.as_ref())?;
        let notify = move |_: PushInfo| {
            hint.notify_one();
            Ok::<(), Infallible>(())
        };
        // Without a subscription, news are read every second all the same.
        match self.topology {
            Topology::Single => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(CONNECT_TIMEOUT))
                    .set_push_sender(notify);
                let client = match self.certificates() {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                };
                let mut connection =
                    client.get_multiplexed_async_connection_with_config(&config).await?;
                connection.subscribe(&self.channel).await.unwrap_or_default();
                Ok(Published { connection: Connection::Single(connection), nodes: Nodes::single() })
            }
            Topology::Cluster => {
                let mut builder = ClusterClientBuilder::new([info])
                    .retries(0)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(CONNECT_TIMEOUT)
                    .use_protocol(ProtocolVersion::RESP3)
                    .push_sender(notify);
                if let Some(certificates) = self.certificates() {
                    builder = builder.certs(certificates);
                }
                let mut connection = builder.build()?.get_async_connection().await?;
                let mut command = redis::cmd("CLUSTER");
                command.arg("SLOTS");
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                let slots = connection.route_command(command, routing).await?;
                connection.subscribe(&self.channel).await.unwrap_or_default();
                let connection = Connection::Cluster(connection);
                Ok(Published { connection, nodes: Nodes::of_cluster(&slots) })
            }
        }
    }

    /// The same, without a cluster.
    pub(super) fn single(&self) -> Self {
        Self { topology: Topology::Single, ..self.clone() }
    }

    async fn password(&self) -> Result<Option<SecretString>, ConnectError> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let content = regular_file::read(path, secret_file::MAX_BYTES).await;
        secret_file::parse(path, content).map(Some).map_err(|_| ConnectError::Password)
    }

    fn info(&self, password: Option<&SecretString>) -> RedisResult<ConnectionInfo> {
        let address = match &self.url.address {
            RedisAddress::Tcp { host, port, is_tls: false } => {
                ConnectionAddr::Tcp(host.clone(), *port)
            }
            RedisAddress::Tcp { host, port, is_tls: true } => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
            RedisAddress::Unix(path) => ConnectionAddr::Unix(path.clone()),
        };
        let info = address.into_connection_info()?;
        let mut redis = info.redis_settings().clone();
        redis = redis
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.url.database.into())
            .set_skip_set_lib_name();
        if let Some(user) = &self.url.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = password {
            redis = redis.set_password(password.expose_secret());
        }
        Ok(info.set_redis_settings(redis))
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = self.roots.clone();
        root_cert.is_some().then_some(TlsCertificates { client_tls: None, root_cert })
    }
}

impl Connection {
    /// Sends a command, to the node of its first key.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        let value = match self.clone() {
            Self::Single(mut connection) => connection.req_packed_command(command).await,
            Self::Cluster(mut connection) => connection.req_packed_command(command).await,
        };
        value.and_then(Value::extract_error)
    }

    /// Sends a command without a key, to any primary.
    pub(super) async fn query_any(&self, command: &Cmd) -> RedisResult<Value> {
        let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
        self.query_routed(command, any).await
    }

    /// Sends a command without a key to all primaries. In a cluster, the response maps each to its own.
    pub(super) async fn query_primaries(&self, command: &Cmd) -> RedisResult<Value> {
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        self.query_routed(command, all).await
    }

    async fn query_routed(&self, command: &Cmd, routing: RoutingInfo) -> RedisResult<Value> {
        match self.clone() {
            Self::Single(_) => self.query(command).await,
            Self::Cluster(mut connection) => {
                let value = connection.route_command(command.clone(), routing).await;
                value.and_then(Value::extract_error)
            }
        }
    }

    /// Subscribes to a channel.
    pub(super) async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        match self.clone() {
            Self::Single(mut connection) => connection.subscribe(channel).await,
            Self::Cluster(mut connection) => connection.subscribe(channel).await,
        }
    }
}

impl Nodes {
    fn single() -> Self {
        Self { slots: Vec::new(), health: vec![Health::default()] }
    }

    /// Reads the response of `CLUSTER SLOTS`: ranges of slots, each with its primary first.
    fn of_cluster(response: &Value) -> Self {
        let mut slots = vec![0; SLOTS.into()];
        let mut nodes: Vec<&[Value]> = Vec::new();
        for range in items(response) {
            let [Value::Int(first), Value::Int(last), primary, ..] = items(range) else { continue };
            // Host and port. The rest may differ between ranges.
            let primary = items(primary).get(..2).unwrap_or_default();
            let index = nodes.iter().position(|known| *known == primary).unwrap_or_else(|| {
                nodes.push(primary);
                nodes.len().saturating_sub(1)
            });
            let bounds = (usize::try_from(*first), usize::try_from(*last));
            let (Ok(first), Ok(last), Ok(index)) = (bounds.0, bounds.1, u8::try_from(index)) else {
                continue;
            };
            slots.get_mut(first..=last).into_iter().flatten().for_each(|slot| *slot = index);
        }
        let health = nodes.iter().map(|_| Health::default()).collect::<Vec<_>>();
        if health.is_empty() { Self::single() } else { Self { slots, health } }
    }

    /// The health of the node that has this key.
    pub(super) fn of(&self, key: &str) -> Option<&Health> {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let tag = tag.map_or(key, |(tag, _)| tag);
        let slot = crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS;
        let index = self.slots.get(usize::from(slot)).copied().unwrap_or_default();
        self.health.get(usize::from(index))
    }
}

/// The items of an array; none for another value.
pub(super) fn items(value: &Value) -> &[Value] {
    if let Value::Array(items) = value { items } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: i64) -> Value {
        let host = Value::BulkString(b"10.0.0.1".to_vec());
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    #[test]
    fn slots_belong_to_their_primary() {
        let range = |first, last, port| {
            Value::Array(vec![Value::Int(first), Value::Int(last), node(port), node(9)])
        };
        let response =
            Value::Array(vec![range(0, 5460, 1), range(5461, 10922, 2), range(10923, 16383, 1)]);
        let nodes = Nodes::of_cluster(&response);
        assert_eq!(nodes.health.len(), 2);
        // CLUSTER KEYSLOT foo: 12182; bar: 5061; hello: 866; somekey: 11058; c: 7365.
        let index = |key: &str| {
            let health = std::ptr::from_ref(nodes.of(key).unwrap());
            nodes.health.iter().position(|it| std::ptr::eq(it, health)).unwrap()
        };
        let keys = ["foo", "bar", "hello", "x:{somekey}:y", "{c}"];
        assert_eq!(keys.map(index), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn odd_responses_mean_one_node() {
        for response in [Value::Nil, Value::Array(vec![Value::Nil]), Value::Array(vec![])] {
            let nodes = Nodes::of_cluster(&response);
            assert_eq!(nodes.health.len(), 1);
            assert!(nodes.of("any").is_some());
        }
    }
}
