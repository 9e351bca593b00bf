//! Encrypted connections.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use once_cell::sync::OnceCell;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// What every connection of a driver has in common.
pub(super) struct Client {
    roots: Option<PathBuf>,
    /// Made at the first connection, and again if that failed.
    config: OnceCell<Arc<ClientConfig>>,
}

impl Client {
    pub(super) fn new(roots: Option<PathBuf>) -> Self {
        Self { roots, config: OnceCell::new() }
    }

    pub(super) fn config(&self) -> io::Result<Arc<ClientConfig>> {
        self.config.get_or_try_init(|| self.make()).cloned()
    }

    fn make(&self) -> io::Result<Arc<ClientConfig>> {
        let mut trusted = RootCertStore::empty();
        if let Some(path) = &self.roots {
            for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                trusted.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
        } else {
            trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if trusted.is_empty() {
            return Err(io::Error::other("no certificates are trusted"));
        }
        // The provider is named, since what the process has as its default is not ours to know.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// The name that a server's certificate must be for.
pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
