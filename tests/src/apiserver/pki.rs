//! Certificates: one authority for a control plane, made anew each time and kept nowhere but in its folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The group that RBAC lets do everything.
pub const ADMIN_GROUP: &str = "system:masters";

/// Who a certificate is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user's name, for the API server.
    pub user: &'a str,
    /// Its group; a subject can have one here.
    pub group: Option<&'a str>,
    /// Addresses and names that it serves under.
    pub names: &'a [&'a str],
}

impl<'a> Subject<'a> {
    /// An administrator.
    pub fn admin(user: &'a str) -> Self {
        Self { user, group: Some(ADMIN_GROUP), names: &[] }
    }

    /// A user with no other rights than those that RBAC binds to its name.
    pub fn user(user: &'a str) -> Self {
        Self { user, group: None, names: &[] }
    }
}

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one, with a new P-256 key.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().context("a key for the certificate authority")?;
        let issuer =
            CertifiedIssuer::self_signed(params, key).context("the certificate authority's certificate")?;
        Ok(Self { issuer })
    }

    /// The authority's certificate in PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server, a client or both.
    pub fn issue(&self, subject: Subject<'_>) -> Result<Identity> {
        let Subject { user, group, names } = subject;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).with_context(|| format!("the names of {user}"))?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().with_context(|| format!("a key for {user}"))?;
        let certificate =
            params.signed_by(&key, &self.issuer).with_context(|| format!("a certificate for {user}"))?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The key pair that signs service account tokens, in PEM: the private key and the public one.
pub fn signing_key() -> Result<(String, String)> {
    let key = KeyPair::generate().context("a key for service account tokens")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// Where an identity's two files are.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<IdentityFiles> {
        let files = IdentityFiles {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&files.certificate, &self.certificate)
            .with_context(|| format!("writing {}", files.certificate.display()))?;
        write_secret(&files.key, &self.key).with_context(|| format!("writing {}", files.key.display()))?;
        Ok(files)
    }
}

/// Writes a file that only its owner can read, from its first byte on.
pub fn write_secret(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}
