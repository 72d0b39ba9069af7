//! RTSP cameras (RFC 2326, as cameras speak it).
//!
//! An [`RtspClient`] is a session with one camera: it connects to an [`RtspUrl`], authenticates, sets up what the camera
//! [describes](Described), and gives out RTP packets. Like all machines of [`proto`](crate::proto) it owns no sockets:
//!
//! ```text
//!   TCP, UDP ─► handle_input(Input) ─► RtspClient ─► poll_output() ─► Output: connect, send, sockets, RtspEvent, timeout
//! ```
//!
//! A [`Camera`] is such a session with everything behind it: packets in order, whole frames of all tracks, one time for all.
//! It has the same inputs, and its outputs are [`CameraOutput`]s.
//!
//! [`Talk`] is a session for the camera's loudspeaker.
//!
//! Cameras follow the specifications loosely. What is tolerated has names and numbers ([`Quirk`]), and is counted.

mod auth;
mod camera;
mod client;
mod config;
mod contract;
mod control;
mod described;
mod error;
mod message;
mod quirk;
mod secret;
mod talk;
mod url;

#[cfg(feature = "testing")]
pub(crate) use auth::{Authenticator, parse_challenges};
pub use camera::{
    Camera, CameraConfig, CameraEvent, CameraFrame, CameraOutput, CameraTrack, CameraTrackStats,
};
pub use client::RtspClient;
pub use config::{RtspClientConfig, RtspLimits, RtspTiming};
pub use contract::{Direction, Input, MulticastGroup, Output, RtspEvent, Transport};
pub use described::{Described, DescribedError, DescribedStream, MAX_DESCRIPTION, StreamDirection};
pub use error::{Disconnected, RtspError};
#[cfg(feature = "testing")]
pub(crate) use message::{Item, Reader};
pub use quirk::{Quirk, Quirks};
pub use secret::Secret;
#[cfg(feature = "onvif")]
pub(crate) use secret::redacted;
pub use talk::{Talk, TalkOutput};
pub use url::{Credentials, MAX_URL, RtspUrl, UrlError};
