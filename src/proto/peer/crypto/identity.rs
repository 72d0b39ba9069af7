//! Identity of the remote peer: its certificate, and the fingerprints in its description (RFC 8122 §5).
//!
//! The core supports SHA-256 and one fingerprint. Its own check is therefore off, and `Peer` performs it: DTLS records
//! the received certificate here ([`note`]), the core reports its SHA-256, and by that the other hashes are found.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::proto::sdp::Fingerprint;

/// Maximum number of certificates remembered, over all peers. Each is looked up in the same call in which it was
/// received.
const MAX_SEEN: usize = 256;

static SEEN: Mutex<VecDeque<Identity>> = Mutex::new(VecDeque::new());

/// The hashes of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    sha_256: [u8; 32],
    sha_384: [u8; 48],
    sha_512: [u8; 64],
}

impl Identity {
    /// Returns the identity of a certificate in DER.
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self {
            sha_256: Sha256::digest(certificate).into(),
            sha_384: Sha384::digest(certificate).into(),
            sha_512: Sha512::digest(certificate).into(),
        }
    }

    /// Returns the identity with this SHA-256, if its certificate was received.
    pub(crate) fn seen(sha_256: &[u8]) -> Option<Self> {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|i| i.sha_256 == sha_256).cloned()
    }

    /// Returns `true` if one of the fingerprints is that of this certificate.
    pub(crate) fn matches(&self, fingerprints: &[Fingerprint]) -> bool {
        fingerprints.iter().any(|fingerprint| match fingerprint {
            Fingerprint::Sha256(hash) => *hash == self.sha_256,
            Fingerprint::Sha384(hash) => *hash == self.sha_384,
            Fingerprint::Sha512(hash) => *hash == self.sha_512,
        })
    }
}

/// Records a certificate received by DTLS.
#[cfg_attr(
    not(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl")),
    allow(dead_code)
)]
pub(super) fn note(certificate: &[u8]) {
    let identity = Identity::of(certificate);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.retain(|known| *known != identity);
    seen.truncate(MAX_SEEN - 1);
    seen.push_front(identity);
}
