//! What goes into a peer, and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::PeerEvent;
use crate::proto::ice::{BindingReply, BindingRequest};
use crate::proto::net::{NetworkChange, Received, SocketId, SocketReply, SocketRequest, Transmit};

/// What a peer is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram has come.
    Receive {
        /// When.
        now: Instant,
        /// What.
        received: Received<'a>,
    },
    /// The time of the last [`Output::Timeout`] has come. Always allowed, also early.
    Timeout(Instant),
    /// The answer to [`Output::OpenSocket`].
    Socket {
        /// When.
        now: Instant,
        /// Which request is answered.
        id: SocketId,
        /// How.
        reply: SocketReply,
    },
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// When.
        now: Instant,
        /// Which name.
        host: &'a str,
        /// Its addresses, or why there are none.
        result: Result<Vec<IpAddr>, String>,
    },
    /// The answer to [`Output::Bind`].
    Binding {
        /// When.
        now: Instant,
        /// Which request is answered.
        request: BindingRequest,
        /// How.
        reply: BindingReply,
    },
    /// An ICE-TCP stream that the other side opened is gone. (Of those that [`Output::OpenSocket`] asked for,
    /// [`SocketReply::Failed`] says so.)
    StreamLost {
        /// When.
        now: Instant,
        /// Our end.
        local: SocketAddr,
        /// Theirs.
        remote: SocketAddr,
    },
    /// Interfaces, addresses or routes of this machine have changed, or it was asleep. Candidates are
    /// gathered anew where that is necessary, and ICE is restarted if the path may have been hit
    /// ([`PeerConfig::restart_on_network_change`](super::PeerConfig::restart_on_network_change)).
    NetworkChanged {
        /// When.
        now: Instant,
        /// How.
        change: NetworkChange<'a>,
    },
}

/// What a peer wants. Poll until [`Output::Timeout`].
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Open a socket and answer with [`Input::Socket`].
    OpenSocket(SocketRequest),
    /// This socket is not needed any more.
    CloseSocket(SocketId),
    /// Look up the addresses of this host and answer with [`Input::Resolved`]. Names that end in `.local`
    /// are for multicast DNS ([`Mdns`](crate::proto::ice::Mdns)).
    Resolve(String),
    /// Answer for this name by multicast DNS, as long as the peer lives: pass it on to the
    /// [`Mdns`](crate::proto::ice::Mdns) of the loop.
    Publish(String, IpAddr),
    /// Ask a STUN server and answer with [`Input::Binding`]: pass it on to the
    /// [`Bindings`](crate::proto::ice::Bindings) of the sockets.
    Bind(BindingRequest),
    /// How datagrams find this peer has changed.
    Route(Route),
    /// For the application.
    Event(PeerEvent),
    /// Drained. Give [`Input::Timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// How datagrams on a shared port find their peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// STUN requests for this local ufrag are for this peer.
    Ufrag(String),
    /// No longer: the generation is gone by.
    DropUfrag(String),
    /// All that comes from this remote address is for this peer: it has proved itself.
    Address(SocketAddr),
    /// No longer.
    DropAddress(SocketAddr),
    /// The ICE-TCP stream with these ends, ours and theirs, has proved itself.
    Stream(SocketAddr, SocketAddr),
}
