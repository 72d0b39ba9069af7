//! The certificate of a peer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use str0m::crypto::dtls::DtlsCert;

use super::backend::{CryptoBackend, CryptoError};
use super::provider::provider;

/// An X.509 certificate with its private key, which authenticates a peer (RFC 8827 section 5.6): the remote peer
/// compares it with the fingerprint in the SDP.
///
/// Cloning is cheap, and one certificate may serve any number of peers; creating one is among the more expensive steps
/// of a connection. Peers that share a certificate can be linked to each other by it. A device with a persistent
/// identity stores [`Certificate::der`] and loads it with [`Certificate::from_der`].
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    cert: DtlsCert,
    fingerprint: String,
    /// One bit for each backend known to accept it.
    checked: AtomicU8,
}

impl Certificate {
    /// Creates a self-signed ECDSA P-256 certificate, which works with every backend.
    ///
    /// # Errors
    ///
    /// Returns [`CryptoError::NotCompiledIn`] or [`CryptoError::CertificateGeneration`].
    pub fn generate(backend: CryptoBackend) -> Result<Self, CryptoError> {
        let cert = provider(backend, None)?
            .dtls_provider
            .generate_certificate()
            .ok_or(CryptoError::CertificateGeneration(backend))?;
        Self::new(backend, cert)
    }

    /// Loads a certificate: X.509, and its private key in PKCS #8 (or SEC 1), both in DER.
    ///
    /// All backends accept ECDSA with P-256 or P-384; [`CryptoBackend::OpenSsl`] accepts RSA as well.
    ///
    /// # Errors
    ///
    /// Returns [`CryptoError::NotCompiledIn`], or [`CryptoError::CertificateNotUsable`] if `backend` cannot read one of
    /// the two, or they do not match.
    pub fn from_der(
        backend: CryptoBackend,
        certificate: &[u8],
        private_key: &[u8],
    ) -> Result<Self, CryptoError> {
        let cert = DtlsCert {
            certificate: certificate.to_vec(),
            private_key: private_key.to_vec(),
        };
        let this = Self::new(backend, cert)?;
        this.check(backend)?;
        Ok(this)
    }

    fn new(backend: CryptoBackend, cert: DtlsCert) -> Result<Self, CryptoError> {
        let hash = provider(backend, None)?
            .sha256_provider
            .sha256(&cert.certificate);
        let bytes: Vec<_> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self(Arc::new(Inner {
            cert,
            fingerprint: bytes.join(":"),
            checked: AtomicU8::new(0),
        })))
    }

    /// Checks that `backend` can use it. Called before an `Rtc` is built, because dimpl panics over a key it cannot
    /// read. The result is cached.
    pub(crate) fn check(&self, backend: CryptoBackend) -> Result<(), CryptoError> {
        let bit = 1 << backend as u8;
        if self.0.checked.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        examine(backend, &self.0.cert)
            .map_err(|reason| CryptoError::CertificateNotUsable { backend, reason })?;
        self.0.checked.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the SHA-256 fingerprint in SDP notation, `AB:CD:…` (RFC 8122 section 5).
    pub fn fingerprint_sha256(&self) -> &str {
        &self.0.fingerprint
    }

    /// Returns the certificate and its private key in DER, for storage. The key is not encrypted.
    pub fn der(&self) -> (&[u8], &[u8]) {
        (&self.0.cert.certificate, &self.0.cert.private_key)
    }

    pub(crate) fn as_dtls_cert(&self) -> DtlsCert {
        self.0.cert.clone()
    }
}

impl fmt::Debug for Certificate {
    /// Omits the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.0.fingerprint)
    }
}

/// Returns an error if `backend` cannot use the certificate.
fn examine(backend: CryptoBackend, cert: &DtlsCert) -> Result<(), String> {
    let _ = cert; // unused in a build without backends
    match backend {
        #[cfg(feature = "rust-crypto")]
        CryptoBackend::RustCrypto => {
            examine_dimpl(&dimpl::crypto::rust_crypto::default_provider(), cert)
        }
        #[cfg(feature = "aws-lc")]
        CryptoBackend::AwsLc => examine_dimpl(&dimpl::crypto::aws_lc_rs::default_provider(), cert),
        #[cfg(feature = "openssl")]
        CryptoBackend::OpenSsl => super::openssl::examine(cert),
        #[allow(unreachable_patterns, reason = "reached where a feature is off")]
        missing => Err(CryptoError::NotCompiledIn(missing).to_string()),
    }
}

/// Signs with the key and verifies with the certificate, as a handshake does.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
fn examine_dimpl(provider: &dimpl::crypto::CryptoProvider, cert: &DtlsCert) -> Result<(), String> {
    const SAMPLE: &[u8] = b"does this key belong to this certificate?";
    let mut key = provider
        .key_provider
        .load_private_key(&cert.private_key)
        .map_err(|error| {
            format!(
                "the private key is not ECDSA P-256 or P-384 in DER ({error}); \
                 RSA needs the backend openssl"
            )
        })?;
    let (hash, algorithm) = (key.hash_algorithm(), key.algorithm());
    let mut signature = dimpl::crypto::Buf::new();
    key.sign(SAMPLE, hash, &mut signature)
        .map_err(|error| format!("the private key does not sign ({error})"))?;
    provider
        .signature_verification
        .verify_signature(&cert.certificate, SAMPLE, &signature, hash, algorithm)
        .map_err(|error| format!("the certificate does not verify what its key signed ({error})"))
}
