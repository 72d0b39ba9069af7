//! The `openssl` backend: OpenSSL's own DTLS, fenced in.
//!
//! Unlike dimpl it reads the clock and knows DTLS 1.2 only. Two things in `str0m-openssl` 0.6 are
//! put right by [`Fenced`]: it panics when a connection that has failed is given another datagram,
//! and it never sends a lost flight again.

use std::time::Instant;

use openssl::pkey::PKey;
use openssl::x509::X509;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};

use super::ExportedKeys;
use super::identity;
use crate::proto::peer::empty;

/// A DTLS provider over `str0m-openssl`'s.
#[derive(Debug)]
pub(super) struct OpenSslDtls;

/// `str0m-openssl`'s provider: cheap to make, all of it is static.
pub(super) fn stock() -> CryptoProvider {
    str0m_openssl::default_provider()
}

impl DtlsProvider for OpenSslDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        stock().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = stock().dtls_provider.new_dtls(cert, now, version, mtu)?;
        Ok(Box::new(Fenced {
            inner,
            keys: ExportedKeys::of_new_connection(),
            failed: None,
            connected: false,
            closed: false,
        }))
    }
}

/// A connection that is not touched again once it has failed.
#[derive(Debug)]
struct Fenced {
    inner: Box<dyn DtlsInstance>,
    keys: ExportedKeys,
    failed: Option<DtlsImplError>,
    connected: bool,
    closed: bool,
}

impl Fenced {
    fn run(
        &mut self,
        step: impl FnOnce(&mut dyn DtlsInstance) -> Result<(), DtlsImplError>,
    ) -> Result<(), DtlsImplError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = step(&mut *self.inner);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}

impl DtlsInstance for Fenced {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.run(|inner| inner.handle_packet(packet))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        let connected = self.connected;
        self.run(|inner| {
            inner.handle_timeout(now)?;
            if connected {
                return Ok(());
            }
            // An empty datagram makes OpenSSL go on with the handshake, and so look at its own
            // timer: what was not answered is sent again.
            inner.handle_packet(&[])
        })
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        // The core closes DTLS before SCTP has said its goodbye. An error here would be taken for a
        // fault and keep back the alert that is under way.
        if self.closed {
            return Ok(());
        }
        self.run(|inner| inner.send_application_data(&empty::put_right(data)))
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        // Reads queues only, also after a failure.
        let is_client = self.inner.is_active();
        let output = self.inner.poll_output(buf);
        self.keys.look(&output, is_client);
        self.connected |= matches!(output, DtlsOutput::Connected);
        if let DtlsOutput::PeerCert(certificate) = &output {
            identity::note(certificate);
        }
        output
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.closed = true;
        // Harmless after a failure: nothing is sent then.
        self.inner.close()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

/// Whether the key belongs to the certificate; any kind of key that OpenSSL knows.
pub(super) fn examine(cert: &DtlsCert) -> Result<(), String> {
    let x509 = X509::from_der(&cert.certificate)
        .map_err(|error| format!("the certificate is not X.509 in DER ({error})"))?;
    let key = PKey::private_key_from_der(&cert.private_key)
        .map_err(|error| format!("the private key is not DER that OpenSSL knows ({error})"))?;
    let public = x509
        .public_key()
        .map_err(|error| format!("the certificate's public key cannot be read ({error})"))?;
    if public.public_eq(&key) {
        Ok(())
    } else {
        Err("the private key is not that of the certificate".into())
    }
}
