//! The peers of a loop: ids, deadlines, and panic isolation.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use slab::Slab;

use super::deadlines::Deadlines;
use super::shared_media::SharedMedia;
use super::{EventLoop, LoopError, is_last};
use crate::proto::ice::stun;
use crate::proto::net::{Protocol, Received, SocketId};
use crate::proto::peer::{
    ConnectionState, Input, Output, Peer, PeerConfig, PeerError, PeerEvent, Route, TransceiverId,
    panic_text,
};

/// Identifies a peer of a loop. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    index: u32,
    generation: u32,
}

impl PeerId {
    pub(super) fn index(self) -> usize {
        self.index as usize
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Socket of a relay.
pub(super) enum RelaySocket {
    /// UDP; also in the list of datagram sockets.
    Datagrams(Vec<usize>),
    /// TCP or TLS.
    Stream(usize),
}

pub(super) struct Entry {
    id: PeerId,
    pub(super) peer: Box<Peer>,
    /// All its datagram sockets, own and shared.
    pub(super) sockets: Vec<usize>,
    /// Sockets of its relays, by the peer's ids.
    pub(super) relay_sockets: Vec<(SocketId, RelaySocket)>,
    /// Ufrags registered in the demultiplexer.
    ufrags: Vec<String>,
    addresses: Vec<(usize, SocketAddr)>,
    /// Media to be written when the peer is polled: its state is then loaded into the processor's cache once per turn,
    /// not once per packet of a track with many peers.
    queued: VecDeque<(TransceiverId, SharedMedia)>,
    /// Number of queued items that the peer refused.
    refused: u64,
    /// Set while it is in the list of peers to be polled.
    pub(super) touched: bool,
    /// Closed; only its events are still to be taken, and its relays to be released.
    closed: bool,
    /// Its last event has been taken.
    forgotten: bool,
    /// It panicked, so its state is undefined.
    broken: Option<String>,
}

/// Returns `true` for errors that are expected while tracks come and go, before the application has seen the event.
fn is_passing(why: &PeerError) -> bool {
    matches!(
        why,
        PeerError::TrackNotBound | PeerError::NoSuchTransceiver | PeerError::Closed
    )
}

/// Maximum number of media items queued for one peer per turn.
const MAX_QUEUED: usize = 4096;

/// Number of items written before the peer is drained. Its queues, and those of its core, never shrink.
const PORTION: usize = 16;

/// All peers, in slots that are reused with new ids.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) entries: Slab<Entry>,
    generation: u32,
    deadlines: Deadlines,
}

impl Peers {
    pub fn add(&mut self, config: PeerConfig, now: Instant) -> Result<PeerId, LoopError> {
        let peer = Box::new(Peer::new(config, now)?);
        self.generation = self.generation.wrapping_add(1);
        let slot = self.entries.vacant_entry();
        let id = PeerId {
            // The slab is bounded by `max_peers`; its keys are dense.
            index: u32::try_from(slot.key()).unwrap_or(u32::MAX),
            generation: self.generation,
        };
        slot.insert(Entry {
            id,
            peer,
            sockets: Vec::new(),
            relay_sockets: Vec::new(),
            ufrags: Vec::new(),
            addresses: Vec::new(),
            queued: VecDeque::new(),
            refused: 0,
            touched: true,
            closed: false,
            forgotten: false,
            broken: None,
        });
        Ok(id)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn ids(&self) -> Vec<PeerId> {
        let open = self.entries.iter().filter(|(_, e)| !e.closed);
        open.map(|(_, e)| e.id).collect()
    }

    pub fn contains(&self, id: PeerId) -> bool {
        self.entries
            .get(id.index())
            .is_some_and(|e| e.id == id && !e.forgotten)
    }

    /// Returns `true` if this peer still needs negotiation.
    pub fn needs_negotiation(&self, id: PeerId) -> bool {
        let entry = self.entries.get(id.index()).filter(|e| e.id == id);
        entry.is_some_and(|e| e.peer.needs_negotiation())
    }

    /// Returns the id of the peer in this slot, unless it is closed.
    pub fn id_of(&self, index: usize) -> Option<PeerId> {
        self.entries.get(index).filter(|e| !e.closed).map(|e| e.id)
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)
    }

    /// Returns the datagram sockets of the peer in this slot.
    pub fn sockets_of(&self, index: usize) -> &[usize] {
        self.entries.get(index).map_or(&[], |e| &e.sockets)
    }

