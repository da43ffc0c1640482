//! The sandbox's own certificate authority, serving certificate and key for service account tokens.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};

use crate::local::secret;

pub const AUTHORITY: &str = "authority.crt";
pub const SERVER_CERTIFICATE: &str = "server.crt";
pub const SERVER_KEY: &str = "server.key";
pub const SERVICE_ACCOUNT_KEY: &str = "service-account.key";
pub const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "service-account.pub";

/// Makes what is missing below `directory` and answers the authority's certificate.
pub fn ensure(directory: &Path) -> Result<String> {
    secret::kept(&directory.join(SERVICE_ACCOUNT_KEY), || {
        let key = key()?;
        // kube-apiserver doesn't take the public half out of a PKCS #8 file.
        secret::write(&directory.join(SERVICE_ACCOUNT_PUBLIC_KEY), &key.public_key_pem())?;
        Ok(key.serialize_pem())
    })?;
    // The authority is written last: where it is, the rest is, and no certificate can be issued again without its key.
    secret::kept(&directory.join(AUTHORITY), || issue(directory))
}

fn issue(directory: &Path) -> Result<String> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "threeport sandbox");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let issuer = CertifiedIssuer::self_signed(authority, key()?).context("making a certificate authority")?;

    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
    let mut server = CertificateParams::new(names).context("naming a server")?;
    // The first address of the service range is the API server's own service.
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 96, 0, 1)] {
        server.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
    }
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let server_key = key()?;
    let certificate = server.signed_by(&server_key, &issuer).context("signing a certificate")?;
    secret::write(&directory.join(SERVER_KEY), &server_key.serialize_pem())?;
    secret::write(&directory.join(SERVER_CERTIFICATE), &certificate.pem())?;
    Ok(issuer.pem())
}

/// On the curve P-256, in PKCS #8.
fn key() -> Result<KeyPair> {
    KeyPair::generate().context("making a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = ensure(directory.path()).unwrap();
        let server = std::fs::read_to_string(directory.path().join(SERVER_CERTIFICATE)).unwrap();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(ensure(directory.path()).unwrap(), first);
        assert_eq!(std::fs::read_to_string(directory.path().join(SERVER_CERTIFICATE)).unwrap(), server);
    }
}
