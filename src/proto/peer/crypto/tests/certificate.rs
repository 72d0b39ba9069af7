use super::*;

#[test]
fn a_generated_certificate_works_with_every_backend() {
    for made_by in CryptoBackend::available() {
        let certificate = Certificate::generate(made_by).unwrap();
        for used_by in CryptoBackend::available() {
            certificate.check(used_by).unwrap_or_else(|error| {
                panic!("made by {made_by}: {error}");
            });
        }
    }
}

#[test]
fn a_certificate_survives_being_stored() {
    for backend in CryptoBackend::available() {
        let made = Certificate::generate(backend).unwrap();
        let (certificate, key) = made.der();
        let (certificate, key) = (certificate.to_vec(), key.to_vec());
        let loaded = Certificate::from_der(backend, &certificate, &key).unwrap();
        assert_eq!(loaded.fingerprint_sha256(), made.fingerprint_sha256());
        assert_eq!(loaded.der(), made.der());
    }
}

#[test]
fn fingerprints_are_written_as_in_sdp_and_differ() {
    for backend in CryptoBackend::available() {
        let one = Certificate::generate(backend).unwrap();
        let two = Certificate::generate(backend).unwrap();
        assert_ne!(one.fingerprint_sha256(), two.fingerprint_sha256());
        let bytes: Vec<_> = one.fingerprint_sha256().split(':').collect();
        assert_eq!(bytes.len(), 32);
        for byte in bytes {
            assert_eq!(byte.len(), 2);
            assert!(u8::from_str_radix(byte, 16).is_ok());
            assert_eq!(byte, byte.to_uppercase());
        }
        assert!(!format!("{one:?}").contains("private"));
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    for backend in CryptoBackend::available() {
        let one = Certificate::generate(backend).unwrap();
        let two = Certificate::generate(backend).unwrap();
        let (certificate, key) = (one.der().0, two.der().1);
        for (certificate, key) in [
            (certificate, key),
            (certificate, &b"no key"[..]),
            (&b"no certificate"[..], key),
            (&[], &[]),
        ] {
            let error = Certificate::from_der(backend, certificate, key).unwrap_err();
            assert!(
                matches!(error, CryptoError::CertificateNotUsable { .. }),
                "{error}"
            );
        }
    }
}

/// An independent parser must accept the hand-written DER as a certificate signed with its own key.
#[cfg(feature = "rust-crypto")]
#[test]
fn openssl_reads_and_verifies_our_certificate() {
    use base64::Engine;

    let made = Certificate::generate(CryptoBackend::RustCrypto).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(made.der().0);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let dir = super::scratch_dir("x509");
    let path = dir.join("certificate.pem");
    std::fs::write(&path, pem.replace(&body, &fold(&body))).unwrap();
    let run = |args: &[&str]| super::openssl_cli(&dir, args);
    let printed = run(&["x509", "-in", "certificate.pem", "-noout", "-text"]);
    for expected in [
        "Version: 3",
        "ecdsa-with-SHA256",
        "CN = WebRTC",
        "NIST CURVE: P-256",
    ] {
        assert!(printed.contains(expected), "{expected} not in:\n{printed}");
    }
    let printed = run(&[
        "x509",
        "-in",
        "certificate.pem",
        "-noout",
        "-fingerprint",
        "-sha256",
    ]);
    assert!(printed.contains(made.fingerprint_sha256()), "{printed}");
    run(&[
        "verify",
        "-CAfile",
        "certificate.pem",
        "-check_ss_sig",
        "certificate.pem",
    ]);
}

#[cfg(feature = "rust-crypto")]
fn fold(base64: &str) -> String {
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    lines.join("\n")
}
