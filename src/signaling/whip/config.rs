//! Configuration of a [`WhipClient`](super::WhipClient).

use std::fmt;
use std::time::Duration;

use crate::setters::setters;

/// Configuration of a [`WhipClient`](super::WhipClient).
#[derive(Clone)]
#[non_exhaustive]
pub struct WhipClientConfig {
    /// The endpoint to publish to (WHIP) or to play from (WHEP): an `http` or `https` URL.
    pub url: String,
    /// Sent as `Authorization: Bearer …`, only to the origin of the URL and to those in
    /// [`other_origins`](Self::other_origins). None by default. Omitted from `Debug` output.
    pub token: Option<String>,
    /// Further origins that the server may redirect to, and that session URLs may be at, such as
    /// `https://edge.example.net`. None by default, so that a response cannot direct requests elsewhere.
    pub other_origins: Vec<String>,
    /// Trusted certificate authorities for `https`, in PEM. `None`, the default, uses the system's.
    pub authorities: Option<Vec<u8>>,
    /// Uses the STUN and TURN servers that the server offers (`Link`). On by default.
    pub use_offered_servers: bool,
    /// Maximum number of redirections followed. Default: 5.
    pub max_redirects: u32,
    /// Maximum time to gather candidates before the offer is sent; later candidates are sent by PATCH. Default: 1 s.
    pub gather_deadline: Duration,
    /// Time for which candidates are collected into one PATCH. Default: 20 ms.
    pub trickle_pause: Duration,
    /// Time limit of one exchange, including the connection. Default: 15 s.
    pub exchange_deadline: Duration,
    /// Pause after the first attempt that failed because the server is not up or at its limit; doubles with each
    /// further one, and is at least the server's `Retry-After`. Default: 500 ms.
    pub first_pause: Duration,
    /// Maximum pause, unless the server requests a longer one. Default: 10 s.
    pub longest_pause: Duration,
    /// Time for which such attempts are repeated. Default: 0, which reports the first failure.
    pub give_up_after: Duration,
}

impl WhipClientConfig {
    /// Creates the default configuration for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            other_origins: Vec::new(),
            authorities: None,
            use_offered_servers: true,
            max_redirects: 5,
            gather_deadline: Duration::from_secs(1),
            trickle_pause: Duration::from_millis(20),
            exchange_deadline: Duration::from_secs(15),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
            give_up_after: Duration::ZERO,
        }
    }
}

impl WhipClientConfig {
    setters! {
        token: Option<String>,
        other_origins: Vec<String>,
        authorities: Option<Vec<u8>>,
        use_offered_servers: bool,
        max_redirects: u32,
        gather_deadline: Duration,
        trickle_pause: Duration,
        exchange_deadline: Duration,
        first_pause: Duration,
        longest_pause: Duration,
        give_up_after: Duration,
    }
}

/// Omits the token.
impl fmt::Debug for WhipClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhipClientConfig")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("other_origins", &self.other_origins)
            .finish_non_exhaustive()
    }
}
