//! Cryptography of a peer: backend, certificate, DTLS version.
//!
//! `str0m`'s own providers build a DTLS configuration for every connection, and verify the whole provider each time.
//! Here that is done once ([`provider`]); docs/crypto.md has figures.

mod backend;
mod certificate;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod dtls;
// Called by the backends, of which the core alone has none.
#[cfg_attr(
    not(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl")),
    allow(dead_code)
)]
pub(super) mod empty;
mod explain;
mod identity;
#[cfg_attr(
    not(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl")),
    allow(dead_code)
)]
pub(super) mod joined;
#[cfg(all(
    any(feature = "rust-crypto", feature = "aws-lc"),
    any(test, feature = "testing")
))]
pub(crate) mod open;
#[cfg(feature = "openssl")]
mod openssl;
mod provider;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod refusal;
#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
mod rules;
#[cfg(feature = "rust-crypto")]
mod rust;
mod srtp;
#[cfg(feature = "rust-crypto")]
mod x509;

pub use backend::{CryptoBackend, CryptoError, DtlsVersion};
pub use certificate::Certificate;
pub(crate) use explain::explain_dtls_error;
pub(crate) use identity::Identity;
pub(crate) use provider::provider;
pub(crate) use srtp::{ExportedKeys, Srtcp, Srtp};
/// The algorithms of a backend; other parts of the peer only pass it on.
pub(crate) use str0m::crypto::CryptoProvider;

#[cfg(test)]
mod tests;
