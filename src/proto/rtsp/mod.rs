//! RTSP cameras (RFC 2326, as cameras speak it).
//!
//! An [`RtspUrl`] is the address of a camera's stream, and an [`RtspClientConfig`] the settings of a session with it.
//! [`Input`], [`Output`] and [`RtspEvent`] are the contract between the client and its driver. A [`Described`] is what a camera
//! says of its streams. What cameras get wrong and is tolerated has names and numbers: [`Quirk`].

mod config;
mod contract;
mod described;
mod error;
mod quirk;
mod secret;
mod url;

pub use config::{RtspClientConfig, RtspLimits, RtspTiming};
pub use contract::{Direction, Input, MulticastGroup, Output, RtspEvent, Transport};
pub use described::{Described, DescribedError, DescribedStream, MAX_DESCRIPTION, StreamDirection};
pub use error::{Disconnected, RtspError};
pub use quirk::{Quirk, Quirks};
pub use secret::Secret;
pub use url::{Credentials, MAX_URL, RtspUrl, UrlError};
