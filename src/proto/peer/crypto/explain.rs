//! What a DTLS failure means.

use str0m::RtcError;
use super::CryptoBackend;

pub(crate) fn explain_dtls_error(_error: &RtcError, _backend: CryptoBackend) -> Option<String> {
    None
}
