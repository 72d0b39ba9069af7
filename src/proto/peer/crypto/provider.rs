//! The shared crypto providers: the expensive part of building a peer is done once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use str0m::crypto::CryptoProvider;

use super::backend::{CryptoBackend, CryptoError};
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
use super::dtls;
#[cfg(all(
    any(feature = "rust-crypto", feature = "aws-lc"),
    any(test, feature = "testing")
))]
use super::open;
#[cfg(feature = "openssl")]
use super::openssl;
#[cfg(feature = "rust-crypto")]
use super::rust;

/// Number of classes that seeds are mapped to. `str0m` keeps its providers forever (`&'static`), so their number must
/// be limited; each also takes some milliseconds when it is first used.
pub(super) const SEED_CLASSES: u64 = 64;

/// Providers created so far, by backend and class of seed; at most 3 * (1 + [`SEED_CLASSES`]).
pub(super) static PROVIDERS: Mutex<Providers> = Mutex::new(BTreeMap::new());

pub(super) type Providers = BTreeMap<(CryptoBackend, Option<u64>), Arc<CryptoProvider>>;

/// Returns the provider for `str0m::RtcConfig::set_crypto_provider`, the same for every peer with the same arguments,
/// which shares the expensive part of creating a peer.
///
/// `seed` is for repeatable simulations and makes the connection **insecure**. It fixes what DTLS draws outside of
/// cryptography: timer jitter, hello randoms, nonces. Ephemeral keys and the randomness in signatures stay random, so
/// datagrams differ in content, and by a byte or two in length (a DER signature), but not in number or time. Seeds are
/// mapped to [`SEED_CLASSES`] classes.
///
/// # Errors
///
/// Returns [`CryptoError::NotCompiledIn`], or [`CryptoError::SeedNotSupported`] with OpenSSL.
pub(crate) fn provider(
    backend: CryptoBackend,
    seed: Option<u64>,
) -> Result<Arc<CryptoProvider>, CryptoError> {
    #[cfg(all(
        any(feature = "rust-crypto", feature = "aws-lc"),
        any(test, feature = "testing")
    ))]
    if open::is_wanted() {
        return open::provider(|| make_provider(backend, None));
    }
    let class = seed.map(|seed| seed % SEED_CLASSES);
    // Entries are added atomically, so a poisoned lock does no harm.
    let mut providers = PROVIDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = providers.get(&(backend, class)) {
        return Ok(known.clone());
    }
    let made = Arc::new(make_provider(backend, class)?);
    providers.insert((backend, class), made.clone());
    Ok(made)
}

/// Creates a provider whose DTLS part is leaked: at most once for each key of [`PROVIDERS`].
fn make_provider(backend: CryptoBackend, seed: Option<u64>) -> Result<CryptoProvider, CryptoError> {
    match backend {
        #[cfg(feature = "rust-crypto")]
        CryptoBackend::RustCrypto => Ok(CryptoProvider {
            srtp_provider: &rust::RustCrypto,
            sha1_hmac_provider: &rust::RustCrypto,
            sha256_provider: &rust::RustCrypto,
            dtls_provider: Box::leak(Box::new(dtls::SharedDtls {
                provider: dimpl::crypto::rust_crypto::default_provider,
                generate: rust::generate_certificate,
                seed,
                configs: Mutex::default(),
            })),
        }),
        #[cfg(feature = "aws-lc")]
        CryptoBackend::AwsLc => Ok(CryptoProvider {
            dtls_provider: Box::leak(Box::new(dtls::SharedDtls {
                provider: dimpl::crypto::aws_lc_rs::default_provider,
                generate: || {
                    let stock = str0m_aws_lc_rs::default_provider();
                    stock.dtls_provider.generate_certificate()
                },
                seed,
                configs: Mutex::default(),
            })),
            ..str0m_aws_lc_rs::default_provider()
        }),
        #[cfg(feature = "openssl")]
        CryptoBackend::OpenSsl => match seed {
            Some(_) => Err(CryptoError::SeedNotSupported(backend)),
            None => Ok(CryptoProvider {
                dtls_provider: &openssl::OpenSslDtls,
                ..openssl::stock()
            }),
        },
        #[allow(unreachable_patterns, reason = "reached where a feature is off")]
        missing => {
            let _ = seed; // unused without backends
            Err(CryptoError::NotCompiledIn(missing))
        }
    }
}
