//! Input and output of a peer.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::values::PeerEvent;
use crate::proto::ice::{BindingReply, BindingRequest};
use crate::proto::net::{NetworkChange, Received, SocketId, SocketReply, SocketRequest, Transmit};

/// Input of [`Peer::handle_input`](super::Peer::handle_input).
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A datagram arrived.
    Receive {
        /// The current time.
        now: Instant,
        /// The datagram.
        received: Received<'a>,
    },
    /// The time of the last [`Output::Timeout`] has come. May be passed at any time, also earlier.
    Timeout(Instant),
    /// The reply to [`Output::OpenSocket`].
    Socket {
        /// The current time.
        now: Instant,
        /// The id of the request.
        id: SocketId,
        /// The result.
        reply: SocketReply,
    },
    /// The reply to [`Output::Resolve`].
    Resolved {
        /// The current time.
        now: Instant,
        /// The host name of the request.
        host: &'a str,
        /// The addresses of the host, or an error message.
        result: Result<Vec<IpAddr>, String>,
    },
    /// The reply to [`Output::RequestBinding`].
    Binding {
        /// The current time.
        now: Instant,
        /// The request.
        request: BindingRequest,
        /// The result.
        reply: BindingReply,
    },
    /// An ICE-TCP stream opened by the remote peer was closed. (For those requested by [`Output::OpenSocket`],
    /// [`SocketReply::Failed`] reports it.)
    StreamLost {
        /// The current time.
        now: Instant,
        /// The local address of the stream.
        local: SocketAddr,
        /// The remote address of the stream.
        remote: SocketAddr,
    },
    /// Interfaces, addresses or routes of this machine have changed, or it was suspended. Candidates are gathered again
    /// if necessary, and ICE is restarted if the path may be affected
    /// ([`PeerConfig::restart_on_network_change`](super::PeerConfig::restart_on_network_change)).
    NetworkChanged {
        /// The current time.
        now: Instant,
        /// The change.
        change: NetworkChange<'a>,
    },
}

impl Input<'_> {
    /// Returns the time that it says it is.
    pub(super) fn time(&self) -> Instant {
        match self {
            Self::Receive { now, .. }
            | Self::Timeout(now)
            | Self::Socket { now, .. }
            | Self::Resolved { now, .. }
            | Self::Binding { now, .. }
            | Self::StreamLost { now, .. }
            | Self::NetworkChanged { now, .. } => *now,
        }
    }
}

/// Output of [`Peer::poll_output`](super::Peer::poll_output). Poll until [`Output::Timeout`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Open a socket and reply with [`Input::Socket`].
    OpenSocket(SocketRequest),
    /// Close this socket.
    CloseSocket(SocketId),
    /// Resolve this host name and reply with [`Input::Resolved`]. Names that end in `.local` are resolved by multicast
    /// DNS ([`Mdns`](crate::proto::ice::Mdns)).
    Resolve(String),
    /// Publish this name by multicast DNS while the peer exists: pass it to the [`Mdns`](crate::proto::ice::Mdns) of
    /// the loop.
    Publish(String, IpAddr),
    /// Request a STUN binding and reply with [`Input::Binding`]: pass it to the
    /// [`Bindings`](crate::proto::ice::Bindings) of the sockets.
    RequestBinding(BindingRequest),
    /// The routing of datagrams to this peer has changed.
    Route(Route),
    /// An event for the application.
    Event(PeerEvent),
    /// No more output. Pass [`Input::Timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// A change in the routing of datagrams on a shared port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// Route STUN requests for this local ufrag to this peer.
    Ufrag(String),
    /// Stop routing this ufrag: its generation is over.
    DropUfrag(String),
    /// Route everything from this remote address to this peer: it has been validated.
    Address(SocketAddr),
    /// Stop routing this address.
    DropAddress(SocketAddr),
    /// The ICE-TCP stream with this local and remote address has been validated.
    Stream(SocketAddr, SocketAddr),
}
