//! Configuration of rooms.

use std::time::Duration;

use crate::proto::ice::IceServer;
use crate::proto::media::Codec;
use crate::proto::peer::{Codecs, PeerConfig};
use crate::setters::setters;

/// Configuration of [`Rooms`](super::Rooms), including all limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RoomsConfig {
    /// Configuration of the participants' peers. The rooms override its codecs, media mode and bandwidth estimation.
    pub peer: PeerConfig,
    /// Codecs of all rooms: every participant has to decode what the others send. Default: VP8 and Opus, which all
    /// browsers support. Simulcast layers are switched at keyframes, which are detected for VP8 and H.264; video of
    /// other codecs is requested in one layer.
    pub codecs: Codecs,
    /// Requests simulcast video in three layers, so that each receiver gets what its path can carry; only from pages
    /// that declare support (`?simulcast=1`). Others are not asked: Chromium sends nothing if it is offered layers for
    /// a track that was added with `addTrack` before. On by default.
    pub simulcast: bool,
    /// Assumed capacity of a receiver's path before it is estimated, in bits per second. Default: 1,500,000.
    pub initial_bitrate: u64,
    /// STUN and TURN servers sent to the pages. None by default.
    pub ice_servers: Vec<IceServer>,
    /// Maximum number of rooms. Default: 100; beyond it no room can be opened.
    pub max_rooms: usize,
    /// Maximum number of participants per room. Default: 20, at most 60, because each one uses two m-lines at every
    /// other; beyond it nobody can join.
    pub max_participants: usize,
    /// Maximum number of participants per client address (per /64 network for IPv6) in all rooms, including those in
    /// the grace period. Default: 100; beyond it the socket is closed (1013).
    pub max_per_client: usize,
    /// Maximum number of rooms with participants of one client address only. Default: 20; beyond it that client cannot
    /// open another.
    pub max_rooms_per_client: usize,
    /// Maximum number of joins per client address and second, after a burst of [`Self::max_per_client`]. Default: 10.
    pub joins_per_second: u32,
    /// Maximum number of peers of all rooms, so that rooms cannot exhaust the loop's. No limit by default.
    pub max_peers: usize,
    /// Maximum size of a message, in bytes. Default: 64 KiB; larger ones close the socket (1009).
    pub max_message: usize,
    /// Maximum number of messages per socket and second, after a burst of four times as many. Default: 50; beyond it
    /// the socket is closed (1008).
    pub max_message_rate: u32,
    /// Maximum length of a participant's name, in characters; longer ones are truncated. Default: 64.
    pub max_name: usize,
    /// Time for which a participant with a lost socket stays: a page that returns within it continues without
    /// interruption. Default: 10 s.
    pub grace: Duration,
    /// Time limit for the answer to an offer, after which the participant is removed. Default: 20 s.
    pub answer_time: Duration,
    /// Minimum interval between keyframe requests for the same video; requests within it share one. Default: 500 ms.
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

/// A limit of the m-lines per peer.
pub(super) const MOST_PARTICIPANTS: usize = 60;
