//! Media written in a schedule, to be compared with the media that arrives.

use std::collections::{HashMap, HashSet};

use crate::proto::peer::TransceiverId;

/// Media that each side has written.
pub(super) struct Media {
    written: Vec<HashSet<Vec<u8>>>,
    pub frames: u64,
    bytes: u64,
    size: u64,
    pub tracks: usize,
    /// Set if tracks carry RTP packets instead of frames.
    pub packets: bool,
    /// Streams that were written: side, track and layer.
    streams: HashSet<(usize, TransceiverId, usize)>,
    /// Sequence numbers of packets written, by side, track and layer.
    pub numbers: HashMap<(usize, TransceiverId, usize), u16>,
    /// Number of layers of these tracks.
    pub layers: HashMap<(usize, TransceiverId), usize>,
}

impl Media {
    pub fn new(sides: usize, packets: bool) -> Self {
        Self {
            written: vec![HashSet::new(); sides],
            frames: 0,
            bytes: 0,
            size: 0,
            tracks: 0,
            packets,
            streams: HashSet::new(),
            numbers: HashMap::new(),
            layers: HashMap::new(),
        }
    }

    /// Returns the number of streams written, and of their bytes.
    pub fn sizes(&self) -> (u64, u64) {
        (self.streams.len() as u64, self.size)
    }

    pub fn has_layers(&self, side: usize, track: TransceiverId) -> bool {
        self.layers.contains_key(&(side, track))
    }

    /// Records that this was written.
    pub fn wrote(&mut self, stream: (usize, TransceiverId, usize), data: &[u8]) {
        let (side, ..) = stream;
        self.streams.insert(stream);
        self.size += data.len() as u64;
        self.bytes += data.len() as u64 + 64;
        self.written[side].insert(data.to_vec());
    }

    /// Returns `true` if the data written by this side was written by the other one before.
    pub fn is_passed_on(&self, by: usize, data: &[u8]) -> bool {
        self.written.get(by).is_some_and(|w| w.contains(data))
    }

    /// Returns the number of bytes of all that was written.
    pub fn held(&self) -> u64 {
        self.bytes
    }

    /// Checks that a received frame was written by the sender.
    pub fn received(&mut self, from: usize, data: &[u8]) {
        let (length, head) = (data.len(), &data[..data.len().min(12)]);
        assert!(
            self.written[from].contains(data),
            "a frame of {length} bytes that was never written, {head:02x?}"
        );
    }
}
