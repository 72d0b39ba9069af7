//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): media to a server and from it, by one POST.
//!
//! ```text
//!  client                                            server
//!    │ POST /whip/NAME   offer (application/sdp)        │
//!    ├─────────────────────────────────────────────────▶│
//!    │◀── 201 answer, Location, ETag, Link: ICE servers ┤
//!    │ PATCH Location    candidates, If-Match: ETag     │   (as they are found)
//!    ├─────────────────────────────────────────────────▶│
//!    │◀── 204 ──────────────────────────────────────────┤
//!    │ PATCH Location    new ufrag, pwd, If-Match: *    │   (ICE restart)
//!    ├─────────────────────────────────────────────────▶│
//!    │◀── 200 ufrag, pwd, candidates, ETag ─────────────┤
//!    │ DELETE Location                                  │
//!    ├─────────────────────────────────────────────────▶│
//! ```
//!
//! - [`sdpfrag`]: the body of a PATCH.
//! - [`link`]: ICE servers in `Link` headers.
//!
//! The server is `server::whip`.

pub mod link;
pub mod sdpfrag;
