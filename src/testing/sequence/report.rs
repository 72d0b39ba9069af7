//! What has been seen in schedules: a simulation in which nothing happens would find nothing.

use super::step::Step;
use crate::proto::peer::{ConnectionState, PeerEvent};

/// What has been seen in one schedule, or in many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Schedules.
    pub schedules: u64,
    /// Steps taken.
    pub steps: u64,
    /// Of each kind, in the order of their names.
    pub(super) kinds: Counts<{ Step::NAMES.len() }>,
    /// Events of the peers, in the order of [`EVENTS`].
    pub(super) events: Counts<{ EVENTS.len() }>,
    /// Those in which both peers of the first pair were connected at some time.
    pub connected: u64,
    /// Those in which a path went through a relay.
    pub relayed: u64,
    /// Those in which a NAT stood before a connected peer.
    pub behind_nat: u64,
    /// ICE generations beyond the first, of all peers.
    pub restarts: u64,
    /// Those in which a peer was closed before the end.
    pub closed: u64,
    /// Messages that came on channels.
    pub messages: u64,
    /// Frames that came.
    pub frames: u64,
    /// RTP packets that came.
    pub packets: u64,
    /// Of frames and packets, those of a layer.
    pub layers: u64,
    /// Those in which both peers of the first pair were connected by ICE-TCP.
    pub by_tcp: u64,
    /// Those in which one of the connected peers was ICE-lite.
    pub lite: u64,
    /// Sleeps from which two peers found together again.
    pub woken: u64,
    /// Messages, frames and packets passed on from one pair to the other, and arrived there.
    pub forwarded: u64,
    /// Datagrams that were forged.
    pub forged: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// What the simulation has done: datagrams, signaling, timeouts.
    pub simulation_steps: u64,
    /// Bytes that the world held at most, beside its peers.
    pub held: u64,
    /// Peers.
    pub peers: u64,
    /// Streams of media: those that were written to, layers one by one.
    pub streams: u64,
    /// Bytes of frames and packets that were written.
    pub media_bytes: u64,
    /// Bytes that all of them may have waiting to be sent.
    pub send_buffers: u64,
}

/// So many of each kind.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Counts<const N: usize>(pub [u64; N]);

/// Their sum: `Report::counts` has them one by one.
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

        /// The place of an event in `EVENTS`.
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

    /// How often each kind of step was taken, and each kind of event was seen.
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
