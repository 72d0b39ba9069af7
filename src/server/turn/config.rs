//! Configuration of a TURN server: credentials, peer policy, limits.

use std::collections::HashMap;
use std::time::Duration;

use super::addresses::PeerPolicy;

use crate::setters::setters;

/// Credentials for allocations (RFC 8489 §9.2, long-term credentials). Without any, the server answers STUN only.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Credentials {
    /// Passwords by user name.
    pub users: HashMap<String, String>,
    /// Secret shared with a service that issues time-limited credentials (draft-uberti-behave-turn-rest): the username
    /// is `EXPIRY` or `EXPIRY:NAME`, with EXPIRY in seconds since 1970, and the password is the base64 of the
    /// username's HMAC-SHA1. Existing allocations do not end when the credential expires.
    pub secret: Option<Vec<u8>>,
}

/// Omits the secrets.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("users", &self.users.len())
            .field("secret", &self.secret.is_some())
            .finish()
    }
}

impl Credentials {
    /// Adds a user.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.insert(name.into(), password.into());
        self
    }

    /// Sets [`secret`](Self::secret).
    #[must_use]
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Returns `true` if there are no credentials.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.secret.is_none()
    }
}

/// Limits of the server. They apply to the whole server unless stated otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnLimits {
    /// Maximum number of allocations; beyond it 508 is returned. Default: 4,096.
    pub allocations: usize,
    /// Maximum number of allocations per user (the name in time-limited usernames); beyond it 486 is returned. Default:
    /// 64.
    pub per_user: usize,
    /// Maximum number of allocations per client address, or per IPv6 /64 network; beyond it 486 is returned. Default:
    /// 64.
    pub per_address: usize,
    /// Maximum number of permissions per allocation, and of channels; beyond it 508 is returned. Default: 64.
    pub permissions: usize,
    /// Maximum bandwidth of an allocation in each direction, in bytes per second; packets beyond it are dropped. A
    /// burst of one second's worth, but at least 65,535 bytes, passes. `None`, the default, means no limit.
    pub bytes_per_second: Option<u64>,
    /// Lifetime of an allocation if the client does not request more. Default: 600 s (RFC 8656 §3.2).
    pub lifetime: Duration,
    /// Maximum lifetime that a client can request at once. Default: 3,600 s.
    pub max_lifetime: Duration,
    /// Lifetime of a nonce; an expired one is answered with 438 and a new one. Default: 1 h (RFC 8656 §5).
    pub nonce_lifetime: Duration,
    /// Number of bytes that are sent at once to an unauthenticated UDP address in addition to the number received from
    /// it; a quarter of it is restored each second. Limits reflection to forged addresses. Default: 16,384, which is
    /// over 80 new clients behind one address, and 20 more each second.
    pub courtesy: u32,
    /// Maximum number of queued messages; further ones are dropped. Default: 4,096.
    pub queue: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            allocations: 4096,
            per_user: 64,
            per_address: 64,
            permissions: 64,
            bytes_per_second: None,
            lifetime: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(3600),
            nonce_lifetime: Duration::from_secs(3600),
            courtesy: 16_384,
            queue: 4096,
        }
    }
}

impl TurnLimits {
    setters! {
        allocations: usize,
        per_user: usize,
        per_address: usize,
        permissions: usize,
        bytes_per_second: Option<u64>,
        lifetime: Duration,
        max_lifetime: Duration,
        nonce_lifetime: Duration,
        courtesy: u32,
        queue: usize,
    }
}

/// Configuration of a [`TurnMachine`](super::TurnMachine).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnMachineConfig {
    /// Realm of the credentials, shown to clients and part of their signature. Default: `looprtc`.
    pub realm: String,
    /// Credentials for allocations.
    pub credentials: Credentials,
    /// Policy for peer addresses.
    pub peers: PeerPolicy,
    /// Limits of the server.
    pub limits: TurnLimits,
    /// Seed for the nonce secret, for repeatable tests. `None`, the default, uses a random secret.
    pub seed: Option<u64>,
}

impl Default for TurnMachineConfig {
    fn default() -> Self {
        Self {
            realm: "looprtc".into(),
            credentials: Credentials::default(),
            peers: PeerPolicy::default(),
            limits: TurnLimits::default(),
            seed: None,
        }
    }
}

impl TurnMachineConfig {
    setters! {
        credentials: Credentials,
        peers: PeerPolicy,
        limits: TurnLimits,
        seed: Option<u64>,
    }

    /// Sets [`realm`](Self::realm).
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }
}