    /// Returns `true` if closed peers are still releasing relays.
    pub fn has_farewells(&self) -> bool {
        self.entries
            .iter()
            .any(|(_, e)| e.closed && !e.relay_sockets.is_empty())
    }

    pub fn has_buffered(&self) -> bool {
        self.entries
            .iter()
            .any(|(_, e)| e.peer.total_buffered_amount() > 0)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Passes a datagram to a peer.
    pub fn receive(
        &mut self,
        index: usize,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        contents: &[u8],
        touched: &mut Vec<usize>,
    ) {
        let received = Received {
            protocol: Protocol::Udp,
            source,
            destination,
            contents,
        };
        self.input(index, Input::Receive { now, received }, touched);
    }

    /// Passes a timeout to every peer that is due, once each.
    pub fn fire(&mut self, now: Instant, touched: &mut Vec<usize>) {
        // A peer's next deadline is set when it is polled, after this loop; so the loop ends.
        while let Some(index) = self.deadlines.pop_due(now) {
            self.input(index, Input::Timeout(now), touched);
        }
    }

    pub fn input(&mut self, index: usize, input: Input<'_>, touched: &mut Vec<usize>) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        entry.fenced(|peer| {
            // `Closed` is the only error, and reported by an event as well.
            let _ = peer.handle_input(input);
        });
        if !entry.touched {
            entry.touched = true;
            touched.push(index);
        }
    }
}

impl Entry {
    /// Writes some of the queued items. Returns `true` if there were any.
    fn write_queued(&mut self, now: Instant) -> bool {
        if self.closed || self.queued.is_empty() {
            return false;
        }
        let mut queued = std::mem::take(&mut self.queued);
        let (id, mut refused) = (self.id, self.refused);
        self.fenced(|peer| {
            for (transceiver, media) in queued.drain(..PORTION.min(queued.len())) {
                let written = match &media {
                    SharedMedia::Packet(packet) => peer.write_rtp(transceiver, packet, now),
                    SharedMedia::Frame(frame) => peer.write_frame(transceiver, frame, now),
                };
                if let Err(why) = written {
                    // Warn once: the reason usually applies to the following packets, too.
                    let level = match refused {
                        0 if !is_passing(&why) => log::Level::Warn,
                        _ => log::Level::Debug,
                    };
                    refused += u64::from(!is_passing(&why));
                    log::log!(level, "peer {id}: a local track is not sent: {why}");
                }
            }
        });
        if queued.is_empty() && queued.capacity() > 2 * PORTION {
            queued = VecDeque::new();
        }
        (self.queued, self.refused) = (queued, refused);
        true
    }

    /// Calls `f` with the peer. A panic breaks this peer only.
    pub(super) fn fenced<R>(&mut self, f: impl FnOnce(&mut Peer) -> R) -> Option<R> {
        if self.broken.is_some() {
            return None;
        }
        let peer = &mut self.peer;
        match catch_unwind(AssertUnwindSafe(|| f(peer))) {
            Ok(result) => Some(result),
            Err(payload) => {
                let text = panic_text(&*payload).unwrap_or_default().to_owned();
                crate::seldom::seldom!(error, "peer {} panicked and is closed: {text}", self.id);
                self.broken = Some(text);
                None
            }
        }
    }
}

impl EventLoop {
    /// Queues media to be written when the peer is polled. Returns `false` if there is no such peer, or no room.
    pub(crate) fn queue(
        &mut self,
        id: PeerId,
        transceiver: TransceiverId,
        media: SharedMedia,
    ) -> bool {
        let entry = self.peers.entries.get_mut(id.index());
        let Some(entry) = entry.filter(|e| e.id == id && !e.closed) else {
            return false;
        };
        if entry.queued.len() >= MAX_QUEUED {
            return false;
        }
        entry.queued.push_back((transceiver, media));
        if !entry.touched {
            entry.touched = true;
            self.touched.push(id.index());
        }
        true
    }

