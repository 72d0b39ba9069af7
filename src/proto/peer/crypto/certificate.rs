//! A peer's certificate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use str0m::crypto::dtls::DtlsCert;

use super::{CryptoBackend, CryptoError, provider};

/// An X.509 certificate with its private key, by which a peer proves who it is (RFC 8827 section
/// 5.6): the other side compares it with the fingerprint in the SDP.
///
/// Cloning is cheap, and one certificate may serve any number of peers. Making one is among the
/// dearer things in a connection. Peers that share one can be linked to each other by it. A device
/// that is to keep its identity stores [`Certificate::der`] and gives it back to
/// [`Certificate::from_der`].
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    cert: DtlsCert,
    fingerprint: String,
    /// One bit for each backend known to take it.
    checked: AtomicU8,
}

impl Certificate {
    /// A new self-signed ECDSA P-256 certificate. It works with every backend.
    ///
    /// # Errors
    ///
    /// [`CryptoError::NotCompiledIn`], [`CryptoError::CertificateGeneration`].
    pub fn generate(backend: CryptoBackend) -> Result<Self, CryptoError> {
        let cert = provider(backend, None)?
            .dtls_provider
            .generate_certificate()
            .ok_or(CryptoError::CertificateGeneration(backend))?;
        Self::new(backend, cert)
    }

    /// A certificate made elsewhere or earlier: X.509, and its private key in PKCS #8 (or SEC 1),
    /// both DER.
    ///
    /// All backends take ECDSA with P-256 or P-384; [`CryptoBackend::OpenSsl`] takes RSA too.
    ///
    /// # Errors
    ///
    /// [`CryptoError::NotCompiledIn`]; [`CryptoError::CertificateNotUsable`] where `backend` cannot
    /// read one of the two, or they do not belong together.
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

    /// Whether `backend` can use it. To be asked before an `Rtc` is built: dimpl panics over a key
    /// that it cannot read. Costs next to nothing from the second time on.
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

    /// The SHA-256 fingerprint as SDP writes it, `AB:CD:…` (RFC 8122 section 5).
    pub fn fingerprint_sha256(&self) -> &str {
        &self.0.fingerprint
    }

    /// The certificate and its private key in DER, to be stored. The key is not encrypted.
    pub fn der(&self) -> (&[u8], &[u8]) {
        (&self.0.cert.certificate, &self.0.cert.private_key)
    }

    pub(crate) fn as_dtls_cert(&self) -> DtlsCert {
        self.0.cert.clone()
    }
}

impl fmt::Debug for Certificate {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.0.fingerprint)
    }
}

/// What `backend` does not like about it.
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
