//! What the texts of a health check mean: regular expressions, certificates, names.

use lvs_crds::rules::{MAX_REGEX, MAX_REGEX_MEMORY};
use regex::bytes::{Regex, RegexBuilder};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// The regular expression of `bodyRegex`, as it meets a body. `None` if it is none, is longer than the rule
/// allows, or would take more memory than a check is worth.
pub(crate) fn body_regex(text: &str) -> Option<Regex> {
    if text.chars().count() as u64 > MAX_REGEX {
        return None;
    }
    RegexBuilder::new(text).size_limit(MAX_REGEX_MEMORY).dfa_size_limit(MAX_REGEX_MEMORY).build().ok()
}

/// The certificates of `ca`, which is PEM. `None` if there is none, or if one of them cannot be read.
pub(crate) fn authorities(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()?;
    let readable = |certificate| webpki::anchor_from_trusted_cert(certificate).is_ok();
    (!certificates.is_empty() && certificates.iter().all(readable)).then_some(certificates)
}

/// Whether a certificate can have this name.
pub(crate) fn is_server_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}
