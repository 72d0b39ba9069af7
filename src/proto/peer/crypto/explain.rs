//! Explanations of DTLS failures.

use str0m::RtcError;

use super::backend::CryptoBackend;

/// dimpl's errors for unreadable certificates: on other curves, or missing.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
const UNREADABLE: &[dimpl::Error] = &[
    dimpl::Error::CryptoError(dimpl::CryptoError::UnsupportedEcCurve),
    dimpl::Error::CryptoError(dimpl::CryptoError::CertificateParseFailed),
    dimpl::Error::CryptoError(dimpl::CryptoError::InvalidSubjectPublicKey),
    dimpl::Error::CertificateError(dimpl::CertificateError::UnsupportedEcCurve),
    dimpl::Error::CertificateError(dimpl::CertificateError::ParseFailed),
    dimpl::Error::CertificateError(dimpl::CertificateError::InvalidSubjectPublicKey),
];

/// dimpl's errors for certificates that are not ECDSA.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
const NOT_ECDSA: &[dimpl::Error] = &[
    dimpl::Error::CryptoError(dimpl::CryptoError::UnsupportedSignatureAlgorithm(
        dimpl::SignatureAlgorithm::RSA,
    )),
    dimpl::Error::CryptoError(dimpl::CryptoError::UnsupportedPublicKeyAlgorithm),
    dimpl::Error::CryptoError(dimpl::CryptoError::SignatureAlgorithmNotOfferedByClient),
    dimpl::Error::CertificateError(dimpl::CertificateError::MissingEcCurveParameter),
    dimpl::Error::CertificateError(dimpl::CertificateError::InvalidEcCurveParameter),
    dimpl::Error::CryptoError(dimpl::CryptoError::MissingEcCurveParameter),
    dimpl::Error::CryptoError(dimpl::CryptoError::InvalidEcCurveParameter),
];

/// Returns the alert (RFC 5246 §7.2.2) for an error about the remote certificate. After such an error dimpl never
/// connects: it has consumed the message and does not accept it again.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
pub(super) fn alert(error: &dimpl::Error) -> Option<u8> {
    use dimpl::{CertificateError, CryptoError, Error};

    let (bad_certificate, unsupported_certificate) = (42, 43);
    match error {
        Error::CryptoError(CryptoError::CertificateParseFailed)
        | Error::CertificateError(CertificateError::ParseFailed) => Some(bad_certificate),
        error if UNREADABLE.contains(error) || NOT_ECDSA.contains(error) => {
            Some(unsupported_certificate)
        }
        _ => None,
    }
}

/// Returns the probable cause of a failed handshake in plain words, if it is known.
///
/// dimpl (all backends but OpenSSL) supports ECDSA certificates only, while some peers have RSA ones. Neither side
/// reports that directly: an RSA server finds no offered cipher suite for its certificate and sends the alert
/// `handshake_failure`; an RSA client is asked for an ECDSA certificate and sends none.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
pub(crate) fn explain_dtls_error(error: &RtcError, backend: CryptoBackend) -> Option<String> {
    use dimpl::{CertificateError, SecurityError};

    if backend == CryptoBackend::OpenSsl {
        return None;
    }
    let RtcError::Dtls(error) = error else {
        return None;
    };
    // str0m converts dimpl's error to text, so it is recognized by its text.
    let text = error.to_string();
    let is = |known: &[dimpl::Error]| known.iter().any(|known| text.contains(&known.to_string()));
    let handshake_failure = 40; // RFC 5246 section 7.2.2
    if is(UNREADABLE) {
        return Some(format!(
            "the other side's certificate is not on a curve that the crypto backend {backend} knows (P-256, \
             P-384), or cannot be read: give the other side an ECDSA certificate on P-256, or use the backend openssl \
             here (cargo feature `openssl`)"
        ));
    }
    let what = if is(&[SecurityError::FatalAlert {
        description: handshake_failure,
    }
    .into()])
    {
        "the other side found nothing in common with us (alert handshake_failure)"
    } else if is(&[CertificateError::NoClientCertificateReceived.into()]) {
        "the other side sent no certificate when asked for an ECDSA one"
    } else if is(&[
        SecurityError::NoMutuallyAcceptableCipherSuite.into(),
        SecurityError::NoCommonCipherSuite.into(),
    ]) {
        "the other side offers no cipher suite for an ECDSA certificate"
    } else if is(NOT_ECDSA) {
        "the other side's certificate or signature is not ECDSA"
    } else {
        return None;
    };
    Some(format!(
        "{what}. Most likely its certificate is RSA, Ed25519 or on another curve, and the crypto backend {backend} \
         knows ECDSA (P-256, P-384) only: give the other side an ECDSA certificate, or use the \
         backend openssl here (cargo feature `openssl`)"
    ))
}

/// Without dimpl there is nothing to explain.
#[cfg(not(any(feature = "rust-crypto", feature = "aws-lc")))]
pub(crate) fn explain_dtls_error(_error: &RtcError, _backend: CryptoBackend) -> Option<String> {
    None
}