    /// Polls a peer until it is drained.
    pub(super) fn drain_peer(&mut self, index: usize) {
        let now = Instant::now();
        let (mut is_closed, mut is_drained, mut deadline) = (false, false, None);
        if let Some(entry) = self.peers.entries.get_mut(index) {
            entry.write_queued(now);
        }
        loop {
            let Some(entry) = self.peers.entries.get_mut(index) else {
                return;
            };
            entry.touched = false;
            if entry.closed && entry.relay_sockets.is_empty() {
                return;
            }
            if is_drained && !entry.write_queued(now) {
                self.peers.deadlines.set(index, deadline);
                break;
            }
            is_drained = false;
            let Some(output) = entry.fenced(Peer::poll_output) else {
                self.remove_broken(index);
                return;
            };
            match output {
                Output::Transmit(transmit) if transmit.protocol == Protocol::Tcp => {
                    self.send_stream(index, &transmit);
                }
                Output::Transmit(transmit) if transmit.protocol == Protocol::IceTcp => {
                    self.send_ice_stream(index, &transmit);
                }
                Output::Transmit(transmit) => {
                    let (to, contents) = (transmit.destination, &transmit.contents);
                    if stun::is_stun(contents) && !self.demux.note_sent(index, to, contents, now) {
                        self.stats.checks_withheld += 1;
                        continue;
                    }
                    self.stats.datagrams_sent += 1;
                    self.sockets.send(&entry.sockets, transmit);
                }
                Output::Event(event) => {
                    is_closed |= is_last(&event);
                    self.events.push_back((entry.id, event));
                }
                Output::Route(route) => self.on_route(index, route, now),
                Output::OpenSocket(request) => self.open_socket(index, &request, now),
                Output::CloseSocket(id) => self.close_socket(index, id),
                Output::Publish(host, address) => self.publish(index, host, address, now),
                Output::Resolve(host) => self.resolve(index, &host, now),
                Output::RequestBinding(request) => self.bind(index, request, now),
                Output::Timeout(at) => (is_drained, deadline) = (true, at),
            }
        }
        if is_closed {
            self.release(index);
        }
    }

    fn on_route(&mut self, index: usize, route: Route, now: Instant) {
        let Some(entry) = self.peers.entries.get_mut(index) else {
            return;
        };
        match route {
            Route::Ufrag(ufrag) => {
                entry.ufrags.push(ufrag.clone());
                self.demux.add_ufrag(ufrag, index);
            }
            Route::DropUfrag(ufrag) => {
                entry.ufrags.retain(|u| *u != ufrag);
                self.demux.drop_ufrag(&ufrag, index);
            }
            Route::Address(address) => {
                let sockets = &self.sockets;
                let shared = entry.sockets.iter();
                for socket in shared.filter(|s| sockets.is_shared_with(**s, address)) {
                    entry.addresses.push((*socket, address));
                    if !self.demux.claim(*socket, address, index, now) {
                        self.stats.address_conflicts += 1;
                        crate::seldom::seldom!(
                            warn,
                            "peer {}: {address} is in use by another peer; two peers with the same \
                             remote address need PortPolicy::Own",
                            entry.id
                        );
                        break;
                    }
                }
            }
            Route::Stream(local, remote) => self.ice.proved(local, remote),
            Route::DropAddress(address) => {
                entry.addresses.retain(|(_, a)| *a != address);
                for socket in &entry.sockets {
                    self.demux.drop_address(*socket, address, index);
                }
            }
        }
    }

    fn remove_broken(&mut self, index: usize) {
        let Some(entry) = self.peers.entries.get(index) else {
            return;
        };
        self.stats.panics += 1;
        let id = entry.id;
        let why = format!(
            "the peer panicked: {}",
            entry.broken.as_deref().unwrap_or_default()
        );
        for event in [
            PeerEvent::Error(PeerError::Core(why)),
            PeerEvent::ConnectionStateChange(ConnectionState::Closed),
        ] {
            self.events.push_back((id, event));
        }
        self.release(index);
    }

    /// Releases the resources of a closed peer. It stays until its last event is taken.
    fn release(&mut self, index: usize) {
        let Some(entry) = self.peers.entries.get_mut(index).filter(|e| !e.closed) else {
            return;
        };
        entry.closed = true;
        if entry.broken.is_some() {
            for (_, socket) in entry.relay_sockets.drain(..) {
                if let RelaySocket::Stream(stream) = socket {
                    self.streams.close(stream, self.poll.registry());
                }
            }
        }
        if entry.relay_sockets.is_empty() {
            self.peers.deadlines.set(index, None);
        }
        self.demux.drop_peer(index, &entry.ufrags, &entry.addresses);
        self.bindings.release(index);
        self.mdns.release(entry.id);
        // Relay sockets are closed by the peer itself, once the relays are released.
        let relays = &entry.relay_sockets;
        let is_kept = |s: &usize| {
            relays
                .iter()
                .any(|(_, r)| matches!(r, RelaySocket::Datagrams(sockets) if sockets.contains(s)))
        };
        let (kept, gone): (_, Vec<_>) = entry.sockets.iter().copied().partition(is_kept);
        entry.sockets = kept;
        self.sockets.close(&gone, self.poll.registry());
        self.close_ice_streams(index);
    }

