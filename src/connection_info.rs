//! What the server knows about the connection of a request. It puts one [`ConnectionInfo`] into the data of
//! each connection; authentication, the admin routes and tracing read it.

use crate::tls::PeerCertificate;

/// How a client has connected.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// By the local address, because port forwarding and proxies make any peer look local.
    pub transport: Transport,
    /// Whether the listener is bound to loopback or a unix socket, so that no other machine can reach it.
    /// A listener on all addresses accepts connections to loopback too, for example from a sidecar that
    /// forwards requests of other machines.
    pub is_local_listener: bool,
    /// Whether this process terminates the TLS of the connection.
    pub tls: bool,
    /// The names in the client's verified certificate.
    pub client_certificate: Option<PeerCertificate>,
}

/// What a connection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A unix socket.
    Unix,
    /// TCP to a loopback address.
    Loopback,
    /// TCP to any other address.
    Network,
}
