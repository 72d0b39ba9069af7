//! One peer connection.

mod crypto;

pub use crypto::{Certificate, CryptoBackend, CryptoError, DtlsVersion};