    /// Handles that the last event of a peer was taken.
    pub(super) fn forget(&mut self, id: PeerId) {
        if !self.peers.contains(id) {
            return;
        }
        let index = id.index();
        self.release(index);
        if let Some(entry) = self.peers.entries.get_mut(index) {
            entry.forgotten = true;
        }
        self.drop_forgotten(index);
    }

    /// Drops a closed peer that is no longer needed.
    pub(super) fn drop_forgotten(&mut self, index: usize) {
        let is_over = |e: &&Entry| e.forgotten && e.relay_sockets.is_empty();
        if self.peers.entries.get(index).filter(is_over).is_none() {
            return;
        }
        self.peers.deadlines.set(index, None);
        let entry = self.peers.entries.remove(index);
        // Dropping a peer that has panicked may panic again.
        if catch_unwind(AssertUnwindSafe(|| drop(entry))).is_err() {
            crate::seldom::seldom!(error, "dropping a peer panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoopConfig;
    use super::*;
    use crate::proto::peer::ChannelConfig;
    use std::time::Duration;

    #[test]
    fn one_peers_panic_is_its_own() {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let config = PeerConfig::default().include_loopback(true);
        let broken = net.add_peer(config.clone()).unwrap();
        let sound = net.add_peer(config).unwrap();
        net.run_once(Some(Duration::ZERO)).unwrap();
        net.peers.entries[broken.index()].peer.panics = true;
        // Opening the socket is an input.
        let mut peer = net.peer(broken).unwrap();
        peer.create_data_channel(ChannelConfig::new("x")).unwrap();
        peer.negotiate().unwrap();
        net.run_once(Some(Duration::ZERO)).unwrap();
        let events: Vec<_> = std::iter::from_fn(|| net.poll_event())
            .filter(|(id, _)| *id == broken)
            .map(|(_, e)| e)
            .collect();
        let [.., PeerEvent::Error(PeerError::Core(why)), last] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(why.contains("as asked for by a test"));
        assert!(is_last(last));
        assert_eq!(net.peer_ids(), [sound]);
        assert_eq!(net.stats().panics, 1);
        let mut peer = net.peer(sound).unwrap();
        peer.create_data_channel(ChannelConfig::new("x")).unwrap();
        peer.negotiate().unwrap();
        net.run_once(Some(Duration::ZERO)).unwrap();
        assert!(net.peer(sound).unwrap().local_description().is_some());
    }

    #[test]
    fn media_that_waits_for_one_peer_has_a_limit() {
        use crate::proto::peer::{MediaKind, RtpPacket, TransceiverConfig};
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let id = net.add_peer(PeerConfig::default()).unwrap();
        let mut peer = net.peer(id).unwrap();
        let track = peer
            .add_track(MediaKind::Video, TransceiverConfig::default())
            .unwrap();
        let packet = std::sync::Arc::new(RtpPacket::new(1, 1, 1, vec![0; 10]));
        for n in 0..=MAX_QUEUED {
            let taken = net.queue(id, track, SharedMedia::Packet(packet.clone()));
            assert_eq!(taken, n < MAX_QUEUED);
        }
        // The next turn makes room.
        net.run_once(Some(Duration::ZERO)).unwrap();
        assert!(net.queue(id, track, SharedMedia::Packet(packet)));
    }

    #[test]
    fn streams_of_one_peer_have_a_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (ip, remote) = (
            std::net::Ipv4Addr::LOCALHOST.into(),
            listener.local_addr().unwrap(),
        );
        let config = LoopConfig {
            max_tcp_streams: 2,
            ..LoopConfig::default()
        };
        let mut net = EventLoop::new(config).unwrap();
        let id = net.add_peer(PeerConfig::default()).unwrap();
        let mut open = |n| net.open_ice_stream(id.index(), SocketId(n), ip, remote, Instant::now());
        assert_eq!((open(1), open(2)), (Ok(()), Ok(())));
        assert!(open(3).unwrap_err().contains("too many streams"));
    }
}
