//! The cryptographic library, the DTLS version, and errors about the choice of them.

use std::fmt;
use std::str::FromStr;

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
    pub(super) const ALL: [CryptoBackend; 3] = [Self::AwsLc, Self::RustCrypto, Self::OpenSsl];

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
