//! TLS for clients, with `rustls` (feature `tls`).

#[cfg(feature = "tls")]
pub(in crate::server) use self::with::Tls;
#[cfg(feature = "tls")]
pub use self::with::TlsIdentity;
#[cfg(not(feature = "tls"))]
pub(in crate::server) use self::without::Tls;
#[cfg(not(feature = "tls"))]
pub use self::without::TlsIdentity;

#[cfg(feature = "tls")]
mod with {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection};

    /// Maximum number of bytes buffered per connection. The largest message has to fit, or it would end the connection.
    const MAX_PLAIN: usize = 128 * 1024;

    /// The certificate chain and the private key of a server.
    #[derive(Debug, Clone)]
    pub struct TlsIdentity(Arc<ServerConfig>);

    impl TlsIdentity {
        /// Loads an identity from PEM: the server's certificate first, then intermediate ones; and its key (PKCS #8,
        /// SEC 1 or PKCS #1).
        ///
        /// # Errors
        ///
        /// Returns an error message that names the faulty part.
        pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
            let chain = chain.map_err(|e| format!("the certificate: {e}"))?;
            if chain.is_empty() {
                return Err("the certificate: there is none in it; PEM is expected".into());
            }
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("the key: {e}"))?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| format!("TLS: {e}"))?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(|e| format!("certificate and key: {e}"))?;
            Ok(Self(Arc::new(config)))
        }

        pub(in crate::server) fn accept(&self) -> Result<Tls, String> {
            let connection = ServerConnection::new(self.0.clone());
            let mut connection = connection.map_err(|e| format!("TLS: {e}"))?;
            connection.set_buffer_limit(Some(MAX_PLAIN));
            Ok(Tls(connection))
        }
    }

    /// TLS session of one connection.
    pub(in crate::server) struct Tls(ServerConnection);

    impl Tls {
        /// Processes bytes received on the connection; returns the decrypted content.
        pub fn receive(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, String> {
            let mut plain = Vec::new();
            while !bytes.is_empty() {
                let say = |e: &dyn std::fmt::Display| format!("TLS: {e}");
                self.0.read_tls(&mut bytes).map_err(|e| say(&e))?;
                let state = self.0.process_new_packets().map_err(|e| say(&e))?;
                let start = plain.len();
                plain.resize(start + state.plaintext_bytes_to_read(), 0);
                let reader = &mut self.0.reader();
                reader
                    .read_exact(&mut plain[start..])
                    .map_err(|e| say(&e))?;
            }
            Ok(plain)
        }

        /// Returns `true` during the handshake. Used by the door only.
        #[cfg(feature = "server")]
        pub fn is_handshaking(&self) -> bool {
            self.0.is_handshaking()
        }

        /// Sends `close_notify`: appends it to the output.
        #[cfg(feature = "server")]
        pub fn close(&mut self, into: &mut Vec<u8>) {
            self.0.send_close_notify();
            // The connection ends anyway.
            let _ = self.take_output(into);
        }

        /// Encrypts data to send.
        pub fn send(&mut self, contents: &[u8]) -> Result<(), String> {
            let written = self.0.writer().write_all(contents);
            written.map_err(|e| format!("TLS: {e}"))
        }

        /// Appends encrypted bytes to send.
        pub fn take_output(&mut self, into: &mut Vec<u8>) -> Result<(), String> {
            while self.0.wants_write() {
                let written = self.0.write_tls(into);
                written.map_err(|e| format!("TLS: {e}"))?;
            }
            Ok(())
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    /// Uninhabited: TLS is not in this build.
    #[derive(Debug, Clone)]
    pub enum TlsIdentity {}

    impl TlsIdentity {
        /// Returns an error, because TLS is not in this build.
        ///
        /// # Errors
        ///
        /// Always.
        pub fn from_pem(_certificates: &[u8], _key: &[u8]) -> Result<Self, String> {
            Err("TLS is not in this build; it needs the feature tls".into())
        }

        pub(in crate::server) fn accept(&self) -> Result<Tls, String> {
            match *self {}
        }
    }

    /// Never constructed.
    pub(in crate::server) enum Tls {}

    impl Tls {
        pub fn receive(&mut self, _bytes: &[u8]) -> Result<Vec<u8>, String> {
            match *self {}
        }

        #[cfg(feature = "server")]
        pub fn is_handshaking(&self) -> bool {
            match *self {}
        }

        #[cfg(feature = "server")]
        pub fn close(&mut self, _into: &mut Vec<u8>) {
            match *self {}
        }

        pub fn send(&mut self, _contents: &[u8]) -> Result<(), String> {
            match *self {}
        }

        pub fn take_output(&mut self, _into: &mut Vec<u8>) -> Result<(), String> {
            match *self {}
        }
    }
}
