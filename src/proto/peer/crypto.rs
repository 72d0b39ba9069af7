//! Cryptography of a peer: backend, certificate, DTLS version.
//!
//! `str0m`'s own providers build a DTLS configuration for every connection, and verify the whole provider each time.
//! Here that is done once ([`provider`]); docs/crypto.md has figures.

mod certificate;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod dtls;
mod explain;
mod identity;
#[cfg(all(
    any(feature = "rust-crypto", feature = "aws-lc"),
    any(test, feature = "testing")
))]
pub(crate) mod open;
#[cfg(feature = "openssl")]
mod openssl;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod refusal;
#[cfg(feature = "rust-crypto")]
mod rust;
mod srtp;
#[cfg(feature = "rust-crypto")]
mod x509;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use str0m::crypto::CryptoProvider;

pub use certificate::Certificate;
pub(crate) use explain::explain_dtls_error;
pub(crate) use identity::Identity;
pub(crate) use srtp::{ExportedKeys, Srtcp, Srtp};

/// A cryptographic library.
///
/// Every variant exists in every build; [`CryptoBackend::available`] returns those that were compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CryptoBackend {
    /// Pure Rust (cargo feature `rust-crypto`): needs no C compiler, builds for every target.
    RustCrypto,
    /// AWS-LC (cargo feature `aws-lc`): the fastest; built from C and assembly.
    AwsLc,
    /// The system's OpenSSL with its own DTLS (cargo feature `openssl`). The only backend that can connect to peers
    /// with RSA certificates. DTLS 1.2 only; reads the clock by itself.
    OpenSsl,
}

impl CryptoBackend {
    /// All backends, in order of preference.
    const ALL: [CryptoBackend; 3] = [Self::AwsLc, Self::RustCrypto, Self::OpenSsl];

    /// Returns the backends that are compiled in, in order of preference.
    pub fn available() -> Vec<CryptoBackend> {
        let mut all = Self::ALL.to_vec();
        all.retain(|backend| backend.is_available());
        all
    }

    /// Returns the preferred backend; `None` in a build without any.
    pub fn default_backend() -> Option<CryptoBackend> {
        Self::ALL.into_iter().find(|backend| backend.is_available())
    }

    /// Returns `true` if this backend is compiled in.
    pub fn is_available(self) -> bool {
        match self {
            Self::RustCrypto => cfg!(feature = "rust-crypto"),
            Self::AwsLc => cfg!(feature = "aws-lc"),
            Self::OpenSsl => cfg!(feature = "openssl"),
        }
    }

    /// Returns `true` if the backend supports this DTLS version, whether or not it is compiled in.
    pub fn supports(self, version: DtlsVersion) -> bool {
        self != Self::OpenSsl || version == DtlsVersion::V1_2
    }

    /// Refuses a version that the backend does not support. Called before an `Rtc` is built, because `str0m` would
    /// panic.
    pub(crate) fn check_version(self, version: DtlsVersion) -> Result<(), CryptoError> {
        if self.supports(version) {
            Ok(())
        } else {
            Err(CryptoError::VersionNotSupported {
                backend: self,
                version,
            })
        }
    }

    /// Returns the name of the backend's cargo feature, which [`FromStr`] accepts.
    pub fn name(self) -> &'static str {
        match self {
            Self::RustCrypto => "rust-crypto",
            Self::AwsLc => "aws-lc",
            Self::OpenSsl => "openssl",
        }
    }
}

impl fmt::Display for CryptoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CryptoBackend {
    type Err = CryptoError;

    /// Parses a name returned by [`CryptoBackend::name`].
    fn from_str(name: &str) -> Result<Self, CryptoError> {
        Self::ALL
            .into_iter()
            .find(|backend| backend.name() == name)
            .ok_or_else(|| CryptoError::UnknownBackend(name.chars().take(40).collect()))
    }
}

/// DTLS version to negotiate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DtlsVersion {
    /// DTLS 1.2 (RFC 6347), which every WebRTC peer supports.
    #[default]
    V1_2,
    /// DTLS 1.3 (RFC 9147) only: saves a round trip.
    V1_3,
    /// DTLS 1.3 if the remote peer supports it, otherwise 1.2.
    Auto,
}

impl From<DtlsVersion> for str0m::config::DtlsVersion {
    fn from(version: DtlsVersion) -> Self {
        match version {
            DtlsVersion::V1_2 => Self::Dtls12,
            DtlsVersion::V1_3 => Self::Dtls13,
            DtlsVersion::Auto => Self::Auto,
        }
    }
}

impl fmt::Display for DtlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "DTLS 1.2",
            Self::V1_3 => "DTLS 1.3",
            Self::Auto => "DTLS 1.2 or 1.3",
        })
    }
}

/// Error in the choice of a backend, or in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CryptoError {
    /// The backend is not in this build.
    NotCompiledIn(CryptoBackend),
    /// There is no backend with this name.
    UnknownBackend(String),
    /// The backend's randomness cannot be seeded, so its runs are not repeatable.
    SeedNotSupported(CryptoBackend),
    /// The backend does not support this DTLS version.
    VersionNotSupported {
        /// The backend.
        backend: CryptoBackend,
        /// The unsupported version.
        version: DtlsVersion,
    },
    /// The backend could not create a certificate.
    CertificateGeneration(CryptoBackend),
    /// The backend cannot use this certificate or its key.
    CertificateNotUsable {
        /// The backend.
        backend: CryptoBackend,
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCompiledIn(backend) => {
                write!(
                    f,
                    "the crypto backend {backend} is not compiled in: build looprtc with the \
                     cargo feature `{backend}`, or use one that is here ({})",
                    names(&CryptoBackend::available())
                )
            }
            Self::UnknownBackend(name) => write!(
                f,
                "there is no crypto backend {name:?}: say one of {}",
                names(&CryptoBackend::ALL)
            ),
            Self::SeedNotSupported(backend) => write!(
                f,
                "the crypto backend {backend} takes no seed: simulate with rust-crypto or aws-lc"
            ),
            Self::VersionNotSupported { backend, version } => write!(
                f,
                "the crypto backend {backend} does not speak {version}: ask for DTLS 1.2, or use \
                 rust-crypto or aws-lc"
            ),
            Self::CertificateGeneration(backend) => {
                write!(
                    f,
                    "the crypto backend {backend} could not make a certificate"
                )
            }
            Self::CertificateNotUsable { backend, reason } => write!(
                f,
                "the crypto backend {backend} cannot use this certificate: {reason}"
            ),
        }
    }
}

impl std::error::Error for CryptoError {}

fn names(backends: &[CryptoBackend]) -> String {
    if backends.is_empty() {
        return "none".into();
    }
    let names: Vec<_> = backends.iter().map(|backend| backend.name()).collect();
    names.join(", ")
}

/// Number of classes that seeds are mapped to. `str0m` keeps its providers forever (`&'static`), so their number must
/// be limited; each also takes some milliseconds when it is first used.
const SEED_CLASSES: u64 = 64;

/// Providers created so far, by backend and class of seed; at most 3 * (1 + [`SEED_CLASSES`]).
static PROVIDERS: Mutex<Providers> = Mutex::new(BTreeMap::new());

type Providers = BTreeMap<(CryptoBackend, Option<u64>), Arc<CryptoProvider>>;

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

#[cfg(test)]
mod tests;
