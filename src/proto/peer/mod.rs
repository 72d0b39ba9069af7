//! One peer connection.

#[allow(dead_code, unused_imports, reason = "until Peer uses all of it")]
mod crypto;

pub use crypto::{Certificate, CryptoBackend, CryptoError, DtlsVersion};
