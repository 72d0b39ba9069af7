//! The `openssl` backend: OpenSSL's own DTLS, with corrections.
//!
//! Unlike dimpl it reads the clock and supports DTLS 1.2 only. [`Fenced`] corrects two faults of `str0m-openssl` 0.6:
//! it panics when a failed connection receives another datagram, and it never retransmits a lost flight.

use std::time::Instant;

use openssl::pkey::PKey;
use openssl::x509::X509;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};

use super::srtp::ExportedKeys;
use super::{empty, identity};

/// A DTLS provider based on `str0m-openssl`'s.
#[derive(Debug)]
pub(super) struct OpenSslDtls;

/// Returns `str0m-openssl`'s provider: cheap to create, because all of it is static.
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

/// A connection that is not used again after a failure.
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
            // An empty datagram makes OpenSSL continue the handshake, and so check its own timer: unanswered flights
            // are retransmitted.
            inner.handle_packet(&[])
        })
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        // The core closes DTLS before SCTP has sent its close message. An error here would be treated as a fault and
        // hold back the alert.
        if self.closed {
            return Ok(());
        }
        self.run(|inner| inner.send_application_data(&empty::put_right(data)))
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        // Only reads queues, which is safe after a failure.
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

/// Checks that the key matches the certificate, for any key type that OpenSSL supports.
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
