//! A TLS terminator in front of the simulator, with its own certificate authority.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// Accepts TLS connections and forwards their content.
#[derive(Debug)]
pub struct TlsTerminator {
    pub address: SocketAddr,
    /// The authority's certificate, PEM.
    pub ca: String,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    refused: AtomicUsize,
    protocols: Mutex<Vec<Option<Vec<u8>>>>,
    names: Mutex<Vec<Option<String>>>,
}

impl TlsTerminator {
    /// Forwards to `behind`, with a certificate for `name`.
    pub async fn new(name: &str, behind: SocketAddr) -> Self {
        Self::valid_until(name, behind, 4096).await
    }

    /// The same with a certificate valid until the first day of that year.
    pub async fn valid_until(name: &str, behind: SocketAddr, year: i32) -> Self {
        let (ca, config) = certified(name, year);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let serving = tokio::spawn(serve(listener, config, behind, Arc::clone(&seen)));
        Self { address, ca, seen, serving }
    }

    /// Number of handshakes that the client aborted.
    pub fn refused(&self) -> usize {
        self.seen.refused.load(Ordering::Relaxed)
    }

    /// The ALPN protocol of each successful handshake (RFC 7301).
    pub fn protocols(&self) -> Vec<Option<Vec<u8>>> {
        self.seen.protocols.lock().unwrap().clone()
    }

    /// The server name in each successful handshake (SNI, RFC 6066 §3).
    pub fn names(&self) -> Vec<Option<String>> {
        self.seen.names.lock().unwrap().clone()
    }
}

impl Drop for TlsTerminator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An authority and a server with its certificate, which prefers HTTP/2.
fn certified(name: &str, year: i32) -> (String, ServerConfig) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca_params = CertificateParams::default();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca_params, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (ca, config)
}

async fn serve(listener: TcpListener, config: ServerConfig, behind: SocketAddr, seen: Arc<Seen>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            let Ok(mut inside) = acceptor.accept(stream).await else {
                seen.refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let protocol = inside.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            seen.protocols.lock().unwrap().push(protocol);
            let name = inside.get_ref().1.server_name().map(str::to_owned);
            seen.names.lock().unwrap().push(name);
            let mut onward = TcpStream::connect(behind).await.expect("the simulator");
            // Either side may disconnect in any way.
            drop(copy_bidirectional(&mut inside, &mut onward).await);
        });
    }
}
