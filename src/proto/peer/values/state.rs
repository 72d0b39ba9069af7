//! The four states of a peer connection (W3C WebRTC §4.3).

use std::fmt;

macro_rules! named_states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl fmt::Display for $name {
            /// Formats the state with its W3C name.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    )*};
}

named_states! {
    /// State of offer and answer (W3C §4.3.1).
    SignalingState {
        /// No offer is pending.
        Stable = "stable",
        /// Our offer is not answered yet.
        HaveLocalOffer = "have-local-offer",
        /// The remote offer is not answered yet.
        HaveRemoteOffer = "have-remote-offer",
        /// The peer is closed.
        Closed = "closed",
    }
    /// State of candidate gathering (W3C §4.3.2).
    IceGatheringState {
        /// Not started.
        New = "new",
        /// In progress.
        Gathering = "gathering",
        /// Complete, for this generation.
        Complete = "complete",
    }
    /// State of the search for a path (W3C §4.3.4).
    IceConnectionState {
        /// The two descriptions are not both set yet.
        New = "new",
        /// Searching for a path.
        Checking = "checking",
        /// A path works.
        Connected = "connected",
        /// A path works, and no others are being tested.
        Completed = "completed",
        /// The path has become silent; it may recover.
        Disconnected = "disconnected",
        /// There is no path; only an ICE restart can help.
        Failed = "failed",
        /// The peer is closed.
        Closed = "closed",
    }
    /// Combined state of ICE and DTLS (W3C §4.3.3).
    ConnectionState {
        /// Not started.
        New = "new",
        /// Searching for a path, or handshake in progress.
        Connecting = "connecting",
        /// Ready for data.
        Connected = "connected",
        /// The path has become silent; it may recover.
        Disconnected = "disconnected",
        /// Lost; only an ICE restart can help, and not after a failed handshake.
        Failed = "failed",
        /// The peer is closed; all resources are freed.
        Closed = "closed",
    }
}
