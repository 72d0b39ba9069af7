//! Statistics of schedules, to ensure that simulations exercise what they should.

use super::step::Step;
use crate::proto::peer::{ConnectionState, PeerEvent};

/// Statistics of one schedule, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Number of schedules.
    pub schedules: u64,
    /// Number of steps taken.
    pub steps: u64,
    /// Number of steps of each kind, in the order of their names.
    pub(super) kinds: Counts<{ Step::NAMES.len() }>,
    /// Number of events of the peers, in the order of [`EVENTS`].
    pub(super) events: Counts<{ EVENTS.len() }>,
    /// Number of schedules in which both peers of the first pair were connected at some time.
    pub connected: u64,
    /// Number of schedules in which a connection used a relay.
    pub relayed: u64,
    /// Number of schedules in which a connected peer was behind a NAT.
    pub behind_nat: u64,
    /// Number of ICE restarts, over all peers.
    pub restarts: u64,
    /// Number of schedules in which a peer was closed before the end.
    pub closed: u64,
    /// Number of messages received on channels.
    pub messages: u64,
    /// Number of frames received.
    pub frames: u64,
    /// Number of RTP packets received.
    pub packets: u64,
    /// Number of frames and packets that belonged to a layer.
    pub layers: u64,
    /// Number of schedules in which both peers of the first pair were connected by ICE-TCP.
    pub by_tcp: u64,
    /// Number of schedules in which one of the connected peers was ICE-lite.
    pub lite: u64,
    /// Number of suspends after which two peers reconnected.
    pub woken: u64,
    /// Number of messages, frames and packets forwarded between the pairs and received.
    pub forwarded: u64,
    /// Number of forged datagrams.
    pub forged: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Number of steps of the simulation: datagrams, signaling, timeouts.
    pub simulation_steps: u64,
    /// Maximum number of bytes held by the simulation itself.
    pub held: u64,
    /// Number of peers.
    pub peers: u64,
    /// Number of media streams written; layers are counted separately.
    pub streams: u64,
    /// Number of bytes of frames and packets written.
    pub media_bytes: u64,
    /// Maximum number of bytes that all peers may have waiting to be sent.
    pub send_buffers: u64,
}

/// A counter for each of `N` kinds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Counts<const N: usize>(pub [u64; N]);

/// Formats the sum; `Report::counts` has the single counters.
impl<const N: usize> std::fmt::Debug for Counts<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().sum::<u64>().fmt(f)
    }
}

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// Declares the kinds of events that are counted.
macro_rules! events {
    ($($pattern:pat => $name:literal,)*) => {
        const EVENTS: &[&str] = &[$($name,)*];

        /// Returns the index of an event in `EVENTS`.
        fn kind_of(event: &PeerEvent) -> Option<usize> {
            let name = match event {
                $($pattern => $name,)*
                _ => return None,
            };
            EVENTS.iter().position(|n| *n == name)
        }
    };
}

events! {
    PeerEvent::NegotiationNeeded => "NegotiationNeeded",
    PeerEvent::IceCandidate(_) => "IceCandidate",
    PeerEvent::IceCandidateError(_) => "IceCandidateError",
    PeerEvent::ConnectionStateChange(ConnectionState::Disconnected) => "disconnected",
    PeerEvent::ConnectionStateChange(ConnectionState::Failed) => "failed",
    PeerEvent::ConnectionStateChange(ConnectionState::Closed) => "closed",
    PeerEvent::DataChannel(_) => "DataChannel",
    PeerEvent::ChannelOpen(_) => "ChannelOpen",
    PeerEvent::ChannelMessage { .. } => "ChannelMessage",
    PeerEvent::ChannelBufferedAmountLow(_) => "ChannelBufferedAmountLow",
    PeerEvent::ChannelClosed(_) => "ChannelClosed",
    PeerEvent::Track(_) => "Track",
    PeerEvent::TrackRemoved(_) => "TrackRemoved",
    PeerEvent::TrackMuted { .. } => "TrackMuted",
    PeerEvent::Frame(_) => "Frame",
    PeerEvent::Packet(_) => "Packet",
    PeerEvent::TrackBound { .. } => "TrackBound",
    PeerEvent::TrackUnbound(_) => "TrackUnbound",
    PeerEvent::KeyframeRequest { .. } => "KeyframeRequest",
    PeerEvent::BandwidthEstimate(_) => "BandwidthEstimate",
    PeerEvent::SenderReport(_) => "SenderReport",
    PeerEvent::TransceiverStopped(_) => "TransceiverStopped",
    PeerEvent::Error(_) => "Error",
}

impl Report {
    pub(super) fn count(&mut self, event: &PeerEvent) {
        if let Some(kind) = kind_of(event) {
            self.events.0[kind] += 1;
        }
    }

    /// Iterates over the number of steps and events of each kind.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let steps = Step::NAMES.iter().copied().zip(self.kinds.0);
        steps.chain(EVENTS.iter().copied().zip(self.events.0))
    }
}

impl std::ops::AddAssign<&Report> for Report {
    fn add_assign(&mut self, other: &Report) {
        let fields = [
            (&mut self.schedules, other.schedules),
            (&mut self.steps, other.steps),
            (&mut self.connected, other.connected),
            (&mut self.relayed, other.relayed),
            (&mut self.behind_nat, other.behind_nat),
            (&mut self.restarts, other.restarts),
            (&mut self.closed, other.closed),
            (&mut self.messages, other.messages),
            (&mut self.frames, other.frames),
            (&mut self.packets, other.packets),
            (&mut self.layers, other.layers),
            (&mut self.by_tcp, other.by_tcp),
            (&mut self.lite, other.lite),
            (&mut self.woken, other.woken),
            (&mut self.forwarded, other.forwarded),
            (&mut self.forged, other.forged),
            (&mut self.simulated_ms, other.simulated_ms),
            (&mut self.simulation_steps, other.simulation_steps),
            (&mut self.peers, other.peers),
            (&mut self.streams, other.streams),
            (&mut self.media_bytes, other.media_bytes),
        ];
        let kinds = self.kinds.0.iter_mut().zip(other.kinds.0);
        let events = self.events.0.iter_mut().zip(other.events.0);
        for (sum, one) in fields.into_iter().chain(kinds).chain(events) {
            *sum += one;
        }
        self.held = self.held.max(other.held);
        self.send_buffers = self.send_buffers.max(other.send_buffers);
    }
}
