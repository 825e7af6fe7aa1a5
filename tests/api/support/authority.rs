//! A certificate authority for tests, and clients that use TLS.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Reply, guard, with_timeout};

/// Issues certificates for servers and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// A client that uses TLS.
#[derive(Debug, Clone)]
pub struct TlsClient {
    pub address: SocketAddr,
    config: ClientConfig,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Two authorities need different names. Otherwise a client's certificate chain could end at
        // either.
        let name = format!("authority {:x}", rand::random::<u64>());
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server at 127.0.0.1, valid until the first day of that year.
    pub fn server(&self, until: i32) -> Pair {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.certify(&params)
    }

    pub fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = format!("spiffe://example/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.certify(&params)
    }

    fn certify(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// A client that trusts this authority, with its own certificate or none.
    pub fn tls_client(&self, address: SocketAddr, own: Option<&Pair>) -> TlsClient {
        self.tls_client_of(address, own, rustls::ALL_VERSIONS)
    }

    /// The same, restricted to these versions of TLS.
    pub fn tls_client_of(
        &self,
        address: SocketAddr,
        own: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.pem)).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate: own, key }) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate(own)], key).unwrap()
            }
        };
        TlsClient { address, config }
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

impl Pair {
    /// Writes both into the directory, as `tls.crt` and `tls.key`.
    pub fn write(&self, directory: &Path) -> [PathBuf; 2] {
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name));
        std::fs::write(&certificate, &self.certificate).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        [certificate, key]
    }

    pub fn der(&self) -> CertificateDer<'static> {
        certificate(&self.certificate)
    }
}

impl TlsClient {
    /// The same, offering these protocols by ALPN (RFC 7301).
    pub fn offering(&self, protocols: &[&str]) -> Self {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Self { address: self.address, config }
    }

    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        with_timeout("a handshake", connector.connect(name, stream)).await
    }

    /// `GET /me/customer`
    pub async fn me(&self, token: &str) -> std::io::Result<Reply> {
        self.ask(&mut self.connect().await?, token).await
    }

    /// The same on an existing connection, as its last request.
    pub async fn ask(
        &self,
        stream: &mut TlsStream<TcpStream>,
        token: &str,
    ) -> std::io::Result<Reply> {
        let request = format!(
            "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        self.say(stream, &request).await
    }

    /// Sends a request that is the last one on its connection.
    pub async fn say(
        &self,
        stream: &mut TlsStream<TcpStream>,
        request: &str,
    ) -> std::io::Result<Reply> {
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.map(|_| bytes)
        };
        let bytes = with_timeout("an answer", exchange).await?;
        let none = || std::io::Error::other(format!("no answer in {} bytes", bytes.len()));
        let reply = Reply::parse(&bytes).ok_or_else(none)?;
        guard::answered(request, &reply);
        Ok(reply)
    }
}
