//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): publishing to a server and playing from it, with one POST.
//!
//! ```text
//!  client                                            server
//!    │ POST /whip/NAME   offer (application/sdp)        │
//!    ├─────────────────────────────────────────────────▶│
//!    │◀── 201 answer, Location, ETag, Link: ICE servers ┤
//!    │ PATCH Location    candidates, If-Match: ETag     │   (as they are gathered)
//!    ├─────────────────────────────────────────────────▶│
//!    │◀── 204 ──────────────────────────────────────────┤
//!    │ PATCH Location    new ufrag, pwd, If-Match: *    │   (ICE restart)
//!    ├─────────────────────────────────────────────────▶│
//!    │◀── 200 ufrag, pwd, candidates, ETag ─────────────┤
//!    │ DELETE Location                                  │
//!    ├─────────────────────────────────────────────────▶│
//! ```
//!
//! - [`WhipClient`]: the client, combined with a peer.
//! - `sdpfrag`: the body of a PATCH.
//! - `link`: ICE servers in `Link` headers.
//!
//! The server is `server::whip`.

mod agent;
mod client;
mod config;
mod error;
mod exchange;
pub(crate) mod link;
pub(crate) mod sdpfrag;
mod url;

pub use self::client::{WhipClient, WhipEvent};
pub use self::config::WhipClientConfig;
pub use self::error::WhipError;
pub use self::url::{Url, UrlError};
