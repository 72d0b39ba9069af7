//! What a [`WhipClient`](super::WhipClient) is told.

use std::fmt;
use std::time::Duration;

use crate::setters::setters;

/// Configuration of a [`WhipClient`](super::WhipClient).
#[derive(Clone)]
#[non_exhaustive]
pub struct WhipClientConfig {
    /// Where to publish (WHIP) or to watch (WHEP): an `http` or `https` URL.
    pub url: String,
    /// Shown as `Authorization: Bearer …`, to that URL's origin and those of [`other_origins`](Self::other_origins)
    /// only. None by default. Not shown by `Debug`.
    pub token: Option<String>,
    /// Origins besides the URL's own that the server may send us on to, and that sessions may be at, as
    /// `https://edge.example.net`. None by default: an answer must not make us ask somewhere else.
    pub other_origins: Vec<String>,
    /// Whom to trust with `https`: certificates in PEM. `None`, the default, takes the system's authorities.
    pub authorities: Option<Vec<u8>>,
    /// Whether STUN and TURN servers that the server names (`Link`) are used. On by default.
    pub use_offered_servers: bool,
    /// Redirections followed. 5.
    pub max_redirects: u32,
    /// How long the offer waits for candidates; what is found later is sent by PATCH. 1 s.
    pub gather_deadline: Duration,
    /// How long candidates are collected for one PATCH. 20 ms.
    pub trickle_pause: Duration,
    /// How long one exchange may take, connecting included. 15 s.
    pub exchange_deadline: Duration,
    /// The pause after the first attempt that failed because the server is not up or has no room; each further
    /// one is twice as long, and as long as the server wishes (`Retry-After`). 500 ms.
    pub first_pause: Duration,
    /// The longest pause that is not the server's wish. 10 s.
    pub longest_pause: Duration,
    /// How long such attempts go on. 0 by default: the first failure is told.
    pub give_up_after: Duration,
}

impl WhipClientConfig {
    /// The defaults, for this URL.
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

/// The token is left out.
impl fmt::Debug for WhipClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhipClientConfig")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("other_origins", &self.other_origins)
            .finish_non_exhaustive()
    }
}
