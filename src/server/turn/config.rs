//! What a TURN server is told: who may use it, for what, and how much.

use std::collections::HashMap;
use std::time::Duration;

use super::addresses::PeerPolicy;

use crate::setters::setters;

/// Who may allocate relays (RFC 8489 §9.2, long-term credentials). Without any, the server does STUN only.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Credentials {
    /// Passwords of users, by name.
    pub users: HashMap<String, String>,
    /// The secret shared with a service that gives out time-limited credentials (draft-uberti-behave-turn-rest):
    /// the username is `EXPIRY` or `EXPIRY:NAME`, in seconds since 1970, and the password the base64 of the
    /// HMAC-SHA1 of that username. Relays that exist are not ended when the time is over.
    pub secret: Option<Vec<u8>>,
}

/// The secrets are left out.
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

    /// Whether nobody has any.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.secret.is_none()
    }
}

/// How much is given. All are limits of the whole server unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnLimits {
    /// Allocations at once; above that 508. Default: 4,096.
    pub allocations: usize,
    /// Allocations of one user, by the name in time-limited usernames; above that 486. Default: 64.
    pub per_user: usize,
    /// Allocations of one client address, or of one IPv6 network of 64 bits; above that 486. Default: 64.
    pub per_address: usize,
    /// Permissions of one allocation, and channels as many again; above that 508. Default: 64.
    pub permissions: usize,
    /// Bytes a second that one allocation carries in each direction. What is above it is dropped. A burst of one
    /// second's worth, or of 65,535 bytes if that is more, passes. `None`, the default: no limit.
    pub bytes_per_second: Option<u64>,
    /// How long an allocation lives unless refreshed, when the client does not ask for more. Default: 600 s, as in
    /// RFC 8656 §3.2.
    pub lifetime: Duration,
    /// How much of it a client can ask for at once. Default: 3,600 s.
    pub max_lifetime: Duration,
    /// How long a nonce is good for; after that 438 brings the next. Default: 1 h (RFC 8656 §5).
    pub nonce_lifetime: Duration,
    /// Bytes that an address which has proved nothing gets at once by UDP, on top of as many as it sends itself;
    /// a quarter of it comes again each second. It bounds what can be sent to a forged address. Default:
    /// 16,384, which is over 80 new clients behind one address, and 20 more each second.
    pub courtesy: u32,
    /// Messages that wait to be sent; what comes on top is dropped. Default: 4,096.
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

/// What a [`TurnMachine`](super::TurnMachine) needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnMachineConfig {
    /// The realm of the credentials: shown to clients, and part of how they sign. Default: `looprtc`.
    pub realm: String,
    /// Who may allocate.
    pub credentials: Credentials,
    /// To where it relays.
    pub peers: PeerPolicy,
    /// How much is given.
    pub limits: TurnLimits,
    /// Makes the secret behind the nonces, so that a run can be replayed. `None`, the default: it is random.
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
