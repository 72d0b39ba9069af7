//! STUN messages, verified with the crypto backend.

use str0m::ice::StunMessage;

use super::Core;
use crate::proto::ice::stun;

/// A well-formed STUN message. [`Core::verifies`] checks its authenticity.
pub(in super::super) struct Check<'a>(StunMessage<'a>);

impl<'a> Check<'a> {
    /// Parses a message; `None` if it is malformed. A message that begins with MESSAGE-INTEGRITY makes the core's
    /// verification panic (docs/upstream.md), so it counts as malformed.
    pub fn parse(contents: &'a [u8]) -> Option<Self> {
        match StunMessage::parse(contents) {
            Ok(message) if !stun::begins_with_integrity(contents) => Some(Self(message)),
            _ => None,
        }
    }

    /// Returns `true` if this is a message that nominates its pair.
    pub fn nominates_in(contents: &[u8]) -> bool {
        StunMessage::parse(contents).is_ok_and(|m| m.use_candidate())
    }

    /// Returns `true` for a Binding request.
    pub fn is_request(&self) -> bool {
        self.0.is_binding_request()
    }

    /// Returns `true` for a success response to a Binding request.
    pub fn is_success(&self) -> bool {
        self.0.is_successful_binding_response()
    }

    /// Returns `true` if it nominates its candidate pair.
    pub fn nominates(&self) -> bool {
        self.0.use_candidate()
    }
}

impl Core {
    /// Returns `true` if the message is signed with this password.
    pub fn verifies(&self, check: &Check<'_>, password: &str) -> bool {
        let hmac = self.provider.sha1_hmac_provider;
        let sign = |key: &[u8], data: &[&[u8]]| hmac.sha1_hmac(key, data);
        check.0.verify(password.as_bytes(), sign)
    }

    /// Returns the HMAC-SHA1 of STUN's MESSAGE-INTEGRITY.
    pub fn hmac(&self, key: &[u8], data: &[&[u8]]) -> [u8; 20] {
        self.provider.sha1_hmac_provider.sha1_hmac(key, data)
    }
}
