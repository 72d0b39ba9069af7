use std::sync::{Arc, Mutex};

use str0m::crypto::CryptoProvider;

use super::provider::{PROVIDERS, SEED_CLASSES};
use super::*;

mod certificate;
mod connect;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod forged;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl"))]
mod rsa;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod unusable;

#[test]
fn a_missing_backend_is_named_with_its_feature() {
    for backend in CryptoBackend::ALL {
        if backend.is_available() {
            provider(backend, None).unwrap();
            continue;
        }
        let error = provider(backend, None).unwrap_err();
        assert_eq!(error, CryptoError::NotCompiledIn(backend));
        let text = error.to_string();
        assert!(
            text.contains(&format!("feature `{}`", backend.name())),
            "{text}"
        );
        assert_eq!(Certificate::generate(backend).unwrap_err(), error);
    }
}

#[test]
fn names_read_back() {
    for backend in CryptoBackend::ALL {
        assert_eq!(backend.name().parse(), Ok(backend));
    }
    let error = "nss".parse::<CryptoBackend>().unwrap_err().to_string();
    assert!(
        error.contains("nss") && error.contains("rust-crypto"),
        "{error}"
    );
}

#[test]
fn the_default_is_the_first_available() {
    assert_eq!(
        CryptoBackend::default_backend(),
        CryptoBackend::available().first().copied()
    );
}

#[test]
fn openssl_speaks_dtls_1_2_only_and_takes_no_seed() {
    use DtlsVersion::{Auto, V1_2, V1_3};
    let openssl = CryptoBackend::OpenSsl;
    assert!(openssl.check_version(V1_2).is_ok());
    assert!(openssl.check_version(V1_3).is_err());
    assert!(openssl.check_version(Auto).is_err());
    for version in [V1_2, V1_3, Auto] {
        assert!(CryptoBackend::RustCrypto.check_version(version).is_ok());
    }
    assert!(provider(openssl, Some(1)).is_err());
}

#[test]
fn providers_are_shared_and_seeds_bounded() {
    for backend in CryptoBackend::available() {
        let one = provider(backend, None).unwrap();
        let two = provider(backend, None).unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        if backend == CryptoBackend::OpenSsl {
            continue;
        }
        let seeded = provider(backend, Some(7)).unwrap();
        assert!(!Arc::ptr_eq(&one, &seeded));
        assert!(Arc::ptr_eq(
            &seeded,
            &provider(backend, Some(7 + SEED_CLASSES)).unwrap()
        ));
        for seed in 0..10 * SEED_CLASSES {
            provider(backend, Some(seed)).unwrap();
        }
    }
    let made = PROVIDERS.lock().unwrap().len() as u64;
    assert!(made <= 3 * (1 + SEED_CLASSES), "{made}");
}

#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
#[test]
fn a_configuration_is_built_once_for_each_mtu() {
    let dtls = shared_dtls();
    let first = dtls.config(Some(1200)).unwrap();
    assert!(Arc::ptr_eq(&first, &dtls.config(Some(1200)).unwrap()));
    assert_eq!(dtls.config(Some(900)).unwrap().mtu(), 900);
    for mtu in 1000..1020 {
        assert_eq!(dtls.config(Some(mtu)).unwrap().mtu(), mtu);
    }
    assert_eq!(dtls.configs.lock().unwrap().len(), dtls::MAX_CONFIGS);
    assert!(
        dtls.config(Some(3)).is_err(),
        "an MTU of 3 bytes cannot work"
    );
}

/// Creates a separate DTLS provider.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
fn shared_dtls() -> dtls::SharedDtls {
    #[cfg(feature = "rust-crypto")]
    let (provider, generate) = (
        dimpl::crypto::rust_crypto::default_provider as fn() -> _,
        rust::generate_certificate as fn() -> _,
    );
    #[cfg(not(feature = "rust-crypto"))]
    let (provider, generate) = (
        dimpl::crypto::aws_lc_rs::default_provider as fn() -> _,
        (|| None) as fn() -> _,
    );
    dtls::SharedDtls {
        provider,
        generate,
        seed: None,
        configs: Mutex::default(),
    }
}

/// Creates an empty directory for one test.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl"))]
fn scratch_dir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("looprtc-crypto-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs the `openssl` program. Fails loudly if it is not installed.
#[cfg(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl"))]
fn openssl_cli(dir: &std::path::Path, args: &[&str]) -> String {
    let output = std::process::Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("this test needs the program `openssl` (Debian: apt-get install openssl)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {errors}");
    text
}
