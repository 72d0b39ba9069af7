//! How the certificate of a server is judged: by authorities, by its fingerprint, or not at all.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Requirement for a certificate.
pub(super) enum Check {
    /// Valid for the name, and issued by one of these authorities.
    Roots(Arc<RootCertStore>),
    /// The one with this SHA-256.
    Fingerprint([u8; 32]),
    /// Anything.
    Nothing,
}

enum Judge {
    Authorities(Arc<WebPkiServerVerifier>),
    Fingerprint([u8; 32]),
    Nobody,
}

/// Verifies the certificate of a server. Whatever the certificate is, the server must prove that it has its key.
pub(super) struct Verifier {
    judge: Judge,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    pub fn new(check: Check, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let judge = match check {
            Check::Roots(roots) => {
                let built =
                    WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                Judge::Authorities(built.map_err(|e| e.to_string())?)
            }
            Check::Fingerprint(fingerprint) => Judge::Fingerprint(fingerprint),
            Check::Nothing => Judge::Nobody,
        };
        Ok(Self {
            judge,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

/// Says what is wrong with a certificate, in a clause for people.
fn reason(error: &CertificateError) -> String {
    let why = match error {
        CertificateError::UnknownIssuer => "no authority that this system trusts has signed it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host"
        }
        // webpki's word for a self-signed certificate that is also one of an authority, as OpenSSL makes them; rustls
        // does not export the type.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is self-signed"
        }
        other => return other.to_string(),
    };
    why.to_owned()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen: [u8; 32] = Sha256::digest(certificate).into();
        match &self.judge {
            Judge::Authorities(inner) => inner
                .verify_server_cert(certificate, intermediates, name, ocsp, now)
                .map_err(|e| {
                    let why = match &e {
                        Error::InvalidCertificate(e) => reason(e),
                        e => e.to_string(),
                    };
                    Error::General(format!("{why}; its SHA-256 fingerprint is {}", hex(&seen)))
                }),
            Judge::Fingerprint(wanted) if *wanted != seen => Err(Error::General(format!(
                "its SHA-256 fingerprint is {}, not {} as expected",
                hex(&seen),
                hex(wanted)
            ))),
            Judge::Fingerprint(_) | Judge::Nobody => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Writes a fingerprint as certificates show it: `AB:CD:…`.
fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
    digits.join(":")
}
