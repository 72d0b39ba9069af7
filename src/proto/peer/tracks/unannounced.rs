//! Streams that no description names and no header extension places: the payload type tells their
//! m-line, if it is in one only (RFC 8843 §9.2). The core knows them by SSRC or MID.

use str0m::media::Mid;
use str0m::rtp::Ssrc;

use super::super::Peer;
use super::sdp::RemoteMedia;

/// SSRCs of one peer that are placed in this way; more are dropped, as all that nobody knows.
const MAX_STREAMS: usize = 16;

/// The payload types that are enough to place a stream.
#[derive(Debug, Default)]
pub(super) struct Unannounced {
    types: Vec<(u8, Mid, bool)>,
    placed: Vec<u32>,
}

impl Unannounced {
    /// After a negotiation.
    pub fn update(&mut self, media: &[RemoteMedia]) {
        self.types.clear();
        let used = media.iter().filter(|m| !m.rejected);
        let all: Vec<u8> = used.clone().flat_map(|m| m.payload_types()).collect();
        for m in used.filter(|m| !m.places_streams && m.direction.is_sending()) {
            for (payload_type, encoding) in &m.codecs {
                if all.iter().filter(|pt| *pt == payload_type).count() > 1 {
                    continue;
                }
                let is_repair = encoding.to_ascii_lowercase().starts_with("rtx/");
                let mid = Mid::from(m.mid.as_str());
                self.types.push((*payload_type, mid, is_repair));
            }
        }
    }
}

impl Peer {
    /// Looks at a datagram before the core does, which would not know whose it is.
    pub(in super::super) fn place_stream(&mut self, datagram: &[u8]) {
        let known = &self.tracks.unannounced;
        let Some((payload_type, ssrc)) = rtp_source(datagram) else {
            return;
        };
        if known.placed.contains(&ssrc) || known.placed.len() >= MAX_STREAMS {
            return;
        }
        let found = known.types.iter().find(|(pt, _, _)| *pt == payload_type);
        let Some((_, mid, is_repair)) = found.copied() else {
            return;
        };
        if self.rtc.media(mid).is_none() {
            return;
        }
        let mut api = self.rtc.direct_api();
        if api.stream_rx(&Ssrc::from(ssrc)).is_some() {
            return;
        }
        let (main, repair) = match is_repair {
            false => (Ssrc::from(ssrc), None),
            true => match api.stream_rx_by_mid(mid, None) {
                Some(stream) => (stream.ssrc(), Some(Ssrc::from(ssrc))),
                None => return,
            },
        };
        log::debug!("SSRC {ssrc} is in no description; by its payload type it belongs to {mid}");
        api.expect_stream_rx(main, repair, mid, None);
        self.tracks.unannounced.placed.push(ssrc);
    }
}

/// Payload type and SSRC of an RTP packet (RFC 3550 §5.1), if it is one (RFC 5761 §4).
fn rtp_source(datagram: &[u8]) -> Option<(u8, u32)> {
    let [first, second, _, _, _, _, _, _, a, b, c, d, ..] = datagram else {
        return None;
    };
    let is_rtp = first >> 6 == 2 && !(192..=223).contains(second);
    is_rtp.then(|| (second & 127, u32::from_be_bytes([*a, *b, *c, *d])))
}
