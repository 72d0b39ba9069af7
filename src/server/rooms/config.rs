//! What rooms are told before they open.

use std::time::Duration;

use crate::proto::ice::IceServer;
use crate::proto::media::Codec;
use crate::proto::peer::{Codecs, PeerConfig};
use crate::setters::setters;

/// Configuration of [`Rooms`](super::Rooms), with every limit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RoomsConfig {
    /// What the peers of participants are made with. Its codecs, its media mode and its bandwidth estimation are
    /// set by the rooms.
    pub peer: PeerConfig,
    /// The codecs of all rooms: what one sends, every other has to decode. VP8 and Opus by default, which all
    /// browsers know. Layers are switched at keyframes, which are recognised in VP8 and H.264; other pictures
    /// are asked for in one layer.
    pub codecs: Codecs,
    /// Ask for pictures in three layers (simulcast), so that each receiver gets what its path carries: of those pages
    /// that say they know how (`?simulcast=1`). Of others not: Chromium sends nothing at all when it is asked for layers
    /// of a track that `addTrack` was called for before. On by default.
    pub simulcast: bool,
    /// What a receiver's path is taken to carry before that is known, in bits a second. 1,500,000.
    pub initial_bitrate: u64,
    /// STUN and TURN servers that the pages are told of. None by default.
    pub ice_servers: Vec<IceServer>,
    /// Rooms at once. 100; above it nobody can open another.
    pub max_rooms: usize,
    /// Participants of one room. 20; above it nobody can join. At most 60: each takes two m-lines at each other.
    pub max_participants: usize,
    /// Participants of one client address (of one network of 64 bits, for IPv6) in all rooms, those that are waited for
    /// included. 100; above it the socket is closed (1013).
    pub max_per_client: usize,
    /// Rooms in which one client address is alone. 20; above it it cannot open another.
    pub max_rooms_per_client: usize,
    /// Participants of one client address that may join in a second, after a burst of [`Self::max_per_client`]. 10.
    pub joins_per_second: u32,
    /// Peers of all rooms, so that rooms cannot use up the loop's. No limit by default.
    pub max_peers: usize,
    /// Bytes of a message. 64 KiB; above it the socket is closed (1009).
    pub max_message: usize,
    /// Messages of one socket in a second, after a burst of four times as many. 50; above it the socket is
    /// closed (1008).
    pub max_message_rate: u32,
    /// Characters of a participant's name that are kept. 64.
    pub max_name: usize,
    /// How long a participant whose socket is gone stays: a page that comes back within this time goes on as if
    /// nothing had been. 10 s.
    pub grace: Duration,
    /// How long an offer may be unanswered before its participant is sent away. 20 s.
    pub answer_time: Duration,
    /// The least time between two requests for a keyframe of the same pictures. Those who ask meanwhile get that
    /// one. 500 ms.
    pub keyframe_interval: Duration,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            peer: PeerConfig::default(),
            codecs: Codecs::only([Codec::Vp8, Codec::Opus]),
            simulcast: true,
            initial_bitrate: 1_500_000,
            ice_servers: Vec::new(),
            max_rooms: 100,
            max_participants: 20,
            max_per_client: 100,
            max_rooms_per_client: 20,
            joins_per_second: 10,
            max_peers: usize::MAX,
            max_message: 64 * 1024,
            max_message_rate: 50,
            max_name: 64,
            grace: Duration::from_secs(10),
            answer_time: Duration::from_secs(20),
            keyframe_interval: Duration::from_millis(500),
        }
    }
}

impl RoomsConfig {
    setters! {
        peer: PeerConfig,
        codecs: Codecs,
        simulcast: bool,
        ice_servers: Vec<IceServer>,
        max_participants: usize,
        max_per_client: usize,
        max_rooms_per_client: usize,
        joins_per_second: u32,
        max_peers: usize,
        grace: Duration,
    }
}

/// More m-lines than a peer may have are of no use.
pub(super) const MOST_PARTICIPANTS: usize = 60;
