use std::net::SocketAddr;
use std::sync::Arc;

use lvs_checks::Kind;
use lvs_crds::{HttpCheck, HttpsCheck, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::server::{ask, failure, hold, late_failure, nobody, reset, tcp};

/// An authority, made anew.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Whom to trust, for a check.
    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions { ca: Some(self.0.pem()), ..TlsOptions::default() }
    }

    /// A server's side with a certificate for a name or address.
    pub(crate) fn acceptor(&self, name: &str, protocol: &[u8]) -> TlsAcceptor {
        self.acceptor_until(name, protocol, 2999)
    }

    fn acceptor_until(&self, name: &str, protocol: &[u8], year: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Answers each request with 200.
async fn serve(acceptor: TlsAcceptor) -> SocketAddr {
    tcp(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

async fn read_request(stream: &mut TlsStream<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
}

/// A request over TLS.
pub(crate) fn https(request: HttpCheck, tls: TlsOptions) -> Kind {
    let HttpCheck { method, path, host, headers, expected_statuses, body_contains, body_regex } = request;
    Kind::Https(HttpsCheck { method, path, host, headers, expected_statuses, body_contains, body_regex, tls })
}

fn get(tls: TlsOptions) -> Kind {
    https(HttpCheck { body_contains: Some("ok".to_owned()), ..HttpCheck::default() }, tls)
}

fn insecure() -> TlsOptions {
    TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() }
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_works() {
    let authority = Authority::new("ours");
    let by_address = serve(authority.acceptor("127.0.0.1", b"http/1.1")).await;
    assert_eq!(ask(&get(authority.options()), by_address).await, Ok(()));

    let by_name = serve(authority.acceptor("web.example", b"http/1.1")).await;
    let named = TlsOptions { server_name: Some("web.example".to_owned()), ..authority.options() };
    assert_eq!(ask(&get(named), by_name).await, Ok(()));
    let host = Some("web.example:8443".to_owned());
    let hosted = https(HttpCheck { host, ..HttpCheck::default() }, authority.options());
    assert_eq!(ask(&hosted, by_name).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_for_another_name_does_not_do() {
    let authority = Authority::new("ours");
    let address = serve(authority.acceptor("web.example", b"http/1.1")).await;
    let named = TlsOptions { server_name: Some("api.example".to_owned()), ..authority.options() };
    let (reason, words) = failure(&get(named), address).await;
    assert_eq!(reason, "tls");
    assert!(words.starts_with("certificate of 127.0.0.1:PORT: not for api.example, but for "), "{words}");
    assert!(words.contains("web.example"), "{words}");
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_of_the_past_does_not_do() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger"));
    let unknown = serve(stranger.acceptor("127.0.0.1", b"http/1.1")).await;
    let (reason, words) = failure(&get(authority.options()), unknown).await;
    assert_eq!((reason, &words[..]), ("tls", "certificate of 127.0.0.1:PORT: unknown issuer"));

    let expired = serve(authority.acceptor_until("127.0.0.1", b"http/1.1", 2001)).await;
    let (reason, words) = failure(&get(authority.options()), expired).await;
    assert_eq!((reason, &words[..]), ("tls", "certificate of 127.0.0.1:PORT: expired"));

    // Who does not verify takes both.
    assert_eq!(ask(&get(insecure()), unknown).await, Ok(()));
    assert_eq!(ask(&get(insecure()), expired).await, Ok(()));
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let (reason, words) = failure(&get(insecure()), plain_http().await).await;
    assert_eq!(reason, "tls");
    assert!(words.starts_with("no TLS with 127.0.0.1:PORT: the server does not speak it"), "{words}");
}

/// Answers what is no request to it with 400, as web servers do.
async fn plain_http() -> SocketAddr {
    tcp(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        hold(stream).await;
    })
    .await
}

#[tokio::test]
async fn who_leaves_during_the_handshake_is_told() {
    let closes = tcp(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let (reason, words) = failure(&get(insecure()), closes).await;
    assert_eq!(
        (reason, &words[..]),
        ("tls", "no TLS with 127.0.0.1:PORT: it closed the connection during the handshake")
    );
    let resets = tcp(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        reset(stream);
    })
    .await;
    assert_eq!(failure(&get(insecure()), resets).await.0, "reset");
    assert_eq!(failure(&get(insecure()), nobody().await).await.0, "refused");
}

#[tokio::test]
async fn who_leaves_after_the_handshake_is_told() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("127.0.0.1", b"http/1.1");
    let address = tcp(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_request(&mut stream).await;
        }
    })
    .await;
    assert_eq!(failure(&get(authority.options()), address).await.0, "closed");
}

#[tokio::test]
async fn who_never_answers_has_no_handshake_in_time() {
    let (reason, words) = late_failure(&get(insecure()), tcp(hold).await).await;
    assert_eq!((reason, &words[..]), ("timeout", "no TLS handshake with 127.0.0.1:PORT within 300 ms"));
}

#[tokio::test]
async fn a_server_that_speaks_only_http2_refuses() {
    let authority = Authority::new("ours");
    let address = serve(authority.acceptor("127.0.0.1", b"h2")).await;
    let (reason, words) = failure(&get(authority.options()), address).await;
    assert_eq!(reason, "tls");
    assert!(words.contains("NoApplicationProtocol"), "{words}");
}

/// The request of a plain check is nothing that a TLS server can read.
#[tokio::test]
async fn a_plain_check_of_a_tls_server_fails() {
    let authority = Authority::new("ours");
    let address = serve(authority.acceptor("127.0.0.1", b"http/1.1")).await;
    let (reason, _) = failure(&Kind::Http(HttpCheck::default()), address).await;
    assert!(["protocol", "closed", "reset"].contains(&reason), "{reason}");
}
