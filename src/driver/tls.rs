//! TLS to TURN servers with `rustls` (feature `tls`).

#[cfg(feature = "tls")]
pub(super) use self::with::{Tls, TlsSetup};
#[cfg(not(feature = "tls"))]
pub(super) use self::without::{Tls, TlsSetup};

#[cfg(feature = "tls")]
mod with {
    use std::cell::OnceCell;
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName as RustlsName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use crate::proto::net::ServerName;

    /// Maximum number of unencrypted bytes buffered per connection.
    const MAX_PLAIN: usize = 256 * 1024;

    /// TLS configuration shared by all connections of a loop. Created for the first one, because loading the system's
    /// certificate authorities takes milliseconds.
    pub(in crate::driver) struct TlsSetup {
        authorities: Option<Vec<u8>>,
        config: OnceCell<Result<Arc<ClientConfig>, String>>,
    }

    impl TlsSetup {
        pub fn new(authorities: Option<Vec<u8>>) -> Self {
            Self {
                authorities,
                config: OnceCell::new(),
            }
        }

        /// Starts a TLS session with this server.
        pub fn connect(&self, name: &ServerName) -> Result<Tls, String> {
            let config = self.config.get_or_init(|| self.configure()).clone()?;
            let name = RustlsName::try_from(name.0.clone()).map_err(|e| format!("TLS: {e}"))?;
            let mut connection =
                ClientConnection::new(config, name).map_err(|e| format!("TLS: {e}"))?;
            connection.set_buffer_limit(Some(MAX_PLAIN));
            Ok(Tls { connection })
        }

        fn configure(&self) -> Result<Arc<ClientConfig>, String> {
            let mut roots = RootCertStore::empty();
            match &self.authorities {
                Some(pem) => {
                    for certificate in CertificateDer::pem_slice_iter(pem) {
                        let certificate =
                            certificate.map_err(|e| format!("certificate authorities: {e}"))?;
                        roots
                            .add(certificate)
                            .map_err(|e| format!("certificate authorities: {e}"))?;
                    }
                }
                None => {
                    let found = rustls_native_certs::load_native_certs();
                    for e in &found.errors {
                        log::debug!("the system's certificate authorities: {e}");
                    }
                    roots.add_parsable_certificates(found.certs);
                }
            }
            if roots.is_empty() {
                return Err(
                    "TLS: the system has no certificate authorities; install them or set \
                            LoopConfig::tls_authorities"
                        .into(),
                );
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| format!("TLS: {e}"))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Arc::new(config))
        }
    }

    /// TLS session of one connection.
    pub(in crate::driver) struct Tls {
        connection: ClientConnection,
    }

    impl Tls {
        pub fn is_handshaking(&self) -> bool {
            self.connection.is_handshaking()
        }

        /// Processes bytes received on the connection; returns the decrypted content.
        pub fn receive(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, String> {
            let mut plain = Vec::new();
            while !bytes.is_empty() {
                self.connection
                    .read_tls(&mut bytes)
                    .map_err(|e| format!("TLS: {e}"))?;
                let state = self
                    .connection
                    .process_new_packets()
                    .map_err(|e| format!("TLS: {e}"))?;
                let start = plain.len();
                plain.resize(start + state.plaintext_bytes_to_read(), 0);
                self.connection
                    .reader()
                    .read_exact(&mut plain[start..])
                    .map_err(|e| format!("TLS: {e}"))?;
            }
            Ok(plain)
        }

        /// Encrypts data to send. Data beyond the buffer's limit is lost, which breaks the stream's framing; the
        /// caller's own limit is lower.
        pub fn send(&mut self, contents: &[u8]) {
            if let Err(e) = self.connection.writer().write_all(contents) {
                log::debug!("TLS: {e}");
            }
        }

        /// Appends encrypted bytes to send.
        pub fn take_output(&mut self, into: &mut Vec<u8>) -> Result<(), String> {
            while self.connection.wants_write() {
                self.connection
                    .write_tls(into)
                    .map_err(|e| format!("TLS: {e}"))?;
            }
            Ok(())
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use crate::proto::net::ServerName;

    /// Placeholder for builds without TLS.
    pub(in crate::driver) struct TlsSetup;

    impl TlsSetup {
        pub fn new(_authorities: Option<Vec<u8>>) -> Self {
            Self
        }

        pub fn connect(&self, _name: &ServerName) -> Result<Tls, String> {
            Err("TLS is not in this build; it needs the feature tls".into())
        }
    }

    /// Never constructed.
    pub(in crate::driver) enum Tls {}

    impl Tls {
        pub fn is_handshaking(&self) -> bool {
            match *self {}
        }

        pub fn receive(&mut self, _bytes: &[u8]) -> Result<Vec<u8>, String> {
            match *self {}
        }

        pub fn send(&mut self, _contents: &[u8]) {
            match *self {}
        }

        pub fn take_output(&mut self, _into: &mut Vec<u8>) -> Result<(), String> {
            match *self {}
        }
    }
}
