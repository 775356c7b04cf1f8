//! TLS 1.2 and 1.3: whom a check trusts, the handshake, and what went wrong with it in words.

use std::sync::Arc;

use lvs_crds::TlsOptions;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::failure::{Failure, Peer, excerpt};
use crate::kind::Target;
use crate::prepared::PrepareError;
use crate::shared::Shared;

/// What is spoken over TLS, said to the server by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// What a [`ClientConfig`] depends on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    speaks: Speaks,
    ca: Option<String>,
    insecure_skip_verify: bool,
}

static CONFIGS: Shared<Key, ClientConfig> = Shared::new();

/// The TLS side of a check.
#[derive(Debug)]
pub(crate) struct Tls {
    /// Shared by all checks with the same options, for as long as one of them lives.
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// `host` is the check's own, with or without a port: it names the server unless `serverName` does.
    pub(crate) fn new(
        options: &TlsOptions,
        host: Option<&str>,
        target: &Target,
        speaks: Speaks,
    ) -> Result<Self, PrepareError> {
        let name = match options.server_name.as_deref().or_else(|| host.map(without_port)) {
            Some(name) => match ServerName::try_from(name.to_owned()) {
                Ok(name) => name,
                // It would be for SNI only, which can do without.
                Err(_) if options.insecure_skip_verify => target.address.into(),
                Err(_) => return Err(PrepareError::ServerName(name.to_owned())),
            },
            None => target.address.into(),
        };
        let key = Key {
            speaks,
            // Who takes any certificate needs no authorities.
            ca: options.ca.clone().filter(|_| !options.insecure_skip_verify),
            insecure_skip_verify: options.insecure_skip_verify,
        };
        Ok(Self { config: CONFIGS.get_or_make(&key, || config(&key))?, name })
    }

    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        peer: Peer,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await.map_err(|error| {
            match Failure::receiving(peer, &error) {
                Failure::Closed { .. } => {
                    Failure::Tls { peer, fault: "it closed the connection during the handshake".to_owned() }
                }
                failure => failure,
            }
        })
    }
}

/// `example.com:8443` and `[2001:db8::1]:8443` without the port.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

fn config(key: &Key) -> Result<ClientConfig, PrepareError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3");
    let builder = if key.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(authorities(key.ca.as_deref().ok_or(PrepareError::NothingTrusted)?)?)
    };
    let mut config = builder.with_no_client_auth();
    // Each check shall see a whole handshake and the certificate, and tickets would be kept for nothing.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![match key.speaks {
        Speaks::Http1 => b"http/1.1".to_vec(),
        Speaks::Http2 => b"h2".to_vec(),
    }];
    Ok(config)
}

fn authorities(pem: &str) -> Result<RootCertStore, PrepareError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| PrepareError::Ca(error.to_string()))?;
        store.add(certificate).map_err(|error| PrepareError::Ca(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(PrepareError::Ca("there is no certificate (PEM) in it".to_owned()));
    }
    Ok(store)
}

/// `insecureSkipVerify`: any certificate will do, as long as the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What an error of rustls' says about the server.
pub(crate) fn failure(peer: Peer, error: &Error) -> Failure {
    match error {
        Error::InvalidCertificate(error) => Failure::Certificate { peer, fault: certificate_fault(error) },
        Error::NoCertificatesPresented => {
            Failure::Certificate { peer, fault: "the server has none".to_owned() }
        }
        Error::AlertReceived(alert) => {
            Failure::Tls { peer, fault: format!("the server refused with the alert {alert:?}") }
        }
        Error::InvalidMessage(_) => {
            Failure::Tls { peer, fault: excerpt(&format!("the server does not speak it ({error})")) }
        }
        error => Failure::Tls { peer, fault: excerpt(&error.to_string()) },
    }
}

fn certificate_fault(error: &CertificateError) -> String {
    let words = match error {
        CertificateError::UnknownIssuer => "unknown issuer",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not valid yet",
        CertificateError::NotValidForName => "for another name",
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            return format!("not for {}, but for {}", expected.to_str(), excerpt(&names));
        }
        CertificateError::BadSignature => "the signature is not the issuer's",
        CertificateError::Revoked => "revoked",
        other => return excerpt(&other.to_string()),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const TARGET: Target = Target {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: Some(443),
        source: None,
        mark: None,
    };

    fn insecure() -> TlsOptions {
        TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() }
    }

    #[test]
    fn the_name_is_the_given_one_else_the_hosts_else_the_address() {
        let name = |options: &TlsOptions, host| {
            Tls::new(options, host, &TARGET, Speaks::Http1).unwrap().name.to_str().into_owned()
        };
        let named = TlsOptions { server_name: Some("a.example".to_owned()), ..insecure() };
        assert_eq!(name(&named, Some("b.example")), "a.example");
        assert_eq!(name(&insecure(), Some("b.example:8443")), "b.example");
        assert_eq!(name(&insecure(), Some("[2001:db8::1]:8443")), "2001:db8::1");
        assert_eq!(name(&insecure(), Some("2001:db8::1")), "2001:db8::1");
        assert_eq!(name(&insecure(), None), "192.0.2.1");
        assert_eq!(name(&insecure(), Some("no name")), "192.0.2.1");
    }

    #[test]
    fn checks_with_the_same_options_share_their_settings() {
        let one = Tls::new(&insecure(), None, &TARGET, Speaks::Http1).unwrap();
        let other = Tls::new(&insecure(), Some("b.example"), &TARGET, Speaks::Http1).unwrap();
        let grpc = Tls::new(&insecure(), None, &TARGET, Speaks::Http2).unwrap();
        assert!(Arc::ptr_eq(&one.config, &other.config));
        assert!(!Arc::ptr_eq(&one.config, &grpc.config));
    }

    #[test]
    fn without_trust_there_is_no_check() {
        let refused = |ca: Option<&str>| {
            let options = TlsOptions { ca: ca.map(str::to_owned), ..TlsOptions::default() };
            Tls::new(&options, None, &TARGET, Speaks::Http1).unwrap_err()
        };
        assert_eq!(refused(None), PrepareError::NothingTrusted);
        assert!(matches!(refused(Some("not PEM")), PrepareError::Ca(_)));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refused(Some(broken)), PrepareError::Ca(_)));
    }
}
