//! TLS with `rustls` (feature `tls`): to STUN and TURN servers, and for the application's connections.

#[cfg(feature = "tls")]
pub(super) use self::with::{Tls, TlsSetup};
#[cfg(not(feature = "tls"))]
pub(super) use self::without::{Tls, TlsSetup};

#[cfg(feature = "tls")]
mod with {
    use std::cell::OnceCell;
    use std::io::{Read, Write};
    use std::net::IpAddr;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName as RustlsName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::tcp_config::{TcpError, TlsMode};
    use super::super::tls_verify::{Check, Verifier};
    use crate::proto::net::ServerName;

    /// Maximum number of unencrypted bytes buffered per connection.
    const MAX_PLAIN: usize = 256 * 1024;

    /// TLS configuration shared by all connections of a loop. Created for the first one, because loading the system's
    /// certificate authorities takes milliseconds.
    pub(in crate::driver) struct TlsSetup {
        authorities: Option<Vec<u8>>,
        roots: OnceCell<Result<Arc<RootCertStore>, String>>,
        config: OnceCell<Result<Arc<ClientConfig>, String>>,
    }

    impl TlsSetup {
        pub fn new(authorities: Option<Vec<u8>>) -> Self {
            Self {
                authorities,
                roots: OnceCell::new(),
                config: OnceCell::new(),
            }
        }

        /// Starts a TLS session with a STUN or TURN server.
        pub fn connect(&self, name: &ServerName) -> Result<Tls, String> {
            let config = self.config.get_or_init(|| self.configure()).clone()?;
            let name = RustlsName::try_from(name.0.clone()).map_err(|e| format!("TLS: {e}"))?;
            Tls::new(config, name).map_err(|e| e.to_string())
        }

        /// Starts a TLS session of the application with the host of this name at this address.
        pub fn connect_to(
            &self,
            host: &str,
            address: IpAddr,
            mode: &TlsMode,
        ) -> Result<Tls, TcpError> {
            let check = match mode {
                TlsMode::SystemRoots => Check::Roots(self.roots().map_err(TcpError::Tls)?),
                TlsMode::Fingerprint(fingerprint) => Check::Fingerprint(*fingerprint),
                TlsMode::Unverified => Check::Nothing,
            };
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier = Verifier::new(check, &provider).map_err(TcpError::Tls)?;
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| TcpError::Tls(e.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            let name = match (RustlsName::try_from(host.to_owned()), mode) {
                (Ok(name), _) => name,
                (Err(e), TlsMode::SystemRoots) => {
                    return Err(TcpError::Tls(format!("{host}: {e}")));
                }
                // A name that no certificate can have, such as `front_door`, is not sent.
                (Err(_), _) => RustlsName::IpAddress(address.into()),
            };
            Tls::new(Arc::new(config), name)
        }

        fn roots(&self) -> Result<Arc<RootCertStore>, String> {
            self.roots.get_or_init(|| self.load()).clone()
        }

        fn load(&self) -> Result<Arc<RootCertStore>, String> {
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
            Ok(Arc::new(roots))
        }

        fn configure(&self) -> Result<Arc<ClientConfig>, String> {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| format!("TLS: {e}"))?
                .with_root_certificates(self.roots()?)
                .with_no_client_auth();
            Ok(Arc::new(config))
        }
    }

    /// TLS session of one connection.
    pub(in crate::driver) struct Tls {
        connection: ClientConnection,
        has_ended: bool,
    }

    impl Tls {
        fn new(config: Arc<ClientConfig>, name: RustlsName<'static>) -> Result<Self, TcpError> {
            let connection = ClientConnection::new(config, name);
            let mut connection = connection.map_err(|e| TcpError::Tls(e.to_string()))?;
            connection.set_buffer_limit(Some(MAX_PLAIN));
            Ok(Self {
                connection,
                has_ended: false,
            })
        }

        pub fn is_handshaking(&self) -> bool {
            self.connection.is_handshaking()
        }

        /// Returns `true` once the remote side has sent `close_notify`.
        pub fn has_ended(&self) -> bool {
            self.has_ended
        }

        /// Processes bytes received on the connection, and appends the decrypted content to `plain`. Returns `true` if
        /// the remote side has ended the session: nothing follows.
        pub fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<bool, TcpError> {
            let tls = |e: std::io::Error| TcpError::Tls(e.to_string());
            while !bytes.is_empty() && !self.has_ended {
                self.connection.read_tls(&mut bytes).map_err(tls)?;
                let state = self.connection.process_new_packets().map_err(explain)?;
                let start = plain.len();
                plain.resize(start + state.plaintext_bytes_to_read(), 0);
                self.connection
                    .reader()
                    .read_exact(&mut plain[start..])
                    .map_err(tls)?;
                self.has_ended = state.peer_has_closed();
            }
            Ok(self.has_ended)
        }

        /// Encrypts data to send. Returns the number of bytes taken: fewer than given if the buffer is full.
        pub fn send(&mut self, contents: &[u8]) -> Result<usize, TcpError> {
            let written = self.connection.writer().write(contents);
            written.map_err(|e| TcpError::Tls(e.to_string()))
        }

        /// Ends the session: queues `close_notify`.
        pub fn finish(&mut self) {
            self.connection.send_close_notify();
        }

        /// Appends encrypted bytes to send.
        pub fn take_output(&mut self, into: &mut Vec<u8>) -> Result<(), TcpError> {
            while self.connection.wants_write() {
                self.connection
                    .write_tls(into)
                    .map_err(|e| TcpError::Tls(e.to_string()))?;
            }
            Ok(())
        }
    }

    fn explain(e: rustls::Error) -> TcpError {
        match e {
            rustls::Error::InvalidCertificate(e) => TcpError::Certificate(e.to_string()),
            rustls::Error::General(why) => TcpError::Certificate(why),
            e => TcpError::Tls(e.to_string()),
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use std::net::IpAddr;

    use super::super::tcp_config::{TcpError, TlsMode};
    use crate::proto::net::ServerName;

    const MISSING: &str = "TLS is not in this build; it needs the feature tls";

    /// Placeholder for builds without TLS.
    pub(in crate::driver) struct TlsSetup;

    impl TlsSetup {
        pub fn new(_authorities: Option<Vec<u8>>) -> Self {
            Self
        }

        pub fn connect(&self, _name: &ServerName) -> Result<Tls, String> {
            Err(MISSING.into())
        }

        pub fn connect_to(&self, _: &str, _: IpAddr, _: &TlsMode) -> Result<Tls, TcpError> {
            Err(TcpError::Tls(MISSING.into()))
        }
    }

    /// Never constructed.
    pub(in crate::driver) enum Tls {}

    impl Tls {
        pub fn is_handshaking(&self) -> bool {
            match *self {}
        }

        pub fn has_ended(&self) -> bool {
            match *self {}
        }

        pub fn receive(&mut self, _bytes: &[u8], _plain: &mut Vec<u8>) -> Result<bool, TcpError> {
            match *self {}
        }

        pub fn send(&mut self, _contents: &[u8]) -> Result<usize, TcpError> {
            match *self {}
        }

        pub fn finish(&mut self) {
            match *self {}
        }

        pub fn take_output(&mut self, _into: &mut Vec<u8>) -> Result<(), TcpError> {
            match *self {}
        }
    }
}
